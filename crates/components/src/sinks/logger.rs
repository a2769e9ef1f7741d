//! Sink `logger`: each event becomes a line of the agent's log, for trying things out.
//!
//! Flume's class: `org.apache.flume.sink.LoggerSink`; the line is Flume's. Two differences: Flume
//! 1.11 never hands `maxBytesToLog` to this sink, so that it is always 16 there, while it counts
//! here; and a transaction holds up to 100 events instead of one, which shows only in that a crash
//! may repeat as many lines.

use std::fmt::Write;
use std::sync::Arc;

use serde::Deserialize;
use splashdam_config::Lenient;
use splashdam_core::{
    Batch, Component, Context, DeliverError, Delivered, Event, Facts, OpenError, Sink, Size,
};
use tracing::info;

use crate::java_map;

/// Events in one transaction. Logging does not fail, so this is only about cost.
const BATCH_EVENTS: usize = 100;
const DEFAULT_MAX_BYTES: u32 = 16;
/// Bytes in one line of a dump.
const LINE_BYTES: usize = 16;

/// Keys of the logger sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// The most bytes of a body that are shown. What is not a number means 16, as in Flume.
    pub max_bytes_to_log: Lenient<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Config { max_bytes_to_log: Lenient(Some(DEFAULT_MAX_BYTES)) }
    }
}

/// The sink.
pub struct Logger {
    name: Arc<str>,
    max_bytes: usize,
}

impl Component for Logger {
    const TYPE: &'static str = "logger";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.LoggerSink"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let max_bytes = config.max_bytes_to_log.unwrap_or(DEFAULT_MAX_BYTES);
        Ok(Logger { name: cx.name, max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX) })
    }

    fn facts(_config: &Config) -> Facts {
        Facts {
            place: Some("writes events into the log of the agent".into()),
            process_crash: Some("up to 100 events may be logged again"),
            machine_crash: Some("up to 100 events may be logged again, or be missing in the log"),
            ..Facts::default()
        }
    }
}

impl Sink for Logger {
    fn limit(&self) -> Size {
        Size::events(BATCH_EVENTS)
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        for event in batch.events() {
            info!(component = %self.name, "Event: {}", described(event, self.max_bytes));
        }
        Ok(Delivered::all(batch))
    }
}

/// `{ headers:{k=v} body: <hex> <text> }`, as Flume's `EventHelper` describes an event: the first
/// `max_bytes` of the body in lines of 16, of which all but the first begin with their offset.
fn described(event: &Event, max_bytes: usize) -> String {
    let mut headers = Vec::with_capacity(java_map::printed_len(&event.headers));
    java_map::print(&event.headers, &mut headers);
    let shown = &event.body[..event.body.len().min(max_bytes)];
    let mut text = format!("{{ headers:{} body:", String::from_utf8_lossy(&headers));
    for (index, line) in shown.chunks(LINE_BYTES).enumerate() {
        if index > 0 {
            let _infallible = write!(text, "\n{:08X}", index * LINE_BYTES);
        }
        text.push(' ');
        for byte in line {
            let _infallible = write!(text, "{byte:02X} ");
        }
        text.extend(std::iter::repeat_n("   ", LINE_BYTES - line.len()));
        let printable = |byte: &u8| (b' '..0x7f).contains(byte);
        text.extend(line.iter().map(|byte| if printable(byte) { char::from(*byte) } else { '.' }));
    }
    text.push_str(" }");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use splashdam_core::Role;
    use splashdam_testkit::{Lines, context, contract};

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::sink::<Logger>("").await;
        contract::sink::<Logger>("maxBytesToLog = 0").await;
    }

    /// What Flume 1.11 printed for the same events.
    #[test]
    fn describes_events_as_flume_does() {
        let check = |body: &'static [u8], max_bytes, want: &str| {
            assert_eq!(described(&Event::new(body), max_bytes), want);
        };
        check(b"", 16, "{ headers:{} body: }");
        check(
            b"hello",
            16,
            "{ headers:{} body: 68 65 6C 6C 6F                                  hello }",
        );
        let sixteen =
            "{ headers:{} body: 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66 0123456789abcdef }";
        check(b"0123456789abcdef", 16, sixteen);
        check(b"0123456789abcdefg", 16, sixteen);
        check(
            b"\x01\t~\x7f\n",
            16,
            "{ headers:{} body: 01 09 7E 7F 0A                                  ..~.. }",
        );
        check(
            b"\xff\x80 A",
            16,
            "{ headers:{} body: FF 80 20 41                                     .. A }",
        );
        check(
            b"0123456789abcdefghij",
            32,
            "{ headers:{} body: 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66 0123456789abcdef\n\
             00000010 67 68 69 6A                                     ghij }",
        );
        let mut event = Event::new("a");
        event.headers = [("timestamp", "1"), ("host", "mill")].into_iter().collect();
        let want = "{ headers:{host=mill, timestamp=1} body: 61                                              a }";
        assert_eq!(described(&event, 16), want);
    }

    #[tokio::test]
    async fn each_event_is_one_line_at_info() {
        let (lines, _guard) = Lines::from_level(tracing::Level::INFO);
        let cx = context(Role::Sink);
        let mut logger = contract::open_sink::<Logger>("maxBytesToLog = 2", cx).await;
        let batch: Batch = ["abc", "d"].into_iter().map(Event::new).collect();
        assert_eq!(logger.deliver(&batch).await.unwrap(), Delivered::all(&batch));
        let blanks = |bytes: usize| "   ".repeat(16 - bytes);
        let want = [
            format!("INFO Event: {{ headers:{{}} body: 61 62 {}ab }} component=x1", blanks(2)),
            format!("INFO Event: {{ headers:{{}} body: 64 {}d }} component=x1", blanks(1)),
        ];
        assert_eq!(lines.with(""), want);
    }

    #[tokio::test]
    async fn the_number_of_bytes_falls_back_as_in_flume() {
        for (keys, want) in [("", 16), ("maxBytesToLog = 99", 99), ("maxBytesToLog = x", 16)] {
            let logger = contract::open_sink::<Logger>(keys, context(Role::Sink)).await;
            assert_eq!(logger.max_bytes, want, "{keys}");
        }
    }
}
