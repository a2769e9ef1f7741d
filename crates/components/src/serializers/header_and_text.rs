//! Serializer `header_and_text`: the headers as Java prints a map, a blank, the body, a newline.
//!
//! Flume's class: `org.apache.flume.serialization.HeaderAndBodyTextEventSerializer`. Headers come
//! in the order of Java's `HashMap`, so that files compare equal with those of Flume. Text is
//! UTF-8, where Flume takes the platform's charset.

use bytes::{BufMut, BytesMut};
use splashdam_core::Event;

/// The keys are those of `text`.
pub use super::text::Config;
use super::text::{Lead, Lines};
use crate::java_map;

/// The headers and a blank.
#[derive(Debug)]
pub enum Headers {}

/// The serializer.
pub type HeaderAndText = Lines<Headers>;

impl Lead for Headers {
    const TYPE: &'static str = "header_and_text";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.serialization.HeaderAndBodyTextEventSerializer$Builder",
        "org.apache.flume.serialization.HeaderAndBodyTextEventSerializer",
    ];

    fn len_bytes(event: &Event) -> usize {
        java_map::printed_len(&event.headers) + 1
    }

    fn write(event: &Event, out: &mut BytesMut) {
        java_map::print(&event.headers, out);
        out.put_u8(b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use splashdam_core::Serializer;
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
            let mut serializer = HeaderAndText::new(Config { append_newline });
            serializer.write(&[event], &mut out).unwrap();
            assert_eq!(out, want);
        };
        check(true, &[], "x", "{} x\n");
        check(false, &[], "", "{} ");
        check(true, &["timestamp", "host", "file"], "x", "{file=v, host=v, timestamp=v} x\n");
        check(true, &["a=b, c"], "x", "{a=b, c=v} x\n");
    }
}
