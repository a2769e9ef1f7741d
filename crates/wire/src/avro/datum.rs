//! An event as Flume's Avro datum: a map of headers, then the body.
//!
//! The record is Flume's `AvroFlumeEvent` {headers: map of string, body: bytes}, the bytes that its
//! RPC carries and that events have at rest in a file channel. A map comes in blocks, each a count
//! and as many entries, ended by a count of 0; a negative count is followed by the block's bytes.
//! Numbers are zigzag, seven bits a byte, the lowest first.

use bytes::Bytes;
use splashdam_core::{Event, Headers, Malformed, Text};

/// Bytes of the whole datum.
pub fn length(event: &Event) -> usize {
    head_length(event) + event.body.len()
}

/// Bytes of all that comes before the body.
pub fn head_length(event: &Event) -> usize {
    let headers = &event.headers;
    let entries = |text: &Text| number_length(text.as_bytes().len()) + text.as_bytes().len();
    let blocks = match headers.len() {
        0 => 1,
        count => number_length(count) + 1,
    };
    let pairs: usize = headers.iter().map(|(name, value)| entries(name) + entries(value)).sum();
    blocks + pairs + number_length(event.body.len())
}

/// Appends bytes with their length before them.
pub(crate) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Appends all that comes before the body. The datum is this and then the body as it lies, so that
/// nobody needs to copy that one.
pub fn put_head(event: &Event, out: &mut Vec<u8>) {
    let headers = &event.headers;
    if !headers.is_empty() {
        put_number(headers.len(), out);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            put_bytes(text.as_bytes(), out);
        }
    }
    put_number(0, out);
    put_number(event.body.len(), out);
}

/// Reads a datum that is all of `input`. Texts and body are slices of it. A name that comes twice
/// has its last value.
pub fn decode(input: &Bytes) -> Result<Event, Malformed> {
    let mut reader = Reader::new(input);
    let event = reader.event()?;
    match reader.left() {
        0 => Ok(event),
        _ => Err(reader.malformed("bytes behind the event")),
    }
}

/// What an array of events may hold: each costs memory beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Events.
    pub events: usize,
    /// Headers of all of them.
    pub headers: usize,
}

/// Reads Avro's values from a buffer, one after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    input: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the beginning.
    pub fn new(input: &'a Bytes) -> Self {
        Reader { input, at: 0 }
    }

    /// How many bytes come after what was read.
    pub fn left(&self) -> usize {
        self.input.len() - self.at
    }

    /// An error at the place reached.
    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }

    /// An event as it is at rest: a header that is not UTF-8 is damage.
    pub fn event(&mut self) -> Result<Event, Malformed> {
        let headers = self.headers()?;
        Ok(Event { headers, body: self.bytes()? })
    }

    /// An event that somebody sends: what is not UTF-8 in its headers is read as Java reads it, since a sender that is
    /// refused for it sends it for ever.
    pub fn sent_event(&mut self) -> Result<Event, Malformed> {
        let headers = self.map_of(Self::sent_text)?;
        Ok(Event { headers, body: self.bytes()? })
    }

    /// Events as somebody sends them in an array, at most `most`. Each takes two bytes at least.
    pub fn events(&mut self, most: Most) -> Result<Vec<Event>, Malformed> {
        let (mut events, mut headers) = (Vec::new(), 0);
        loop {
            let at = self.at;
            let count = self.count()?;
            if count == 0 {
                return Ok(events);
            }
            if count > most.events - events.len() {
                return Err(Malformed { at, what: "more events than a call may have" });
            }
            // Not for these alone: there may be as many blocks as events.
            events.reserve(count);
            for _ in 0..count {
                let event = self.sent_event()?;
                headers += event.headers.len();
                if headers > most.headers {
                    return Err(self.malformed("more headers than a call may have"));
                }
                events.push(event);
            }
        }
    }

    /// A map of bytes: each entry is shown once, in order.
    pub fn entries(&mut self, mut show: impl FnMut(Bytes, Bytes)) -> Result<(), Malformed> {
        loop {
            match self.count()? {
                0 => return Ok(()),
                count => {
                    for _ in 0..count {
                        show(self.bytes()?, self.bytes()?);
                    }
                }
            }
        }
    }

    /// As many bytes, without a length before them.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let Some(bytes) = self.input[self.at..].first_chunk::<N>() else {
            return Err(self.malformed("it ends within a value of a fixed length"));
        };
        self.at += N;
        Ok(*bytes)
    }

    /// Which of a union's two branches, or another small choice below `choices`.
    pub fn choice(&mut self, choices: i64) -> Result<i64, Malformed> {
        let at = self.at;
        match self.number()? {
            choice if (0..choices).contains(&choice) => Ok(choice),
            _ => Err(Malformed { at, what: "a choice that does not exist" }),
        }
    }

    /// A map of texts.
    pub fn headers(&mut self) -> Result<Headers, Malformed> {
        self.map_of(Self::text)
    }

    fn map_of(
        &mut self,
        text: fn(&mut Self) -> Result<Text, Malformed>,
    ) -> Result<Headers, Malformed> {
        let mut count = self.count()?;
        if count == 0 {
            return Ok(Headers::default());
        }
        let mut failed = None;
        let pairs = std::iter::from_fn(|| {
            if count == 0 {
                return None;
            }
            let pair = text(self).and_then(|name| Ok((name, text(self)?))).and_then(|pair| {
                count -= 1;
                if count == 0 {
                    count = self.count()?;
                }
                Ok(pair)
            });
            pair.map_err(|error| failed = Some(error)).ok()
        });
        let headers = pairs.collect();
        failed.map_or(Ok(headers), Err)
    }

    /// Bytes with their length before them.
    pub fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let at = self.at;
        let length = self.number()?;
        let fits = usize::try_from(length).ok().filter(|length| *length <= self.left());
        let Some(length) = fits else {
            let what = if length < 0 { "a negative length" } else { "a length beyond the end" };
            return Err(Malformed { at, what });
        };
        let bytes = self.input.slice(self.at..self.at + length);
        self.at += length;
        Ok(bytes)
    }

    /// A text with its length before it.
    pub fn text(&mut self) -> Result<Text, Malformed> {
        let bytes = self.bytes()?;
        let start = self.at - bytes.len();
        Text::from_utf8(bytes)
            .map_err(|error| Malformed { at: start + error.valid_up_to, what: "text is not UTF-8" })
    }

    /// A text with its length before it; each run of bytes that is not UTF-8 becomes U+FFFD.
    fn sent_text(&mut self) -> Result<Text, Malformed> {
        let bytes = self.bytes()?;
        Ok(match Text::from_utf8(bytes.clone()) {
            Ok(text) => text,
            Err(_) => Text::from(String::from_utf8_lossy(&bytes).into_owned()),
        })
    }

    /// A number.
    pub fn number(&mut self) -> Result<i64, Malformed> {
        let (start, mut value) = (self.at, 0u64);
        for shift in (0..64).step_by(7) {
            let Some(byte) = self.input.get(self.at) else {
                return Err(self.malformed("it ends within a number"));
            };
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(Malformed { at: start, what: "a number of more than 64 bits" })
    }

    /// How many entries the next block of a map or array has. Each takes two bytes at least.
    fn count(&mut self) -> Result<usize, Malformed> {
        let at = self.at;
        let mut count = self.number()?;
        if count < 0 {
            let at = self.at;
            let size = self.number()?;
            if usize::try_from(size).ok().is_none_or(|size| size > self.left()) {
                return Err(Malformed { at, what: "a block's size is beyond the end" });
            }
            count = count.checked_neg().unwrap_or(i64::MAX);
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > self.left() / 2 {
            return Err(Malformed { at, what: "more entries than there are bytes" });
        }
        Ok(count)
    }
}

/// Bytes of a number that is not negative.
pub(crate) fn number_length(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros() + 1;
    bits.div_ceil(7) as usize
}

/// Appends a number that is not negative.
pub(crate) fn put_number(value: usize, out: &mut Vec<u8>) {
    // Lengths of what is in memory: doubling them does not overflow.
    let mut rest = (value as u64) << 1;
    while rest >= 0x80 {
        out.push((rest & 0x7f | 0x80) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests;
