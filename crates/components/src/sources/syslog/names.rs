//! Host names of senders, asked for once and remembered for a while.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use splashdam_core::Text;
use tokio::sync::Semaphore;
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
pub(super) struct Names {
    questions: Arc<Semaphore>,
    known: Mutex<HashMap<IpAddr, (Text, Instant)>>,
}

impl Names {
    pub(super) fn new() -> Self {
        Names { questions: Arc::new(Semaphore::new(QUESTIONS)), known: Mutex::default() }
    }

    /// The name of a sender, or its address.
    pub(super) async fn name(&self, peer: SocketAddr) -> Text {
        let ip = peer.ip().to_canonical();
        if let Some(name) = self.known(ip) {
            return name;
        }
        let asked = timeout(PATIENCE, self.ask(ip)).await.ok().flatten();
        let name = Text::from(asked.unwrap_or_else(|| java_address(peer)));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(ip, (name.clone(), Instant::now()));
        name
    }

    fn known(&self, ip: IpAddr) -> Option<Text> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, since) = known.get(&ip)?;
        (since.elapsed() < KNOWN_FOR).then(|| name.clone())
    }

    async fn ask(&self, ip: IpAddr) -> Option<String> {
        // The permit goes with the thread, which a timeout does not end.
        let permit = self.questions.clone().acquire_owned().await.ok()?;
        let asked = spawn_blocking(move || {
            let _permit = permit;
            name_of(ip)
        });
        asked.await.ok().flatten()
    }
}
