//! Where events go that a sink rejects for good: into another channel, with the reason.
//!
//! They are put there before their take is committed. A process that is killed in between finds
//! them in both channels, rejects them again, and they are dead letters twice; never are they in
//! neither.

use splashdam_core::{Batch, Event, OutletChannel, PutTxn, Refused, Rejected};

/// Headers of a dead letter, beside those that the event had.
const REASON: &str = "deadLetter.reason";
const AGENT: &str = "deadLetter.agent";
const SINK: &str = "deadLetter.sink";
const TIME: &str = "deadLetter.time";
/// Reasons are cut to so many characters.
const REASON_CHARS: usize = 1000;

/// Who rejects, and when.
pub(super) struct Sender<'a> {
    pub(super) agent: &'a str,
    pub(super) sink: &'a str,
    pub(super) millis: i64,
}

impl Sender<'_> {
    /// The rejected events of a batch, each with what is wrong with it.
    pub(super) fn letters(&self, batch: &Batch, rejected: &[Rejected]) -> Batch {
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
pub(super) async fn post(to: &OutletChannel, letters: Batch) -> Result<(), Refused> {
    match PutTxn::begin(&*to.channel, &to.metrics, letters.size()).await {
        Ok(put) => put.commit(letters).await,
        Err(error) => Err(Refused { batch: letters, error }),
    }
}
