//! Frames, and what is written into them.
//!
//! ```text
//! header  "AMQP" │ u8 protocol │ 1 0 0          protocol: 0 AMQP, 3 SASL
//! frame   u32 n │ u8 d │ u8 kind │ u16 channel │ 4d − 8 bytes │ body      n counts all of it; d at least 2
//! body    a described list, then, in a transfer, bytes of the message; empty: a sign of life
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::value::Malformed;

/// The largest frame that is taken, as is announced to the broker.
pub(crate) const FRAME_LIMIT_BYTES: usize = 64 * 1024;

const HEAD_BYTES: usize = 8;

/// What is spoken after a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Amqp,
    Sasl,
}

impl Protocol {
    pub(crate) const fn header(self) -> [u8; 8] {
        match self {
            Protocol::Amqp => *b"AMQP\x00\x01\x00\x00",
            Protocol::Sasl => *b"AMQP\x03\x01\x00\x00",
        }
    }

    fn kind(self) -> u8 {
        match self {
            Protocol::Amqp => 0,
            Protocol::Sasl => 1,
        }
    }
}

/// Takes the next frame's body off `input`; `None` while it is not whole. Which channel it is on does not matter to
/// who has only one.
pub(crate) fn cut(input: &mut BytesMut, protocol: Protocol) -> Result<Option<Bytes>, Malformed> {
    let Some(head) = input.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let skipped = usize::from(head[4]) * 4;
    let wrong = |what| Err(Malformed { what, left: length });
    if length > FRAME_LIMIT_BYTES {
        return wrong("a frame above the limit that was announced");
    }
    if skipped < HEAD_BYTES || skipped > length {
        return wrong("a frame whose head does not fit it");
    }
    if head[5] != protocol.kind() {
        return wrong("a frame of another protocol");
    }
    if input.len() < length {
        return Ok(None);
    }
    let mut frame = input.split_to(length).freeze();
    frame.advance(skipped);
    Ok(Some(frame))
}

/// A frame that says nothing but that its sender is alive.
pub(crate) fn sign_of_life(out: &mut BytesMut) {
    out.put_slice(&[0, 0, 0, 8, 2, 0, 0, 0]);
}

/// A described list as it is written, field by field.
pub(crate) struct Composite {
    code: u8,
    count: u32,
    fields: BytesMut,
}

impl Composite {
    pub(crate) fn new(code: u8) -> Self {
        Composite { code, count: 0, fields: BytesMut::new() }
    }

    fn field(mut self, write: impl FnOnce(&mut BytesMut)) -> Self {
        write(&mut self.fields);
        self.count += 1;
        self
    }

    pub(crate) fn null(self) -> Self {
        self.field(|out| out.put_u8(0x40))
    }

    pub(crate) fn boolean(self, value: bool) -> Self {
        self.field(|out| out.put_u8(if value { 0x41 } else { 0x42 }))
    }

    pub(crate) fn ubyte(self, value: u8) -> Self {
        self.field(|out| out.put_slice(&[0x50, value]))
    }

    pub(crate) fn ushort(self, value: u16) -> Self {
        self.field(|out| {
            out.put_u8(0x60);
            out.put_u16(value);
        })
    }

    pub(crate) fn uint(self, value: u32) -> Self {
        self.field(|out| {
            out.put_u8(0x70);
            out.put_u32(value);
        })
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.field(|out| sized(out, 0xb1, text.as_bytes()))
    }

    pub(crate) fn symbol(self, name: &str) -> Self {
        self.field(|out| sized(out, 0xb3, name.as_bytes()))
    }

    pub(crate) fn binary(self, bytes: &[u8]) -> Self {
        self.field(|out| sized(out, 0xb0, bytes))
    }

    pub(crate) fn nested(self, inner: Composite) -> Self {
        self.field(|out| inner.write(out))
    }

    /// An array of symbols.
    pub(crate) fn symbols(self, names: &[&str]) -> Self {
        let mut elements = BytesMut::new();
        for name in names {
            elements.put_u32(length(name.len()));
            elements.put_slice(name.as_bytes());
        }
        self.field(|out| {
            out.put_u8(0xf0);
            out.put_u32(length(elements.len() + 5));
            out.put_u32(length(names.len()));
            out.put_u8(0xb3);
            out.put_slice(&elements);
        })
    }

    /// A map of one symbol to a described text.
    pub(crate) fn described_text(self, name: &str, code: u64, text: &str) -> Self {
        let mut entry = BytesMut::new();
        sized(&mut entry, 0xb3, name.as_bytes());
        entry.put_slice(&[0, 0x80]);
        entry.put_u64(code);
        sized(&mut entry, 0xb1, text.as_bytes());
        self.field(|out| {
            out.put_u8(0xd1);
            out.put_u32(length(entry.len() + 4));
            out.put_u32(2);
            out.put_slice(&entry);
        })
    }

    fn write(&self, out: &mut BytesMut) {
        out.put_slice(&[0, 0x53, self.code, 0xd0]);
        out.put_u32(length(self.fields.len() + 4));
        out.put_u32(self.count);
        out.put_slice(&self.fields);
    }

    /// Writes a frame with this in it, on the only channel, and `payload` behind it.
    pub(crate) fn frame(self, protocol: Protocol, payload: &[u8], out: &mut BytesMut) {
        let mut body = BytesMut::new();
        self.write(&mut body);
        out.put_u32(length(HEAD_BYTES + body.len() + payload.len()));
        out.put_slice(&[2, protocol.kind(), 0, 0]);
        out.put_slice(&body);
        out.put_slice(payload);
    }
}

fn sized(out: &mut BytesMut, code: u8, bytes: &[u8]) {
    out.put_u8(code);
    out.put_u32(length(bytes.len()));
    out.put_slice(bytes);
}

/// What is written here comes from a configuration and is far below 4 GiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_when_they_are_whole() {
        let check = |bytes: &[u8], want: Result<Option<&'static [u8]>, &str>| {
            let got = cut(&mut BytesMut::from(bytes), Protocol::Amqp);
            let want = want.map(|body| body.map(Bytes::from_static));
            assert_eq!(got.map_err(|error| error.what), want, "{bytes:x?}");
        };
        check(b"", Ok(None));
        check(b"\0\0\0\x08\x02\0\0", Ok(None));
        check(b"\0\0\0\x08\x02\0\0\0", Ok(Some(b"")));
        check(b"\0\0\0\x0a\x02\0\0\0a", Ok(None));
        check(b"\0\0\0\x0a\x02\0\0\0ab", Ok(Some(b"ab")));
        check(b"\0\0\0\x0d\x03\0\0\0xxxxaNEXT", Ok(Some(b"a")));
        check(b"\0\x01\0\x01\x02\0\0\0", Err("a frame above the limit that was announced"));
        check(b"\0\0\0\x04\x02\0\0\0", Err("a frame whose head does not fit it"));
        check(b"\0\0\0\x08\x01\0\0\0", Err("a frame whose head does not fit it"));
        check(b"\0\0\0\x08\x02\x01\0\0", Err("a frame of another protocol"));
    }
}
