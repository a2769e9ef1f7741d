//! A process that is asked about batches, and the next one when it ends: what one has not answered is
//! given to the next, so that nothing is lost with a process and nothing goes on without an answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use splashdam_core::{
    Batch, Event, Malformed, Random, Rejected, Stop, StopHandle, Trouble, Undone,
};
use splashdam_wire::external::{
    BATCH_BYTES, LENGTH_BYTES, Message, Outcome, event_length, write_batch,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::peer::Lost;
use super::{Pauses, Peer, Settings};

/// Messages that one process has at once.
const MOST_OPEN: usize = 8;

/// How the rest of an answer is read, given the events that it is about.
pub(crate) type ReadAnswer<R> = fn(&Bytes, &[Event]) -> Result<Vec<R>, Malformed>;

/// A process to be asked. Dropping it tells the process to stop.
pub(crate) struct Worker<R> {
    settings: Arc<Settings>,
    jobs: mpsc::Sender<Job<R>>,
    trouble: Arc<Mutex<Option<Arc<str>>>>,
    stop: StopHandle,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Events that somebody wants an answer about.
struct Job<R> {
    events: Batch,
    answer: oneshot::Sender<Result<Vec<R>, String>>,
}

/// Who keeps a process going.
struct Supervisor<R> {
    settings: Arc<Settings>,
    read: ReadAnswer<R>,
    jobs: mpsc::Receiver<Job<R>>,
    /// What the process has, or the next one gets, by id.
    open: BTreeMap<u64, Job<R>>,
    next_id: u64,
    /// What is wrong now, for those who give up waiting.
    trouble: Arc<Mutex<Option<Arc<str>>>>,
    said: Trouble,
    pauses: Pauses,
    random: Random,
    stop: Stop,
}

impl<R: Send + 'static> Worker<R> {
    /// Starts a process and keeps one there until the worker is closed.
    pub(crate) fn start(settings: Settings, read: ReadAnswer<R>, random: Random) -> Self {
        let (settings, trouble) = (Arc::new(settings), Arc::default());
        let (jobs, receiver) = mpsc::channel(1);
        let (handle, stop) = Stop::new();
        let supervisor = Supervisor {
            read,
            jobs: receiver,
            open: BTreeMap::new(),
            next_id: 0,
            trouble: Arc::clone(&trouble),
            said: Trouble::new(),
            pauses: settings.pauses(),
            random,
            stop,
            settings: settings.clone(),
        };
        let task = Mutex::new(Some(tokio::spawn(supervisor.run())));
        Worker { settings, jobs, trouble, stop: handle, task }
    }

    /// Asks about all events, in as many messages as it takes: what is said of each part, with the
    /// number of its events. Waits for each further answer as long as for the first. An error says who
    /// did not answer, why it wants the batch again, or which event no message can carry.
    pub(crate) async fn ask(&self, batch: &Batch) -> Result<Vec<(usize, Vec<R>)>, Undone> {
        let title = self.settings.title();
        if let Some(unfit) = self.unfit(batch).next() {
            return Err(Undone::Unfit(format!("{title}: {}", unfit.why)));
        }
        let parts = cut(batch, &self.settings).into_iter().enumerate();
        let mut open: FuturesUnordered<_> =
            parts.map(async |(at, part)| (at, self.ask_one(part).await)).collect();
        let limit = self.settings.timeout();
        let mut answers = Vec::with_capacity(open.len());
        loop {
            match timeout(limit, open.next()).await {
                Ok(Some((at, Ok(answer)))) => answers.push((at, answer)),
                Ok(Some((_, Err(why)))) => {
                    return Err(Undone::Unanswered(format!("{title}: {why}")));
                }
                Ok(None) => break,
                Err(_) => {
                    let why = locked(&self.trouble).clone();
                    let why = why.map(|why| format!("; {why}")).unwrap_or_default();
                    let late = format!("{title} did not answer within {limit:?}{why}");
                    return Err(Undone::Unanswered(late));
                }
            }
        }
        answers.sort_unstable_by_key(|(at, _)| *at);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    async fn ask_one(&self, events: Batch) -> Result<(usize, Vec<R>), String> {
        let (answer, answered) = oneshot::channel();
        let count = events.len();
        let gone = || "the process was told to stop".to_owned();
        self.jobs.send(Job { events, answer }).await.map_err(|_| gone())?;
        Ok((count, answered.await.map_err(|_| gone())??))
    }

    /// The events that no message can carry, in order.
    pub(crate) fn unfit<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = Rejected> + 'a {
        let most_bytes = self.settings.most_message_bytes() + LENGTH_BYTES - BATCH_BYTES;
        let lengths = batch.events().iter().map(event_length).enumerate();
        lengths.filter(move |(_, length)| *length > most_bytes).map(|(at, length)| Rejected {
            at,
            why: format!(
                "an event takes {length} bytes, more than a message may have; raise `maxMessageBytes`"
            ),
        })
    }

    /// Tells the process to stop and waits for its end, which has its limit.
    pub(crate) async fn close(&self) {
        self.stop.stop();
        let task = locked(&self.task).take();
        if let Some(task) = task {
            // A panic in there has been said already.
            drop(task.await);
        }
    }
}

// Each change is whole before anything can panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Parts of a batch that fit into a message each, as long as each event does.
fn cut(batch: &Batch, settings: &Settings) -> Vec<Batch> {
    let most_bytes = settings.most_message_bytes() + LENGTH_BYTES;
    let most_events = settings.batch_events.map_or(usize::MAX, usize::from);
    let (mut start, mut bytes) = (0, BATCH_BYTES);
    let mut ends = Vec::new();
    for (at, event) in batch.events().iter().enumerate() {
        let length = event_length(event);
        if bytes + length > most_bytes || at - start == most_events {
            ends.push(start..at);
            (start, bytes) = (at, BATCH_BYTES);
        }
        bytes += length;
    }
    if ends.is_empty() {
        return vec![batch.clone()];
    }
    ends.push(start..batch.len());
    let part = |range: std::ops::Range<usize>| batch.events()[range].iter().cloned().collect();
    ends.into_iter().map(part).collect()
}

impl<R> Supervisor<R> {
    async fn run(mut self) {
        loop {
            let began = Instant::now();
            let Some(started) = self.stop.or(Peer::start(&self.settings)).await else { return };
            let failed = match started {
                Ok(mut peer) => match self.serve(&mut peer).await {
                    None => {
                        peer.tell_to_stop();
                        peer.leave().await;
                        return;
                    }
                    Some(lost) => format!("{lost}{}", peer.end().await),
                },
                Err(failed) => failed,
            };
            self.failed(failed);
            let pause = self.random.jitter(self.pauses.after(began.elapsed()));
            if self.stop.clone().or(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Gives jobs to a process and takes its answers. `None` when it is time to stop.
    async fn serve(&mut self, peer: &mut Peer) -> Option<Lost> {
        self.open.retain(|_, job| !job.answer.is_closed());
        let mut unsent: VecDeque<u64> = self.open.keys().copied().collect();
        let limit = self.settings.timeout();
        let mut heard = Instant::now();
        loop {
            let outgoing = &mut peer.outgoing;
            if outgoing.is_empty()
                && let Some(id) = unsent.pop_front()
                && let Some(job) = self.open.get(&id)
            {
                let mut message = Vec::new();
                write_batch(id, job.events.events(), &mut message);
                outgoing.send(message.into());
            }
            let takes = outgoing.is_empty() && self.open.len() < MOST_OPEN;
            tokio::select! {
                biased;
                () = self.stop.wait() => return None,
                message = peer.incoming.next() => {
                    heard = Instant::now();
                    let answered = match message {
                        Ok(Some(message)) => self.answered(message),
                        Ok(None) => Err(Lost::Closed("standard output")),
                        Err(lost) => Err(lost),
                    };
                    if let Err(lost) = answered {
                        return Some(lost);
                    }
                }
                flushed = outgoing.flush(), if !outgoing.is_empty() => {
                    if let Err(lost) = flushed {
                        return Some(lost);
                    }
                }
                job = self.jobs.recv(), if takes => {
                    if self.open.is_empty() {
                        heard = Instant::now();
                    }
                    unsent.push_back(self.next_id);
                    self.open.insert(self.next_id, job?);
                    self.next_id += 1;
                }
                () = sleep_until(heard + limit), if !self.open.is_empty() => {
                    return Some(Lost::Slow { what: "answer", limit });
                }
            }
        }
    }

    fn answered(&mut self, message: Message) -> Result<(), Lost> {
        let Message::Answer { id, outcome } = message else {
            return Err(Lost::Confused("a message that is no answer"));
        };
        let Some(job) = self.open.get(&id) else {
            return Err(Lost::Confused("an answer to a batch that is not open"));
        };
        let answer = match outcome {
            Outcome::Done(done) => Ok((self.read)(&done, job.events.events())?),
            Outcome::Again(reason) => Err(format!("it wants the batch again: {}", reason.as_str())),
        };
        if let Some(job) = self.open.remove(&id) {
            // Who asked may have given up.
            drop(job.answer.send(answer));
        }
        self.pauses.well();
        *locked(&self.trouble) = None;
        if let Some(lasted) = self.said.ended(Instant::now().into_std()) {
            info!(component = %self.settings.title(), ?lasted, "the external process answers again");
        }
        Ok(())
    }

    fn failed(&mut self, why: String) {
        let component = self.settings.title();
        if self.said.happened(Instant::now().into_std(), &why).is_some() {
            warn!(component = %component, error = %why, "the external process is lost; another one is started and gets what was not answered");
        }
        *locked(&self.trouble) = Some(why.into());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use splashdam_config::Section;
    use splashdam_core::Role;
    use splashdam_testkit::context;

    use super::*;

    /// A worker whose process is played by the test, cutting batches after each event.
    fn played() -> (Worker<usize>, mpsc::Receiver<Job<usize>>) {
        let process = Section::parse("command = x\ntimeout = 10000").read().into_result().unwrap();
        let one = std::num::NonZeroUsize::new(1);
        let settings = Settings::new(process, "interceptor", one, &context(Role::Source));
        let (jobs, asked) = mpsc::channel(8);
        let (stop, _) = Stop::new();
        let (trouble, task) = (Arc::default(), Mutex::new(None));
        (Worker { settings: Arc::new(settings), jobs, trouble, stop, task }, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_gives_time_for_the_next() {
        let batch: Batch = ["a", "b", "c", "d"].map(Event::new).into_iter().collect();
        for (silent, seconds) in [(0, 36), (2, 28)] {
            let (worker, mut asked) = played();
            // Answers come in another order than they were asked for, which changes nothing.
            let play = async {
                let mut jobs = Vec::new();
                for at in 0..batch.len() {
                    jobs.push((at, asked.recv().await.unwrap()));
                }
                for (at, job) in jobs.drain(silent..).rev() {
                    sleep(Duration::from_secs(9)).await;
                    job.answer.send(Ok(vec![at])).unwrap();
                }
                std::future::pending::<()>().await;
            };
            let begun = Instant::now();
            let said = tokio::select! {
                said = worker.ask(&batch) => said,
                () = play => unreachable!("it waits for ever"),
            };
            assert_eq!(begun.elapsed().as_secs(), seconds);
            match silent {
                0 => assert_eq!(said.unwrap(), (0..4).map(|at| (1, vec![at])).collect::<Vec<_>>()),
                _ => assert!(said.unwrap_err().to_string().contains("did not answer within 10s")),
            }
        }
    }
}
