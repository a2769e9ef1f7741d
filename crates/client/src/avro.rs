//! A connection to an Avro source, Flume's or ours.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use splashdam_core::{Event, Malformed};
use splashdam_wire::avro::handshake::{FLUME_HASH, Hash, Match};
use splashdam_wire::avro::pack::{Limits, Packs};
use splashdam_wire::avro::rpc::{Answer, Outgoing, read_answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::{Address, BoxStream, CallError, Connect};

/// An answer is a few bytes, or a protocol's text.
const LIMITS: Limits = Limits { message_bytes: 1024 * 1024, buffers: 1024 };
/// Memory that is kept between calls.
const KEPT_BYTES: usize = 2 * 1024 * 1024;

/// A connection, on which one call follows the other.
pub struct Connection {
    address: Address,
    stream: BoxStream,
    packs: Packs,
    outgoing: Outgoing,
    serial: i32,
    /// What the server's protocol is known by; `None` once both sides know each other.
    greets: Option<Hash>,
    /// A call began and its answer was not read.
    spoilt: bool,
}

impl Connection {
    /// Connects, within `limit`.
    ///
    /// # Errors
    /// [`CallError::Connect`].
    pub async fn open(
        connect: &dyn Connect,
        address: Address,
        limit: Duration,
    ) -> Result<Self, CallError> {
        let stream = crate::connect::within(limit, connect, &address).await?;
        Ok(Connection {
            address,
            stream,
            packs: Packs::new(LIMITS),
            outgoing: Outgoing::default(),
            serial: 0,
            greets: Some(FLUME_HASH),
            spoilt: false,
        })
    }

    /// Whether a further call can be made.
    pub fn is_usable(&self) -> bool {
        !self.spoilt
    }

    /// Sends events by one call and waits for the answer, at most `limit`.
    ///
    /// # Errors
    /// [`CallError`]. Not cancel-safe: a connection whose call was dropped is not usable.
    pub async fn append_batch(
        &mut self,
        events: &[Event],
        limit: Duration,
    ) -> Result<(), CallError> {
        if std::mem::replace(&mut self.spoilt, true) {
            return Err(CallError::spoilt(self.address.clone()));
        }
        let address = || self.address.clone();
        // A server that asks for more than its hash is told once.
        for _ in 0..2 {
            self.serial = self.serial.wrapping_add(1);
            let written = self.outgoing.append_batch(self.serial, self.greets, None, events);
            if let Err(too_long) = written {
                self.spoilt = false;
                return Err(CallError::TooLarge(too_long.into()));
            }
            let exchange = exchange(&mut self.stream, &mut self.outgoing, &mut self.packs);
            let answered = timeout(limit, exchange).await;
            self.outgoing.clear(KEPT_BYTES);
            let malformed = |source| CallError::Malformed { address: address(), source };
            let (serial, message) = match answered {
                Err(_) => return Err(CallError::TimedOut { address: address(), limit }),
                Ok(Err(source)) => return Err(CallError::Lost { address: address(), source }),
                Ok(Ok(pack)) => pack.map_err(malformed)?,
            };
            if serial != self.serial {
                return Err(malformed(Malformed { at: 0, what: "an answer to another call" }));
            }
            let (greeting, answer) =
                read_answer(&message, self.greets.is_some()).map_err(malformed)?;
            if let Some(greeting) = greeting {
                if greeting.matched == Match::None {
                    self.greets = greeting.server_hash.or(self.greets);
                    continue;
                }
                self.greets = None;
            }
            return self.judge(answer);
        }
        let said = "it does not know flume's protocol".to_owned();
        Err(CallError::Exception { address: address(), said })
    }

    fn judge(&mut self, answer: Option<Answer>) -> Result<(), CallError> {
        let address = self.address.clone();
        match answer {
            Some(Answer::Ok) => {
                self.spoilt = false;
                Ok(())
            }
            Some(Answer::Failed) => {
                self.spoilt = false;
                Err(CallError::Refused { address, status: "FAILED" })
            }
            Some(Answer::Unknown) => {
                self.spoilt = false;
                Err(CallError::Refused { address, status: "UNKNOWN" })
            }
            Some(Answer::Error(said)) => Err(CallError::Exception { address, said }),
            None => {
                let source = Malformed { at: 0, what: "an answer without a result" };
                Err(CallError::Malformed { address, source })
            }
        }
    }
}

type Exchanged = Result<(i32, Bytes), Malformed>;

/// Sends a call and reads the next answer.
async fn exchange(
    stream: &mut BoxStream,
    call: &mut Outgoing,
    packs: &mut Packs,
) -> io::Result<Exchanged> {
    stream.write_all_buf(call).await?;
    stream.flush().await?;
    loop {
        match packs.next_pack() {
            Err(malformed) => return Ok(Err(malformed)),
            Ok(Some(pack)) => return Ok(Ok((pack.serial, pack.message))),
            Ok(None) => {}
        }
        if stream.read_buf(packs.room()).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
