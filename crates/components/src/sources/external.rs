//! Source `external`: batches that a process of one's own brings, in any language.
//!
//! Not in Flume, where one writes a Java class. The process is spoken to over its standard input and
//! output (`docs/external.md`): each of its batches is answered once every required channel has
//! committed it, in the order in which they came. While channels refuse, batches are kept and tried
//! again, and the process is not read, so that it waits. What is not in the channels at a stop is
//! answered with the wish to have it again. A process need not listen to its answers: what it brought
//! is stored all the same. One that ends with status 0 has nothing more to bring; after any other end
//! it is started again.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::pipeline::Patience;
use splashdam_core::{
    Batch, Component, Context, Event, Facts, OpenError, Outlet, Pipeline, Probed, PutError, Size,
    Source, SourceError, Stop, Text, Trouble,
};
use splashdam_wire::external::{Message, Outcome};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::gave_up;
use crate::external::{Lost, Peer, ProcessConfig, Settings, check, probe, written};

/// What is on its way into the channels at once, unless one message is more.
const AHEAD: Size = Size { events: usize::MAX, bytes: 64 * 1024 * 1024 };
/// The first wait after a channel refused, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));
/// How long refused batches are tried after the source was told to stop.
const LAST_TRIES: Duration = Duration::from_secs(1);
/// Answers that may wait for a process that does not read them.
const MOST_ANSWERS: usize = 256;

/// Keys of the external source.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The process.
    #[serde(rename = ".process")]
    pub process: ProcessConfig,
    /// Events in one transaction; larger batches of the process are put in parts.
    #[serde(default = "batch_size")]
    pub batch_size: NonZeroUsize,
}

fn batch_size() -> NonZeroUsize {
    const { NonZeroUsize::new(100).unwrap() }
}

/// The source.
pub struct External {
    settings: Settings,
    batch_size: NonZeroUsize,
    cx: Context,
}

impl Component for External {
    const TYPE: &'static str = "external";
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let batch_size = config.batch_size;
        let settings = Settings::new(config.process, "source", Some(batch_size), &cx);
        Ok(External { settings, batch_size, cx })
    }

    async fn probe(config: Config, cx: Context) -> Probed {
        probe(Settings::new(config.process, "source", Some(config.batch_size), &cx)).await
    }

    fn facts(config: &Config) -> Facts {
        let crash = "a batch that was stored without having been answered is sent again by the process, if it kept it";
        let message = u64::from(config.process.max_message_bytes.bytes());
        Facts {
            batch_events: Some(config.batch_size.get()),
            place: Some(format!("runs `{}`", config.process.command.as_str())),
            memory_bytes: Some(AHEAD.bytes as u64 + 2 * message),
            acknowledged: Some(
                "after the channels have committed the batch, by an answer to the process",
            ),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            sets_headers: vec!["*".to_owned()],
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        check(&config.process, section)
    }
}

impl Source for External {
    async fn run(self, out: Outlet, stop: Stop) -> Result<(), SourceError> {
        let (settings, random) = (&self.settings, self.cx.random());
        let (mut pauses, mut trouble) = (settings.pauses(), Trouble::new());
        while !stop.requested() {
            let began = Instant::now();
            let Some(started) = stop.or(Peer::start(settings)).await else { break };
            let (lost, stored) = match started {
                Ok(peer) => {
                    let mut intake = Intake::new(&self, out.clone(), &stop);
                    match intake.serve(peer).await {
                        Ok(End::Over) => return Ok(()),
                        Ok(End::Lost(why)) => (why, intake.stored),
                        Err(error) => return gave_up(error, &stop),
                    }
                }
                Err(why) => (why, false),
            };
            let now = Instant::now().into_std();
            if stored {
                pauses.well();
                if let Some(lasted) = trouble.ended(now) {
                    info!(component = %settings.title(), ?lasted, "the external process had come to itself");
                }
            }
            if trouble.happened(now, &lost).is_some() {
                warn!(component = %settings.title(), error = %lost, "the external process is lost; another one is started");
            }
            stop.or(sleep(random.jitter(pauses.after(began.elapsed())))).await;
        }
        Ok(())
    }
}

/// What comes from one process, on its way into the channels.
struct Intake<'a> {
    settings: &'a Settings,
    batch_events: usize,
    stop: &'a Stop,
    /// The last part of a batch has its id.
    pipeline: Pipeline<Option<u64>>,
    patience: Patience,
    /// A batch of which parts are still to be put.
    parting: Option<(u64, std::vec::IntoIter<Event>)>,
    /// Batches that are not answered, in order.
    open: VecDeque<u64>,
    /// Whether any batch of this process was stored.
    stored: bool,
}

/// How it went with a process.
enum End {
    /// It had nothing more to bring, or was told to stop.
    Over,
    /// For this reason.
    Lost(String),
}

/// Why the process is not read any more.
enum Closed {
    /// Its output is at its end.
    Cleanly,
    Lost(Lost),
}

impl<'a> Intake<'a> {
    fn new(source: &'a External, out: Outlet, stop: &'a Stop) -> Self {
        let settings = &source.settings;
        let name = settings.title().into();
        Intake {
            settings,
            batch_events: source.batch_size.get(),
            stop,
            pipeline: Pipeline::new(out, AHEAD),
            patience: Patience::new(name, RETRY.0, RETRY.1, LAST_TRIES),
            parting: None,
            open: VecDeque::new(),
            stored: false,
        }
    }

    /// Serves a process to its end. An error means that the channels do not take a batch and waiting
    /// would not help.
    async fn serve(&mut self, mut peer: Peer) -> Result<End, PutError> {
        let closed = match self.take(&mut peer).await {
            Ok(closed) => closed,
            Err(error) => {
                for id in std::mem::take(&mut self.open) {
                    let reason = error.to_string().as_str().into();
                    peer.outgoing.send(answer(id, Outcome::Again(reason)));
                }
                if !self.stop.requested() {
                    peer.tell_to_stop();
                }
                peer.leave().await;
                return Err(error);
            }
        };
        Ok(match closed {
            None => {
                peer.leave().await;
                End::Over
            }
            Some(Closed::Cleanly) => match peer.leave().await {
                Some(status) if status.success() => {
                    info!(component = %self.settings.title(), "the external process has nothing more to bring");
                    End::Over
                }
                Some(status) => End::Lost(format!("it {}", crate::child::how(status))),
                None => End::Lost("it closed its standard output and did not end".to_owned()),
            },
            Some(Closed::Lost(lost)) => End::Lost(format!("{lost}{}", peer.end().await)),
        })
    }

    /// Takes batches until the process is at its end and what it brought is stored; `None` after a
    /// stop.
    async fn take(&mut self, peer: &mut Peer) -> Result<Option<Closed>, PutError> {
        let limit = self.settings.timeout();
        let mut closed = None;
        let mut stopping = None;
        let mut last_flush = Instant::now();
        loop {
            self.put_parts();
            let idle = self.pipeline.is_empty() && self.parting.is_none();
            let (incoming, outgoing) = (&mut peer.incoming, &mut peer.outgoing);
            if idle && (closed.is_some() || (stopping.is_some() && outgoing.is_empty())) {
                return Ok(closed.filter(|_| stopping.is_none()));
            }
            if outgoing.is_empty() {
                last_flush = Instant::now();
            }
            let reads = closed.is_none()
                && self.parting.is_none()
                && outgoing.len() < MOST_ANSWERS
                && !self.pipeline.is_full(Size::ZERO);
            let writes = closed.is_none() && !outgoing.is_empty();
            tokio::select! {
                biased;
                () = self.stop.wait(), if stopping.is_none() => {
                    outgoing.send(written(&Message::Stop));
                    stopping = Some(Instant::now());
                    // What was not put yet comes again.
                    if self.parting.take().is_some() && let Some(id) = self.open.pop_back() {
                        outgoing.send(answer(id, Outcome::Again(STOPS)));
                    }
                }
                stored = self.pipeline.stored(&mut self.patience, self.stop),
                    if !self.pipeline.is_empty() =>
                {
                    if let Some(id) = stored.transpose()?.flatten() {
                        self.stored = true;
                        self.open.pop_front();
                        outgoing.send(answer(id, Outcome::Done(bytes::Bytes::new())));
                    }
                }
                // Who does not listen may still bring something, and its end says how it went.
                _ = outgoing.flush(), if writes => {}
                message = incoming.next(), if reads => match self.took(message) {
                    Ok(Some(id)) if stopping.is_some() => {
                        self.parting = None;
                        self.open.pop_back();
                        outgoing.send(answer(id, Outcome::Again(STOPS)));
                    }
                    Ok(_) => {}
                    Err(end) => closed = Some(end),
                },
                () = sleep_until(last_flush + limit), if writes => {
                    closed = Some(Closed::Lost(Lost::Slow { what: "read its answers", limit }));
                }
            }
        }
    }

    /// Takes over a batch, whose id is answered.
    fn took(&mut self, message: Result<Option<Message>, Lost>) -> Result<Option<u64>, Closed> {
        let confused = |what| Err(Closed::Lost(Lost::Confused(what)));
        match message {
            Ok(Some(Message::Batch { id, .. })) if self.open.contains(&id) => {
                confused("a batch with the id of one that is not answered")
            }
            Ok(Some(Message::Batch { id, events })) => {
                self.open.push_back(id);
                self.parting = Some((id, events.into_iter()));
                Ok(Some(id))
            }
            Ok(Some(_)) => confused("a message that is no batch"),
            Ok(None) => Err(Closed::Cleanly),
            Err(lost) => Err(Closed::Lost(lost)),
        }
    }

    /// Begins to put what waits, as far as the pipeline takes it.
    fn put_parts(&mut self) {
        while let Some((id, events)) = &mut self.parting
            && !self.pipeline.is_full(Size::ZERO)
        {
            let part: Batch = events.by_ref().take(self.batch_events).collect();
            let id = (events.len() == 0).then_some(*id);
            self.pipeline.put(part, id);
            if id.is_some() {
                self.parting = None;
            }
        }
    }
}

const STOPS: Text = Text::from_static("the agent stops");

fn answer(id: u64, outcome: Outcome) -> bytes::Bytes {
    written(&Message::Answer { id, outcome })
}

#[cfg(test)]
mod tests;
