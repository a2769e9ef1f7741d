//! A connection to a Thrift source, Flume's or ours.

use std::io;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use splashdam_core::{Event, Malformed};
use splashdam_wire::claim::Claim;
use splashdam_wire::thrift::rpc::{self, Answer, Status};
use splashdam_wire::thrift::{FRAME_HEAD_BYTES, Frame, Protocol, frame_length};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::{Address, BoxStream, CallError, Connect};

/// A connection, on which one call follows the other.
pub struct Connection {
    address: Address,
    stream: BoxStream,
    protocol: Protocol,
    sequence: i32,
    /// A call began and its answer was not read: what comes next on this connection is not the
    /// answer to what is asked next.
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
        protocol: Protocol,
        limit: Duration,
    ) -> Result<Self, CallError> {
        let stream = crate::connect::within(limit, connect, &address).await?;
        Ok(Connection { address, stream, protocol, sequence: 0, spoilt: false })
    }

    /// Whether a further call can be made.
    pub fn is_usable(&self) -> bool {
        !self.spoilt
    }

    /// Sends one event by a call of its own, and waits for the answer, at most `limit`.
    ///
    /// # Errors
    /// [`CallError`]. Not cancel-safe: a connection whose call was dropped is not usable.
    pub async fn append(&mut self, event: &Event, limit: Duration) -> Result<(), CallError> {
        let frame = rpc::write_append(self.protocol, self.next(), event);
        let frame = frame.map_err(|error| CallError::TooLarge(error.into()))?;
        self.call(frame, limit).await.map(drop)
    }

    /// Sends events in as few calls as there must be, which is one as long as they fit into a frame,
    /// and waits at most `limit` for each answer. When a later call fails, the events of those
    /// before it are delivered.
    ///
    /// # Errors
    /// [`CallError`]. Not cancel-safe: a connection whose call was dropped is not usable.
    pub async fn append_batch(
        &mut self,
        events: &[Event],
        limit: Duration,
    ) -> Result<(), CallError> {
        self.append_claimed(events, None, limit).await.map(drop)
    }

    /// As [`Connection::append_batch`], and says where the events come from. Answers whether the
    /// source looked at that, and therefore stores each event once, however often it is sent.
    ///
    /// # Errors
    /// As [`Connection::append_batch`].
    pub async fn append_claimed(
        &mut self,
        mut events: &[Event],
        mut claim: Option<Claim>,
        limit: Duration,
    ) -> Result<bool, CallError> {
        // Who is asked nothing promises nothing.
        let mut stores_once = claim.is_some() && !events.is_empty();
        while !events.is_empty() {
            let call = rpc::write_append_batch(self.protocol, self.next(), events, claim.as_ref());
            let (frame, count) = call.map_err(|error| CallError::TooLarge(error.into()))?;
            stores_once &= self.call(frame, limit).await?;
            events = &events[count..];
            claim = claim.map(|claim| claim.split(count as u64).1);
        }
        Ok(stores_once)
    }

    fn next(&mut self) -> i32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Whether the answer says that each event is stored once.
    async fn call(&mut self, frame: Frame, limit: Duration) -> Result<bool, CallError> {
        let address = || self.address.clone();
        if std::mem::replace(&mut self.spoilt, true) {
            return Err(CallError::spoilt(address()));
        }
        let answer = match timeout(limit, exchange(&mut self.stream, frame)).await {
            Err(_) => return Err(CallError::TimedOut { address: address(), limit }),
            Ok(Err(source)) => return Err(CallError::Lost { address: address(), source }),
            Ok(Ok(Err(source))) => return Err(CallError::Malformed { address: address(), source }),
            Ok(Ok(Ok(answer))) => answer,
        };
        if answer.sequence != self.sequence {
            let what = "an answer to another call";
            let source = Malformed { at: 0, what };
            return Err(CallError::Malformed { address: address(), source });
        }
        let status = match answer.outcome {
            Err(exception) => {
                let said = exception.to_string();
                return Err(CallError::Exception { address: address(), said });
            }
            Ok(status) => status,
        };
        self.spoilt = false;
        match status {
            Status::Ok => Ok(answer.stores_once),
            Status::Failed => Err(CallError::Refused { address: address(), status: "FAILED" }),
            Status::Error => Err(CallError::Refused { address: address(), status: "ERROR" }),
            Status::Unknown => Err(CallError::Refused { address: address(), status: "UNKNOWN" }),
        }
    }
}

type Exchanged = Result<Answer, Malformed>;

/// Sends a call and reads its answer.
async fn exchange(stream: &mut BoxStream, mut frame: Frame) -> io::Result<Exchanged> {
    stream.write_all_buf(&mut frame).await?;
    stream.flush().await?;
    let mut head = [0; FRAME_HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let length = match frame_length(head) {
        Ok(length) => length,
        Err(malformed) => return Ok(Err(malformed)),
    };
    // An answer is short. One that claims to be long takes memory as it arrives.
    let mut answer = BytesMut::new();
    while answer.len() < length {
        let left = length - answer.len();
        if stream.read_buf(&mut (&mut answer).limit(left)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(rpc::read_answer(&answer.freeze()))
}
