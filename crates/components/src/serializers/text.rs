//! Serializer `text`: the body of each event, then a newline. Headers are left out.
//!
//! Flume's class: `org.apache.flume.serialization.BodyTextEventSerializer`. A newline within a
//! body is written as it is, as in Flume.

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

/// The serializer.
#[derive(Debug)]
pub struct Text {
    config: Config,
}

impl Component for Text {
    const TYPE: &'static str = "text";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.serialization.BodyTextEventSerializer$Builder",
        "org.apache.flume.serialization.BodyTextEventSerializer",
    ];
    type Config = Config;

    async fn open(config: Config, _cx: Context) -> Result<Self, OpenError> {
        Ok(Text { config })
    }
}

impl Serializer for Text {
    fn start(&mut self, _out: &mut BytesMut, _start: Start) {}

    fn write(&mut self, events: &[Event], out: &mut BytesMut) -> Result<(), SerializeError> {
        // Room for all of it at once: the loop then only copies.
        out.reserve(events.iter().map(|event| event.body.len() + 1).sum());
        for event in events {
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
            let mut text = Text { config: Config { append_newline } };
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
        assert!(Text { config: Config::default() }.reopens());
    }
}
