//! Where events go that a sink rejects for good: into another channel, with the reason.
//!
//! They are put there before their take is committed. A process that is killed in between finds
//! them in both channels, rejects them again, and they are dead letters twice; never are they in
//! neither.

use splashdam_core::{Batch, Event, OutletChannel, PutTxn, Refused, Rejected};
use tokio::time::sleep;
use tracing::warn;

use super::{STEP, Signals, Worker, now};
use crate::channel_slot::ChannelSlot;

/// Headers of a dead letter, beside those that the event had.
const REASON: &str = "deadLetter.reason";
const AGENT: &str = "deadLetter.agent";
const SINK: &str = "deadLetter.sink";
const TIME: &str = "deadLetter.time";
/// Reasons are cut to so many characters.
const REASON_CHARS: usize = 1000;

/// Who rejects, and when.
struct Sender<'a> {
    agent: &'a str,
    sink: &'a str,
    millis: i64,
}

impl Worker {
    /// Sends rejected events to where dead letters go, and says whether the take may be committed.
    ///
    /// A channel that refuses them is waited for until a halt: the rest of the batch has been
    /// delivered, and would be delivered twice. Where dead letters go round that wait could be for
    /// this very take, so the batch goes back, and is tried again after a while.
    pub(super) async fn bury(
        &mut self,
        batch: &Batch,
        rejected: &[Rejected],
        signals: &Signals,
    ) -> bool {
        let Some(first) = rejected.first() else {
            self.rejecting.ended(now());
            return true;
        };
        self.metrics.rejected.add(rejected.len());
        let to = self.member.dead_letters.clone();
        self.say_rejected(rejected.len(), &first.why, to.as_ref());
        let Some(to) = to else { return true };
        let context = &self.member.context;
        let (agent, sink) = (context.agent.clone(), context.name.clone());
        let sender = Sender { agent: &agent, sink: &sink, millis: context.world.now_millis() };
        let mut letters = sender.letters(batch, rejected);
        let count = letters.len();
        loop {
            let Some(open) = to.open(&signals.halt).await else { return false };
            match post(&open, letters).await {
                Ok(()) => break,
                Err(refused) => {
                    self.note(&format!("dead letters wait: {}", refused.error));
                    if self.member.goes_round {
                        return false;
                    }
                    letters = refused.batch;
                }
            }
            if signals.halt.or(sleep(STEP)).await.is_none() {
                return false;
            }
        }
        self.metrics.dead_letters.add(count);
        self.member.tally.dead.add(count);
        true
    }

    fn say_rejected(&mut self, events: usize, why: &str, to: Option<&ChannelSlot>) {
        // Reasons differ from event to event; that there are some is said once.
        if let Some(repeats) = self.rejecting.happened(now(), "rejects events") {
            let repeats = (repeats > 0).then_some(repeats);
            match to {
                Some(to) => {
                    warn!(component = %self.title, events, why, repeats, "rejected events go to channel {}", to.name);
                }
                None => {
                    warn!(component = %self.title, events, why, repeats, "rejected events are dropped; a channel named by `deadLetter` would keep them");
                }
            }
        }
    }
}

impl Sender<'_> {
    /// The rejected events of a batch, each with what is wrong with it.
    fn letters(&self, batch: &Batch, rejected: &[Rejected]) -> Batch {
        let events = batch.events();
        let letter = |rejected: &Rejected| {
            Some(self.letter(events.get(rejected.at)?.clone(), &rejected.why))
        };
        rejected.iter().filter_map(letter).collect()
    }

    fn letter(&self, mut event: Event, why: &str) -> Event {
        let reason: String = why.chars().take(REASON_CHARS).collect();
        let headers = [
            (REASON, reason),
            (AGENT, self.agent.to_owned()),
            (SINK, self.sink.to_owned()),
            (TIME, self.millis.to_string()),
        ];
        for (name, value) in headers {
            event.headers.insert(name, value);
        }
        event
    }
}

/// Puts letters into their channel, whole or not at all.
async fn post(to: &OutletChannel, letters: Batch) -> Result<(), Refused> {
    match PutTxn::begin(&*to.channel, &to.metrics, letters.size()).await {
        Ok(put) => put.commit(letters).await,
        Err(error) => Err(Refused { batch: letters, error }),
    }
}
