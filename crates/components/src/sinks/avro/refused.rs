//! Finding the event that the peer will not have, before it holds up all others for good.
//!
//! Avro has no answer for an event that is longer than the peer reads, or that it stumbles over: it
//! closes the connection, or answers with an error, as it also does in other need. So where a channel
//! takes dead letters, a batch that failed so a few times is sent event by event. One that fails so
//! alone and again, while right after it the peer answers an empty call as it should, is rejected. An
//! answer that says the peer's channel is full never counts, nor does a peer that cannot be reached.
//!
//! A peer that is full now and then, or away for a moment, must not make the sink begin with the batch
//! again, as the events before would be there twice each time: once one of them was taken, the next one
//! is sent until it is, for a while.

use std::slice;
use std::time::Duration;

use splashdam_core::{Batch, DeliverError, Delivered, Event, Rejected};
use splashdam_wire::claim::Claim;
use tokio::time::{Instant, sleep};

use super::connection::SendError;
use super::{Avro, claims};

/// What becomes of such an event without a channel of dead letters.
pub(super) const HOLDS: &str = "an event that the peer answers with an error, or by closing the connection as it does where one is longer than it reads, holds the sink, as in Flume";

/// Deliveries in a row that fail before events are sent one by one.
const SUSPICIOUS: u32 = 3;
/// Times that an event fails alone.
const TRIALS: u32 = 2;

/// Waits while events are sent one by one.
pub(super) struct Waits {
    /// After an event has failed alone: a peer that has too much to do is given time.
    pub(super) trial: Duration,
    /// After the peer took some and had no room for the next; twice as long each time, up to a limit.
    pub(super) retry: [Duration; 2],
    /// For how long one event is sent again and again.
    pub(super) patience: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Waits {
            trial: Duration::from_secs(5),
            retry: [Duration::from_millis(250), Duration::from_secs(4)],
            patience: Duration::from_secs(120),
        }
    }
}

impl SendError {
    /// Whether it is what happens when the peer will not have an event.
    fn may_be_the_event(&self) -> bool {
        use SendError::{Closed, Io, Refused, TooLong};
        matches!(self, Io(_) | Closed | Refused(_) | TooLong(_))
    }
}

impl Avro {
    /// Whether the next batch is to be sent event by event.
    pub(super) fn suspects(&self) -> bool {
        self.suspicious >= SUSPICIOUS
    }

    /// Judges why a batch failed.
    pub(super) fn suspect(&mut self, error: &SendError) {
        if self.dead_letters && error.may_be_the_event() {
            self.suspicious += 1;
        } else {
            self.suspicious = 0;
        }
    }

    /// Sends a batch event by event.
    pub(super) async fn sift(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        let claims = batch.place().and_then(|place| claims(place, &vec![1; batch.len()]));
        let mut rejected = Vec::new();
        for (at, event) in batch.events().iter().enumerate() {
            let claim = claims.as_ref().and_then(|claims| claims.get(at));
            let any_taken = at > rejected.len();
            if let Some(why) = self.refused_in_the_end(event, claim, any_taken).await? {
                rejected.push(Rejected { at, why });
            }
        }
        self.suspicious = 0;
        Ok(Delivered::all_but(batch, rejected))
    }

    /// As [`Avro::refused`]; where others of the batch were taken, a peer that does not take this one
    /// now is waited for, as far as patience goes.
    async fn refused_in_the_end(
        &mut self,
        event: &Event,
        claim: Option<&Claim>,
        any_taken: bool,
    ) -> Result<Option<String>, DeliverError> {
        let [mut wait, longest] = self.waits.retry;
        let begun = Instant::now();
        loop {
            match self.refused(event, claim).await {
                Err(_) if any_taken && begun.elapsed() + wait < self.waits.patience => {
                    sleep(wait).await;
                    wait = (wait * 2).min(longest);
                }
                judged => return judged,
            }
        }
    }

    /// Sends one event, and answers why the peer will never have it, should that be so.
    async fn refused(
        &mut self,
        event: &Event,
        claim: Option<&Claim>,
    ) -> Result<Option<String>, DeliverError> {
        let mut why = String::new();
        for trial in 0..TRIALS {
            if trial > 0 {
                sleep(self.waits.trial).await;
            }
            let (mut connection, made) = self.connected().await?;
            let call = claim.map(slice::from_ref);
            let sent =
                connection.send(slice::from_ref(event), &[1], call, &mut self.peer_hash).await;
            match sent {
                Ok(()) => {
                    self.connection = Some((connection, made));
                    return Ok(None);
                }
                Err(error) if error.may_be_the_event() => {
                    why =
                        format!("the peer refuses this event of {} bytes: {error}", event.bytes());
                    self.metrics.connections_closed.add(1);
                }
                Err(error) => return Err(self.failed(&error, "")),
            }
            let (mut connection, made) = self.connected().await?;
            if let Err(error) = connection.ask(&mut self.peer_hash).await {
                return Err(self.failed(&error, ""));
            }
            self.connection = Some((connection, made));
        }
        Ok(Some(why))
    }
}

#[cfg(test)]
mod tests;
