//! The framing of Avro's RPC over TCP, as Flume's "Netty" transport has it.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | serial: the caller's number of the call, repeated by the answer |
//! | 4 | number of buffers |
//! | 4 + … each | a buffer's length, and its bytes |
//!
//! Numbers are big-endian. The message is what all buffers hold, one after the other; their borders
//! mean nothing. As nothing says how long all of it is, a reader holds a limit and asks for memory
//! as bytes come, not as lengths are claimed.

use bytes::{Buf, Bytes, BytesMut};
use splashdam_core::Malformed;

/// Room for the first bytes of a pack: what a connection costs that is asked to read.
const FIRST_BYTES: usize = 4 * 1024;
/// Room that a claimed length is worth before its bytes have come.
const TRUSTED_BYTES: usize = 64 * 1024;
/// Smaller messages are moved out of the buffer that they came in, which may be far larger and
/// which they would keep alive.
const MOVED_BYTES: usize = 16 * 1024;
/// Serial and number of buffers.
const HEAD_BYTES: usize = 8;

/// The most that a pack may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the message.
    pub message_bytes: usize,
    /// Buffers that it comes in.
    pub buffers: usize,
}

/// A message with its call's number.
#[derive(Debug, PartialEq, Eq)]
pub struct Pack {
    /// The call's number.
    pub serial: i32,
    /// What the buffers hold.
    pub message: Bytes,
}

/// Puts packs together from bytes as they come.
#[derive(Debug)]
pub struct Packs {
    limits: Limits,
    buffer: BytesMut,
    scan: Scan,
    /// Bytes of the pack before: the next one is expected to be no longer.
    last: usize,
}

/// How far the pack at the start of the buffer is known.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    serial: i32,
    /// Buffers whose lengths have not come yet; `None` before the head has.
    left: Option<usize>,
    /// Where the next length is, or the pack's end.
    at: usize,
    message: usize,
}

impl Packs {
    /// Nothing has come yet.
    pub fn new(limits: Limits) -> Self {
        Packs { limits, buffer: BytesMut::new(), scan: Scan::default(), last: 0 }
    }

    /// Where the bytes that come are appended: it has room for some.
    pub fn room(&mut self) -> &mut BytesMut {
        let held = self.buffer.len();
        if self.buffer.capacity() > held {
            return &mut self.buffer;
        }
        let claimed = match self.scan.left {
            Some(0) => self.scan.at,
            Some(_) => self.last.max(self.scan.at + 4),
            None => 0,
        };
        let worth = held.max(self.last).max(TRUSTED_BYTES);
        let more = claimed.saturating_sub(held).min(worth).max(FIRST_BYTES);
        self.buffer.reserve(more);
        &mut self.buffer
    }

    /// Lets go of a buffer that nothing came into.
    pub fn rest(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Bytes of a pack that has begun and is not complete.
    pub fn begun(&self) -> usize {
        self.buffer.len()
    }

    /// The next pack, if all of it has come. After an error the bytes mean nothing any more.
    ///
    /// # Errors
    /// When a number is negative, 0 where there must be something, or more than the limits allow.
    pub fn next_pack(&mut self) -> Result<Option<Pack>, Malformed> {
        self.scan.advance(&self.buffer, self.limits)?;
        let end = self.scan.at;
        if self.scan.left != Some(0) || self.buffer.len() < end {
            return Ok(None);
        }
        let scan = std::mem::take(&mut self.scan);
        self.last = end;
        let pack = if end < MOVED_BYTES {
            let pack = BytesMut::from(&self.buffer[..end]);
            self.buffer.advance(end);
            pack
        } else {
            self.buffer.split_to(end)
        };
        // An idle connection keeps no memory.
        self.rest();
        Ok(Some(Pack { serial: scan.serial, message: joined(pack, scan.message) }))
    }
}

impl Scan {
    fn advance(&mut self, bytes: &[u8], limits: Limits) -> Result<(), Malformed> {
        if self.left.is_none() {
            let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(()) };
            let [a, b, c, d, count @ ..] = *head;
            self.serial = i32::from_be_bytes([a, b, c, d]);
            let count = usize::try_from(i32::from_be_bytes(count)).unwrap_or(0);
            if count == 0 {
                return Err(Malformed { at: 4, what: "a pack without buffers" });
            }
            if count > limits.buffers {
                return Err(Malformed { at: 4, what: "a pack of more buffers than are allowed" });
            }
            (self.left, self.at) = (Some(count), HEAD_BYTES);
        }
        while let Some(left) = self.left.filter(|left| *left > 0) {
            let Some(length) = length_at(bytes, self.at) else { break };
            let Ok(length) = usize::try_from(length) else {
                return Err(Malformed { at: self.at, what: "a buffer of a negative length" });
            };
            if length > limits.message_bytes - self.message {
                return Err(Malformed { at: self.at, what: "a message longer than is allowed" });
            }
            self.message += length;
            self.at += 4 + length;
            self.left = Some(left - 1);
        }
        Ok(())
    }
}

fn length_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The message of a whole pack. The buffers move to the longest one's sides, so that what peers
/// send in one large buffer stays where it is.
fn joined(mut pack: BytesMut, message: usize) -> Bytes {
    let mut at = HEAD_BYTES;
    let buffers: Vec<_> = std::iter::from_fn(|| {
        let length = usize::try_from(length_at(&pack, at)?).ok()?;
        let start = at + 4;
        at = start + length;
        Some(start..at)
    })
    .collect();
    let longest = (0..buffers.len()).max_by_key(|buffer| buffers[*buffer].len()).unwrap_or(0);
    let (before, rest) = buffers.split_at(longest);
    let Some((stays, behind)) = rest.split_first() else { return Bytes::new() };
    let (mut start, mut end) = (stays.start, stays.end);
    for buffer in before.iter().rev() {
        start -= buffer.len();
        pack.copy_within(buffer.clone(), start);
    }
    for buffer in behind {
        pack.copy_within(buffer.clone(), end);
        end += buffer.len();
    }
    assert_eq!(end - start, message, "buffers are as long as was counted");
    pack.freeze().slice(start..end)
}

/// Appends what comes before the first of `buffers` buffers.
pub(crate) fn put_head(serial: i32, buffers: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&serial.to_be_bytes());
    out.extend_from_slice(&buffers.to_be_bytes());
}

/// Appends what comes before a buffer's bytes. `None` when no peer could read so many.
pub(crate) fn put_length(length: usize, out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&i32::try_from(length).ok()?.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
