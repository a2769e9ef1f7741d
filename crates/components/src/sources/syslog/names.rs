//! Host names of senders, asked for once and remembered for a while.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use splashdam_core::Text;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::ip_filter::{java_address, name_of};

/// How long an answer is waited for; then the address stands for the name.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer, or that there was none, counts.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// Senders that are remembered at the most.
const MOST: usize = 4096;
/// Questions at one time: each holds a thread.
const QUESTIONS: usize = 8;

/// Asks for names.
#[derive(Clone)]
pub(super) struct Names {
    look_up: Arc<dyn Fn(IpAddr) -> Option<String> + Send + Sync>,
    questions: Arc<Semaphore>,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    names: HashMap<IpAddr, (Text, Instant)>,
    /// Whose names are being asked for while their messages go on.
    asked: HashSet<IpAddr>,
}

impl Names {
    pub(super) fn new() -> Self {
        Names::with(name_of)
    }

    fn with(look_up: impl Fn(IpAddr) -> Option<String> + Send + Sync + 'static) -> Self {
        let questions = Arc::new(Semaphore::new(QUESTIONS));
        Names { look_up: Arc::new(look_up), questions, known: Arc::default() }
    }

    /// The name of a sender, or its address.
    pub(super) async fn name(&self, peer: SocketAddr) -> Text {
        let ip = peer.ip().to_canonical();
        if let Some((name, since)) = self.known().names.get(&ip)
            && since.elapsed() < KNOWN_FOR
        {
            return name.clone();
        }
        let asked = async {
            let permit = self.questions.clone().acquire_owned().await.ok()?;
            self.ask(ip, permit).await
        };
        let asked = timeout(PATIENCE, asked).await.ok().flatten();
        self.remember(ip, asked.unwrap_or_else(|| java_address(peer)).into())
    }

    /// What is known of a sender without waiting: its name, also one that was asked for long ago, or
    /// its address. The name is asked for meanwhile, unless too many are.
    pub(super) fn name_so_far(&self, peer: SocketAddr) -> Text {
        let ip = peer.ip().to_canonical();
        let mut known = self.known();
        let so_far = match known.names.get(&ip) {
            Some((name, since)) if since.elapsed() < KNOWN_FOR => return name.clone(),
            Some((name, _)) => name.clone(),
            None => java_address(peer).into(),
        };
        if !known.asked.contains(&ip)
            && let Ok(permit) = self.questions.clone().try_acquire_owned()
        {
            known.asked.insert(ip);
            let names = self.clone();
            tokio::spawn(async move {
                let asked = timeout(PATIENCE, names.ask(ip, permit)).await.ok().flatten();
                names.remember(ip, asked.unwrap_or_else(|| java_address(peer)).into());
                names.known().asked.remove(&ip);
            });
        }
        so_far
    }

    fn remember(&self, ip: IpAddr, name: Text) -> Text {
        let names = &mut self.known().names;
        if names.len() >= MOST {
            names.clear();
        }
        names.insert(ip, (name.clone(), Instant::now()));
        name
    }

    /// The permit goes with the thread, which a timeout does not end.
    async fn ask(&self, ip: IpAddr, permit: OwnedSemaphorePermit) -> Option<String> {
        let look_up = self.look_up.clone();
        let asked = spawn_blocking(move || {
            let _permit = permit;
            look_up(ip)
        });
        asked.await.ok().flatten()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;

    use tokio::task::yield_now;
    use tokio::time::advance;

    use super::*;

    fn peer(last: usize) -> SocketAddr {
        format!("192.0.2.{last}:514").parse().unwrap()
    }

    async fn becomes(names: &Names, name: &str) {
        for _ in 0..10_000 {
            if *names.name_so_far(peer(7)) == *name {
                return;
            }
            // The thread that looks up has its own time.
            std::thread::sleep(Duration::from_millis(1));
            yield_now().await;
        }
        panic!("it is never called {name}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_stands_for_a_name_until_that_is_known_and_again_asked_for() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let answers = [None, Some("dam"), None, Some("mill")];
        let names = Names::with(move |_| answers[counted.fetch_add(1, SeqCst)].map(str::to_owned));
        assert_eq!(&*names.name_so_far(peer(7)), "192.0.2.7");
        while names.known().names.is_empty() {
            yield_now().await;
        }
        for _ in 0..100 {
            assert_eq!(&*names.name_so_far(peer(7)), "192.0.2.7");
            yield_now().await;
        }
        assert_eq!(asked.load(SeqCst), 1, "that there is none counts for a while");
        advance(KNOWN_FOR).await;
        becomes(&names, "dam").await;
        advance(KNOWN_FOR).await;
        assert_eq!(&*names.name_so_far(peer(7)), "dam", "the old name does until there is another");
        becomes(&names, "192.0.2.7").await;
        advance(KNOWN_FOR).await;
        assert_eq!(&*names.name(peer(7)).await, "mill");
        assert_eq!(&*names.name_so_far(peer(7)), "mill");
        assert_eq!(asked.load(SeqCst), 4);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_slow_answer_and_few_are_asked_for_at_once() {
        let (release, held) = mpsc::sync_channel::<()>(0);
        let (held, asked) = (Mutex::new(held), Arc::new(AtomicUsize::new(0)));
        let counted = asked.clone();
        let names = Names::with(move |_| {
            counted.fetch_add(1, SeqCst);
            held.lock().unwrap().recv().ok();
            Some("mill".to_owned())
        });
        for _ in 0..3 {
            for last in 0..4 * QUESTIONS {
                assert_eq!(*names.name_so_far(peer(last)), format!("192.0.2.{last}"));
            }
            yield_now().await;
        }
        assert_eq!(names.known().asked.len(), QUESTIONS);
        drop(release);
        becomes(&names, "mill").await;
        assert!(asked.load(SeqCst) <= QUESTIONS);
    }
}
