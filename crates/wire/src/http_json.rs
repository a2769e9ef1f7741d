//! Flume's events as JSON over HTTP: an array of `{"headers": {…}, "body": "…"}`.
//!
//! Flume's class: `org.apache.flume.source.http.JSONHandler`, which reads with Gson in its lenient
//! mode, and so does [`read_events`]: `http_json/lenient.rs` knows that grammar. Unknown members are
//! skipped however deep they are, numbers and booleans become text, a missing body is an empty one.
//! A header whose value is null is left out, as an event has no such thing here.
//!
//! The text is UTF-8, and what needs no unescaping is a slice of it; [`Charset`] makes it of what
//! came, and bytes in that charset of bodies.

mod charset;
mod lenient;

use std::collections::HashSet;

use bytes::Bytes;
use splashdam_core::{Batch, Event, Headers, Malformed, Text};

pub use charset::Charset;
use lenient::{Reader, Token};

/// Events and headers in one request at the most: they take more memory than their text does.
const MOST_ITEMS: usize = 2_000_000;
/// Headers that are compared with each other; more of them are looked up.
const FEW: usize = 16;

/// Why a request holds no events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its JSON is not that of events (Flume answers 400).
    #[error("not an array of events in JSON: {0}")]
    Syntax(#[from] Malformed),
    /// It is JSON, but Flume's handler stumbles over it (Flume answers 500).
    #[error("{0}")]
    Unusable(&'static str),
    /// It has more events and headers than are taken at once.
    #[error("more than {MOST_ITEMS} events and headers in one request; send fewer at once")]
    TooMany,
}

/// Reads the events of a request whose text is UTF-8; bodies are given in `charset`.
///
/// # Errors
/// Why it holds none. Bytes that are not UTF-8 count as such.
pub fn read_events(text: &Bytes, charset: Charset) -> Result<Batch, Refusal> {
    let reader = Reader::new(text)?;
    Requests { reader, charset, items: 0 }.events()
}

/// Whether `line` is one JSON value by the strict grammar, as in newline-delimited JSON, in UTF-8 as
/// RFC 8259 (8.1) demands.
pub fn is_json(line: &[u8]) -> bool {
    let text = std::str::from_utf8(line);
    text.is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

struct Requests<'a> {
    reader: Reader<'a>,
    charset: Charset,
    items: usize,
}

impl Requests<'_> {
    fn events(mut self) -> Result<Batch, Refusal> {
        const EMPTY: Refusal = Refusal::Unusable("the request has no body, or null for one");
        match self.reader.document()? {
            None | Some(Token::Null) => return Err(EMPTY),
            Some(Token::BeginArray) => {}
            Some(_) => return Err(self.reader.wrong("an array of events must stand here").into()),
        }
        let (mut batch, mut nulls, mut first) = (Batch::default(), false, true);
        while let Some(token) = self.reader.element(std::mem::take(&mut first))? {
            self.count()?;
            match token {
                Token::Null => nulls = true,
                Token::BeginObject => batch.push(self.event()?),
                _ => return Err(self.reader.wrong("an event must stand here").into()),
            }
        }
        self.reader.end()?;
        if nulls {
            return Err(Refusal::Unusable("an event is null; a comma too many makes one"));
        }
        Ok(batch)
    }

    fn count(&mut self) -> Result<(), Refusal> {
        self.items += 1;
        if self.items > MOST_ITEMS { Err(Refusal::TooMany) } else { Ok(()) }
    }

    fn event(&mut self) -> Result<Event, Refusal> {
        let mut event = Event::default();
        let mut first = true;
        while let Some(name) = self.reader.name(std::mem::take(&mut first), '?')? {
            let token = self.reader.value()?;
            match &*name {
                "headers" => event.headers = self.headers(token)?,
                "body" => {
                    let text = self.reader.text(token, self.charset.replacement())?;
                    event.body = text.map(|text| self.charset.encode(text)).unwrap_or_default();
                }
                _ => self.reader.skip(token)?,
            }
        }
        Ok(event)
    }

    /// An object, or an array of pairs, which Gson takes for one.
    fn headers(&mut self, token: Token) -> Result<Headers, Refusal> {
        let mut headers = Pairs::default();
        let mut first = true;
        match token {
            Token::Null => {}
            Token::BeginObject => {
                while let Some(name) = self.reader.name(std::mem::take(&mut first), '?')? {
                    self.count()?;
                    let token = self.reader.value()?;
                    let value = self.reader.text(token, '?')?;
                    headers.add(name, value).map_err(|what| self.reader.wrong(what))?;
                }
            }
            Token::BeginArray => {
                while let Some(token) = self.reader.element(std::mem::take(&mut first))? {
                    self.count()?;
                    let (name, value) = self.pair(token)?;
                    let null = Refusal::Unusable("the name of a header is null");
                    let name = name.ok_or(null)?;
                    headers.add(name, value).map_err(|what| self.reader.wrong(what))?;
                }
            }
            _ => return Err(self.reader.wrong("headers must be an object").into()),
        }
        Ok(headers.list.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }

    fn pair(&mut self, token: Token) -> Result<(Option<Text>, Option<Text>), Refusal> {
        let wrong = |reader: &Reader| reader.wrong("a header must be a pair of texts");
        if token != Token::BeginArray {
            return Err(wrong(&self.reader).into());
        }
        let mut texts = [None, None];
        for (index, text) in texts.iter_mut().enumerate() {
            match self.reader.element(index == 0)? {
                Some(token) => *text = self.reader.text(token, '?')?,
                None => return Err(wrong(&self.reader).into()),
            }
        }
        if self.reader.element(false)?.is_some() {
            return Err(wrong(&self.reader).into());
        }
        let [name, value] = texts;
        Ok((name, value))
    }
}

/// Headers as they come; a name may come again only after null.
#[derive(Default)]
struct Pairs {
    list: Vec<(Text, Option<Text>)>,
    /// The names with a value, once there are many.
    names: HashSet<Text>,
}

impl Pairs {
    fn add(&mut self, name: Text, value: Option<Text>) -> Result<(), &'static str> {
        let known = if self.list.len() < FEW {
            self.list.iter().any(|(known, value)| *known == name && value.is_some())
        } else {
            if self.names.is_empty() {
                let valued = self.list.iter().filter(|(_, value)| value.is_some());
                self.names = valued.map(|(name, _)| name.clone()).collect();
            }
            self.names.contains(&name)
        };
        if known {
            return Err("a header stands here twice");
        }
        if !self.names.is_empty() && value.is_some() {
            self.names.insert(name.clone());
        }
        self.list.push((name, value));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
