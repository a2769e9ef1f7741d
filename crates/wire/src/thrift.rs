//! Thrift, as Flume speaks it: frames, two protocols, one service.
//!
//! ```text
//! length  i32, big endian, of what follows: 1 to 16,384,000
//! message the name of a method, a number that the answer repeats, and a struct,
//!         in the compact or the binary protocol
//! ```
//!
//! The first byte of a message tells its protocol, so that a server understands both. What is read
//! are slices of the frame. Nothing that a frame says is believed beyond the bytes that are there:
//! a length or a count must fit into the rest, and nesting has an end.

use bytes::Bytes;
use splashdam_core::{Malformed, Text};

pub mod legacy;
pub mod rpc;
pub mod scribe;

mod binary;
mod compact;
mod frame;

pub use frame::Frame;

/// The longest frame, which is Thrift's own limit.
pub const MOST_FRAME_BYTES: usize = 16_384_000;
/// The most events that a call may have: each costs memory beside its bytes. As over Avro.
pub const MOST_EVENTS: usize = 1 << 18;
/// The most headers that all events of a call may have, for the same reason.
pub const MOST_HEADERS: usize = 1 << 20;
/// Bytes of the length before a frame.
pub const FRAME_HEAD_BYTES: usize = 4;

/// What is wrong with input that more bytes may mend, which only unframed input gets.
const ENDS: &str = "it ends within a value";
/// As [`ENDS`], told by a length or count.
const BEYOND: &str = "a length or count beyond the end";

/// How deep what is skipped may be nested.
const MOST_DEPTH: u32 = 64;

/// How a message is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Numbers of few bytes; Flume's default.
    #[default]
    Compact,
    /// Numbers of four bytes. Written with a version before the name; read without one too.
    Binary,
}

impl Protocol {
    /// Tells the protocol of a frame by its first byte.
    ///
    /// # Errors
    /// It is neither.
    pub fn of(frame: &[u8]) -> Result<Protocol, Malformed> {
        match frame.first() {
            Some(&compact::ID) => Ok(Protocol::Compact),
            // A version, or the length of a name where there is no version.
            Some(0x80 | 0x00) => Ok(Protocol::Binary),
            _ => Err(Malformed { at: 0, what: "neither the compact nor the binary protocol" }),
        }
    }
}

/// The length of a frame from the four bytes before it, so that it is known to be within bounds
/// before anything is kept for it.
///
/// # Errors
/// It is out of bounds; the words tell what else may be talking.
pub fn frame_length(head: [u8; FRAME_HEAD_BYTES]) -> Result<usize, Malformed> {
    let what = match (usize::try_from(i32::from_be_bytes(head)), &head) {
        (Ok(length), _) if (1..=MOST_FRAME_BYTES).contains(&length) => return Ok(length),
        (_, b"GET " | b"POST" | b"PUT " | b"HEAD" | b"OPTI") => "HTTP instead of a frame",
        (_, [0x15 | 0x16, 0x03, ..]) => {
            "TLS instead of a frame; `ssl` has to be the same on both sides"
        }
        (Ok(1..), _) => "a frame of more than 16384000 bytes; smaller batches keep below that",
        _ => "a frame without a byte",
    };
    Err(Malformed { at: 0, what })
}

/// What a value is. The codes differ between the protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A truth value that lies in the head of its field, so that no byte of its own follows.
    Flag,
    Bool,
    Byte,
    I16,
    I32,
    I64,
    Double,
    /// A text or bytes, which look alike.
    Bytes,
    List,
    Set,
    Map,
    Struct,
}

/// The head of a message.
struct Message {
    name: Bytes,
    kind: MessageKind,
    sequence: i32,
}

/// What a message is. Others than these are read as calls, as Flume does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MessageKind {
    Call = 1,
    Reply = 2,
    Exception = 3,
}

impl MessageKind {
    fn of(code: u8) -> MessageKind {
        match code {
            2 => MessageKind::Reply,
            3 => MessageKind::Exception,
            _ => MessageKind::Call,
        }
    }
}

/// The head of a field.
struct Field {
    id: i16,
    kind: Kind,
}

/// Reads one protocol's values, one after the other.
trait Decode {
    fn cursor(&mut self) -> &mut Cursor;
    fn message(&mut self) -> Result<Message, Malformed>;
    /// The next field of a struct, `None` behind the last. `last` is the field before, 0 at first.
    fn field(&mut self, last: &mut i16) -> Result<Option<Field>, Malformed>;
    /// What a list or set holds, and how many; at most as many as there are bytes.
    fn list(&mut self) -> Result<(Kind, usize), Malformed>;
    /// What a map's keys and values are, `None` if there are none, and how many pairs; at most as
    /// many as there are pairs of bytes.
    fn map(&mut self) -> Result<(Option<(Kind, Kind)>, usize), Malformed>;
    fn number(&mut self) -> Result<i32, Malformed>;
    fn bytes(&mut self) -> Result<Bytes, Malformed>;
    /// Passes over a number of any size.
    fn skip_number(&mut self, kind: Kind) -> Result<(), Malformed>;

    /// A text. Bytes that are not UTF-8 become U+FFFD, as Java reads them.
    fn text(&mut self) -> Result<Text, Malformed> {
        let bytes = self.bytes()?;
        Ok(match Text::from_utf8(bytes.clone()) {
            Ok(text) => text,
            Err(_) => Text::from(String::from_utf8_lossy(&bytes).into_owned()),
        })
    }

    /// Passes over a value that nobody asked for.
    fn skip(&mut self, kind: Kind, depth: u32) -> Result<(), Malformed> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.cursor().malformed("values are nested too deeply"));
        };
        match kind {
            Kind::Flag => Ok(()),
            Kind::Bool | Kind::Byte => self.cursor().byte().map(drop),
            Kind::I16 | Kind::I32 | Kind::I64 => self.skip_number(kind),
            Kind::Double => self.cursor().take::<8>().map(drop),
            Kind::Bytes => self.bytes().map(drop),
            Kind::List | Kind::Set => {
                let (of, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip(of, depth))
            }
            Kind::Map => {
                let (Some((key, value)), count) = self.map()? else { return Ok(()) };
                (0..count).try_for_each(|_| {
                    self.skip(key, depth)?;
                    self.skip(value, depth)
                })
            }
            Kind::Struct => {
                let mut last = 0;
                while let Some(field) = self.field(&mut last)? {
                    self.skip(field.kind, depth)?;
                }
                Ok(())
            }
        }
    }
}

/// Writes one protocol's values.
trait Encode {
    fn message(out: &mut impl Out, kind: MessageKind, name: &[u8], sequence: i32);
    /// A field's head. `last` is the field before, 0 at first.
    fn field(out: &mut impl Out, last: i16, id: i16, kind: Kind);
    /// A list's head.
    fn list(out: &mut impl Out, of: Kind, count: usize);
    /// The head of a map of texts to texts.
    fn texts(out: &mut impl Out, count: usize);
    fn number(out: &mut impl Out, value: i32);
    /// How many bytes come next.
    fn length(out: &mut impl Out, bytes: usize);

    fn bytes(out: &mut impl Out, bytes: &[u8]) {
        Self::length(out, bytes.len());
        out.put(bytes);
    }
    /// The end of a struct.
    fn stop(out: &mut impl Out) {
        out.put(&[0]);
    }
}

/// Where bytes go that are written.
trait Out {
    fn put(&mut self, bytes: &[u8]);
}

impl Out for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts bytes instead of keeping them.
#[derive(Default)]
struct Count(usize);

impl Out for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// A place in a frame.
struct Cursor {
    frame: Bytes,
    at: usize,
}

impl Cursor {
    fn new(frame: &Bytes) -> Self {
        Cursor { frame: frame.clone(), at: 0 }
    }

    fn left(&self) -> usize {
        self.frame.len() - self.at
    }

    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = self.frame.get(self.at).copied();
        let byte = byte.ok_or_else(|| self.malformed(ENDS))?;
        self.at += 1;
        Ok(byte)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.frame[self.at..].first_chunk::<N>().copied();
        let taken = taken.ok_or_else(|| self.malformed(ENDS))?;
        self.at += N;
        Ok(taken)
    }

    /// The next `length` bytes, as a slice of the frame.
    fn slice(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if length > self.left() {
            return Err(self.malformed(BEYOND));
        }
        let slice = self.frame.slice(self.at..self.at + length);
        self.at += length;
        Ok(slice)
    }

    /// A length or a count of values that take at least `each` bytes.
    fn counted(&self, count: i64, each: usize) -> Result<usize, Malformed> {
        let most = self.left() / each;
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            Ok(_) => Err(self.malformed(BEYOND)),
            Err(_) => Err(self.malformed("a negative length or count")),
        }
    }
}

#[cfg(test)]
mod tests;
