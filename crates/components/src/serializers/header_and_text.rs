//! Serializer `header_and_text`: the headers as Java prints a map, a blank, the body, a newline.
//!
//! Flume's class: `org.apache.flume.serialization.HeaderAndBodyTextEventSerializer`. Headers come
//! in the order of Java's `HashMap`, so that files compare equal with those of Flume; see
//! [`crate::java_map`]. Text is UTF-8, where Flume takes the platform's charset.

use bytes::{BufMut, BytesMut};
use splashdam_core::{Component, Context, Event, OpenError, SerializeError, Serializer, Start};

use crate::java_map;

/// The keys are those of `text`.
pub use super::text::Config;

/// The serializer.
#[derive(Debug)]
pub struct HeaderAndText {
    config: Config,
}

impl Component for HeaderAndText {
    const TYPE: &'static str = "header_and_text";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.serialization.HeaderAndBodyTextEventSerializer$Builder",
        "org.apache.flume.serialization.HeaderAndBodyTextEventSerializer",
    ];
    type Config = Config;

    async fn open(config: Config, _cx: Context) -> Result<Self, OpenError> {
        Ok(HeaderAndText { config })
    }
}

impl Serializer for HeaderAndText {
    fn start(&mut self, _out: &mut BytesMut, _start: Start) {}

    fn write(&mut self, events: &[Event], out: &mut BytesMut) -> Result<(), SerializeError> {
        let line = |event: &Event| java_map::printed_len(&event.headers) + event.body.len() + 2;
        out.reserve(events.iter().map(line).sum());
        for event in events {
            java_map::print(&event.headers, out);
            out.put_u8(b' ');
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
        contract::serializer::<HeaderAndText>("").await;
        contract::serializer::<HeaderAndText>("appendNewline = false").await;
    }

    #[test]
    fn writes_headers_in_the_order_of_java() {
        let check = |append_newline: bool, headers: &[&str], body: &'static str, want: &str| {
            let mut event = Event::new(body);
            event.headers = headers.iter().map(|name| (*name, "v")).collect();
            let mut out = BytesMut::new();
            let mut serializer = HeaderAndText { config: Config { append_newline } };
            serializer.write(&[event], &mut out).unwrap();
            assert_eq!(out, want);
        };
        check(true, &[], "x", "{} x\n");
        check(false, &[], "", "{} ");
        check(true, &["timestamp", "host", "file"], "x", "{file=v, host=v, timestamp=v} x\n");
        check(true, &["a=b, c"], "x", "{a=b, c=v} x\n");
    }
}
