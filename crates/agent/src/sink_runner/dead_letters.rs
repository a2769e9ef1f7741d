//! Where events go that a sink rejects for good: into another channel, with the reason.
//!
//! Where both channels are of one log, they are put there in the commit of their take: both or
//! neither. Otherwise they are put there before it. A process that is killed in between finds them
//! in both channels, rejects them again, and they are dead letters twice; never are they in neither.

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

/// What became of rejected events.
pub(super) enum Burial {
    /// Their take may be committed: they are where they belong, or nobody wants them.
    Done,
    /// They are to be committed with it.
    WithTake(Enclosed),
    /// It must not be: they cannot go there now.
    Waits,
}

/// Dead letters and the room that is held for them.
pub(super) struct Enclosed {
    pub(super) put: PutTxn,
    pub(super) letters: Batch,
}

/// Who rejects, and when.
struct Sender<'a> {
    agent: &'a str,
    sink: &'a str,
    millis: i64,
}

impl Worker {
    /// Sends rejected events to where dead letters go, or holds room for them there.
    ///
    /// A channel that refuses them is waited for until a halt: the rest of the batch has been
    /// delivered, and would be delivered twice. Where dead letters go round that wait could be for
    /// this very take, so the batch goes back, and is tried again after a while.
    pub(super) async fn bury(
        &mut self,
        batch: &Batch,
        rejected: &[Rejected],
        signals: &Signals,
    ) -> Burial {
        let Some(first) = rejected.first() else {
            self.rejecting.ended(now());
            return Burial::Done;
        };
        self.metrics.rejected.add(rejected.len());
        let to = self.member.dead_letters.clone();
        self.say_rejected(rejected.len(), &first.why, to.as_ref());
        let Some(to) = to else { return Burial::Done };
        let context = &self.member.context;
        let (agent, sink) = (context.agent.clone(), context.name.clone());
        let sender = Sender { agent: &agent, sink: &sink, millis: context.world.now_millis() };
        let mut letters = sender.letters(batch, rejected);
        loop {
            let Some(open) = to.open(&signals.halt).await else { return Burial::Waits };
            match self.post(&open, letters).await {
                Ok(burial) => return burial,
                Err(refused) => {
                    let what = format!("dead letters wait: {}", refused.error);
                    self.note_as(&refused.error.key(), &what);
                    letters = refused.batch;
                }
            }
            if self.member.goes_round || signals.halt.or(sleep(STEP)).await.is_none() {
                return Burial::Waits;
            }
        }
    }

    /// Puts letters into their channel, or holds room for them there if their take can go along.
    async fn post(&mut self, to: &OutletChannel, letters: Batch) -> Result<Burial, Refused> {
        let put = match PutTxn::begin(&*to.channel, &to.metrics, letters.size()).await {
            Ok(put) => put,
            Err(error) => return Err(Refused { batch: letters, error }),
        };
        if self.shares_log_with(to) {
            return Ok(Burial::WithTake(Enclosed { put, letters }));
        }
        let count = letters.len();
        put.commit(letters).await?;
        self.count_letters(count);
        Ok(Burial::Done)
    }

    /// Whether what it rejects goes into the log that it takes from.
    fn shares_log_with(&self, to: &OutletChannel) -> bool {
        let joint = self.member.channel.now().and_then(|from| from.joint());
        joint.is_some() && joint == to.channel.joint()
    }

    pub(super) fn count_letters(&self, letters: usize) {
        self.metrics.dead_letters.add(letters);
        self.member.tally.dead.add(letters);
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
