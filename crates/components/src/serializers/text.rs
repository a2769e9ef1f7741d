//! Serializer `text`: the body of each event, then a newline. Headers are left out.
//!
//! Flume's class: `org.apache.flume.serialization.BodyTextEventSerializer`. A newline within a
//! body is written as it is, as in Flume.

use std::marker::PhantomData;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use splashdam_core::{Component, Context, Event, OpenError, SerializeError, Serializer, Start};

/// Keys of the text serializer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Whether a newline follows each body.
    pub append_newline: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { append_newline: true }
    }
}

/// What stands on a line before the body, which is all that serializers of lines differ in.
pub trait Lead: 'static {
    /// The type of the serializer.
    const TYPE: &'static str;
    /// Flume's classes.
    const ALIASES: &'static [&'static str];

    /// How many bytes [`Lead::write`] appends, at least.
    fn len_bytes(event: &Event) -> usize;
    /// Appends it.
    fn write(event: &Event, out: &mut BytesMut);
}

/// A serializer of lines.
#[derive(Debug)]
pub struct Lines<L> {
    config: Config,
    lead: PhantomData<fn() -> L>,
}

/// Nothing: bodies only.
#[derive(Debug)]
pub enum Nothing {}

/// The serializer.
pub type Text = Lines<Nothing>;

impl Lead for Nothing {
    const TYPE: &'static str = "text";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.serialization.BodyTextEventSerializer$Builder",
        "org.apache.flume.serialization.BodyTextEventSerializer",
    ];

    fn len_bytes(_event: &Event) -> usize {
        0
    }

    fn write(_event: &Event, _out: &mut BytesMut) {}
}

impl<L> Lines<L> {
    pub(super) fn new(config: Config) -> Self {
        Lines { config, lead: PhantomData }
    }
}

impl<L: Lead> Component for Lines<L> {
    const TYPE: &'static str = L::TYPE;
    const ALIASES: &'static [&'static str] = L::ALIASES;
    type Config = Config;

    async fn open(config: Config, _cx: Context) -> Result<Self, OpenError> {
        Ok(Lines::new(config))
    }
}

impl<L: Lead> Serializer for Lines<L> {
    fn start(&mut self, _out: &mut BytesMut, _start: Start) {}

    fn write(&mut self, events: &[Event], out: &mut BytesMut) -> Result<(), SerializeError> {
        // Room for all of it at once: the loop then only copies.
        out.reserve(events.iter().map(|event| L::len_bytes(event) + event.body.len() + 1).sum());
        for event in events {
            L::write(event, out);
            out.extend_from_slice(&event.body);
            if self.config.append_newline {
                out.put_u8(b'\n');
            }
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut BytesMut) {}

    fn reopens(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use splashdam_testkit::contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::serializer::<Text>("").await;
        contract::serializer::<Text>("appendNewline = false").await;
    }

    #[test]
    fn writes_bodies_as_they_are() {
        let check = |append_newline: bool, want: &[u8]| {
            let mut text = Text::new(Config { append_newline });
            let events = [Event::new("a"), Event::new(""), Event::new(&b"\xff\r\n"[..])];
            let mut out = BytesMut::new();
            text.start(&mut out, Start::Created);
            text.write(&events, &mut out).unwrap();
            text.flush(&mut out);
            text.finish(&mut out);
            assert_eq!(out, want);
        };
        check(true, b"a\n\n\xff\r\n\n");
        check(false, b"a\xff\r\n");
        assert!(Text::new(Config::default()).reopens());
    }
}
