//! The packets: what is asked and what is answered, all big-endian.
//!
//! ```text
//! packet   i32 n │ record                            n counts what follows it
//! connect  i32 0 │ i64 last zxid │ i32 timeout ms │ i64 session │ buffer password │ u8 read-only
//! welcome  i32 version │ i32 timeout ms │ i64 session │ buffer password …      timeout 0: expired
//! request  i32 xid │ i32 operation │ …               get data and exists: string path │ u8 watch
//! reply    i32 xid │ i64 zxid │ i32 error │ …        get data: buffer data │ stat; exists: stat
//! event    as a reply with xid -1, then i32 type │ i32 state │ string path
//! buffer   i32 n │ n bytes                           n is -1 for none; a string is a buffer
//! ```

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest packet that is taken: more than a server gives out by its own limit of 1 MiB, and
/// room for servers whose limit was raised.
pub const PACKET_LIMIT_BYTES: usize = 9 << 20;

/// A password has 16 bytes in every ZooKeeper there was.
const PASSWORD_BYTES: usize = 16;
const PASSWORD_LIMIT_BYTES: usize = 64;

const EVENT_XID: i32 = -1;
const PING_XID: i32 = -2;
const NO_NODE: i32 = -101;

const EXISTS: i32 = 3;
const GET_DATA: i32 = 4;
const PING: i32 = 11;
const CLOSE_SESSION: i32 = -11;

/// What there is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// No node.
    Absent,
    /// A node, and what it holds, perhaps nothing.
    Data(Bytes),
}

/// What of a session outlives a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Zero before the server gave one.
    pub(crate) id: i64,
    pub(crate) password: Bytes,
    /// As asked for at first, then as granted.
    pub(crate) timeout: Duration,
    /// The latest change that was seen: a server that lags behind it refuses the session, so that
    /// time never runs backwards.
    pub(crate) last_zxid: i64,
}

/// A question with its watch set or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Data,
    Existence,
}

/// What came in once there is a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Pong,
    /// A node that is watched has changed, or the session has.
    Event,
    Reply {
        xid: i32,
        zxid: i64,
        outcome: Outcome,
    },
}

/// How a request went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Fine(Bytes),
    NoNode,
    Refused(i32),
}

/// Bytes that ZooKeeper would not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a packet of {0} bytes, more than the limit of {PACKET_LIMIT_BYTES}; is it ZooKeeper?")]
    Large(u32),
    #[error("a packet that is cut short; is it ZooKeeper?")]
    Short,
}

impl Session {
    /// One that is still to be given.
    pub(crate) fn new(timeout: Duration) -> Self {
        let password = Bytes::from_static(&[0; PASSWORD_BYTES]);
        Session { id: 0, password, timeout, last_zxid: 0 }
    }

    pub(crate) fn connect_packet(&self) -> Bytes {
        framed(|record| {
            record.put_i32(0);
            record.put_i64(self.last_zxid);
            record.put_i32(i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX));
            record.put_i64(self.id);
            put_buffer(record, &self.password);
            record.put_u8(0);
        })
    }

    /// Takes what the server granted. `false`: it knows no such session any more.
    pub(crate) fn welcomed(&mut self, mut record: Bytes) -> Result<bool, Malformed> {
        record.try_get_i32().map_err(|_| Malformed::Short)?;
        let millis = record.try_get_i32().map_err(|_| Malformed::Short)?;
        let id = record.try_get_i64().map_err(|_| Malformed::Short)?;
        let password = take_buffer(&mut record)?;
        let Some(millis) = u64::try_from(millis).ok().filter(|&millis| millis > 0) else {
            return Ok(false);
        };
        if password.len() > PASSWORD_LIMIT_BYTES {
            return Err(Malformed::Short);
        }
        (self.id, self.password) = (id, password);
        self.timeout = Duration::from_millis(millis);
        Ok(true)
    }
}

pub(crate) fn ask(xid: i32, question: Question, path: &str, watch: bool) -> Bytes {
    framed(|record| {
        record.put_i32(xid);
        record.put_i32(match question {
            Question::Data => GET_DATA,
            Question::Existence => EXISTS,
        });
        put_buffer(record, path.as_bytes());
        record.put_u8(u8::from(watch));
    })
}

pub(crate) fn ping() -> Bytes {
    framed(|record| {
        record.put_i32(PING_XID);
        record.put_i32(PING);
    })
}

pub(crate) fn close(xid: i32) -> Bytes {
    framed(|record| {
        record.put_i32(xid);
        record.put_i32(CLOSE_SESSION);
    })
}

/// Cuts the next packet off the front of what has come in; `None` while it is not whole.
pub(crate) fn cut(buffer: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
    let Some(head) = buffer.first_chunk() else { return Ok(None) };
    let length = u32::from_be_bytes(*head);
    let whole = usize::try_from(length).ok().filter(|&length| length <= PACKET_LIMIT_BYTES);
    let whole = whole.ok_or(Malformed::Large(length))?;
    if buffer.len() < 4 + whole {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(whole).freeze()))
}

pub(crate) fn heard(mut record: Bytes) -> Result<Heard, Malformed> {
    let xid = record.try_get_i32().map_err(|_| Malformed::Short)?;
    let zxid = record.try_get_i64().map_err(|_| Malformed::Short)?;
    let code = record.try_get_i32().map_err(|_| Malformed::Short)?;
    Ok(match (xid, code) {
        (EVENT_XID, _) => Heard::Event,
        (PING_XID, _) => Heard::Pong,
        (xid, 0) => Heard::Reply { xid, zxid, outcome: Outcome::Fine(record) },
        (xid, NO_NODE) => Heard::Reply { xid, zxid, outcome: Outcome::NoNode },
        (xid, code) => Heard::Reply { xid, zxid, outcome: Outcome::Refused(code) },
    })
}

/// The data in the body of an answer to [`Question::Data`].
pub(crate) fn data(mut body: Bytes) -> Result<Bytes, Malformed> {
    take_buffer(&mut body)
}

/// What an error of ZooKeeper's means to somebody who only reads.
pub(crate) fn meaning(code: i32) -> String {
    match code {
        -102 => "nobody may read the node without a login (no auth); let everybody read it".into(),
        -8 => "it does not like the path (bad arguments)".into(),
        -112 => "the session has expired".into(),
        -118 => "the session has moved to another server".into(),
        _ => format!("it answered with ZooKeeper's error {code}"),
    }
}

fn framed(fill: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut packet = BytesMut::new();
    packet.put_u32(0);
    fill(&mut packet);
    let length = u32::try_from(packet.len() - 4).unwrap_or(u32::MAX);
    packet[..4].copy_from_slice(&length.to_be_bytes());
    packet.freeze()
}

fn put_buffer(record: &mut BytesMut, bytes: &[u8]) {
    record.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    record.put_slice(bytes);
}

fn take_buffer(record: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = record.try_get_i32().map_err(|_| Malformed::Short)?;
    let length = usize::try_from(length.max(0)).unwrap_or(0);
    if length > record.len() {
        return Err(Malformed::Short);
    }
    Ok(record.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_zookeeper_reads_them() {
        let check = |packet: Bytes, want: &[u8]| assert_eq!(packet[..], *want);
        let asked =
            Session { id: 1, password: "pw".into(), ..Session::new(Duration::from_secs(1)) };
        check(
            asked.connect_packet(),
            b"\0\0\0\x1f\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03\xe8\0\0\0\0\0\0\0\x01\0\0\0\x02pw\0",
        );
        assert_eq!(Session::new(Duration::MAX).connect_packet().len(), 4 + 45);
        check(ask(1, Question::Data, "/a", false), b"\0\0\0\x0f\0\0\0\x01\0\0\0\x04\0\0\0\x02/a\0");
        check(
            ask(2, Question::Existence, "/a", true),
            b"\0\0\0\x0f\0\0\0\x02\0\0\0\x03\0\0\0\x02/a\x01",
        );
        check(ping(), b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b");
        check(close(3), b"\0\0\0\x08\0\0\0\x03\xff\xff\xff\xf5");
    }

    #[test]
    fn what_comes_in_is_read_or_refused() {
        let check = |parts: &[&[u8]], want: Result<Heard, Malformed>| {
            assert_eq!(heard(Bytes::from(parts.concat())), want, "{parts:?}");
        };
        let reply = |outcome| Ok(Heard::Reply { xid: 1, zxid: 9, outcome });
        let head: &[u8] = b"\0\0\0\x01\0\0\0\0\0\0\0\x09";
        check(&[head, b"\0\0\0\0rest"], reply(Outcome::Fine("rest".into())));
        check(&[head, b"\xff\xff\xff\x9b"], reply(Outcome::NoNode));
        check(&[head, b"\xff\xff\xff\x9a"], reply(Outcome::Refused(-102)));
        check(&[head, b"\0\0\0"], Err(Malformed::Short));
        check(&[b"\xff\xff\xff\xff", &[0xff; 8], &[0; 4], b"event"], Ok(Heard::Event));
        check(&[b"\xff\xff\xff\xfe", &[0; 12]], Ok(Heard::Pong));
        check(&[], Err(Malformed::Short));
    }

    #[test]
    fn data_is_what_its_length_says() {
        let check = |body: &'static [u8], want: Result<&'static [u8], Malformed>| {
            assert_eq!(data(Bytes::from_static(body)), want.map(Bytes::from_static), "{body:?}");
        };
        check(b"\0\0\0\x02abSTAT", Ok(b"ab"));
        check(b"\xff\xff\xff\xff", Ok(b""));
        check(b"\0\0\0\x03ab", Err(Malformed::Short));
        check(b"\x7f\xff\xff\xffab", Err(Malformed::Short));
        check(b"\0\0", Err(Malformed::Short));
    }

    #[test]
    fn a_welcome_grants_refuses_or_is_none() {
        let check = |record: &[u8], want: Result<bool, Malformed>| {
            let mut session = Session::new(Duration::from_secs(60));
            let before = session.clone();
            let got = session.welcomed(Bytes::copy_from_slice(record));
            assert_eq!(got, want, "{record:?}");
            assert_eq!(session == before, want != Ok(true), "{record:?}");
        };
        check(b"\0\0\0\0\0\0\x9c\x40\0\0\0\0\0\0\0\x07\0\0\0\x02pw\0", Ok(true));
        check(b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", Ok(false));
        check(b"\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0", Ok(false));
        check(b"\0\0\0\0\0\0\x9c\x40\0\0\0\0\0\0\0\x07", Err(Malformed::Short));
        check(b"", Err(Malformed::Short));
    }

    #[test]
    fn packets_are_cut_at_their_lengths() {
        let check = |bytes: &[u8], want: Result<Option<&[u8]>, Malformed>, left: usize| {
            let mut buffer = BytesMut::from(bytes);
            let got = cut(&mut buffer);
            assert_eq!(got, want.map(|packet| packet.map(Bytes::copy_from_slice)), "{bytes:?}");
            assert_eq!(buffer.len(), left, "{bytes:?}");
        };
        check(b"\0\0\0", Ok(None), 3);
        check(b"\0\0\0\x02a", Ok(None), 5);
        check(b"\0\0\0\x02ab\0", Ok(Some(b"ab")), 1);
        check(b"\0\0\0\0", Ok(Some(b"")), 0);
        check(b"HTTP/1.1", Err(Malformed::Large(0x4854_5450)), 8);
        check(b"\xff\xff\xff\xff", Err(Malformed::Large(u32::MAX)), 4);
    }
}
