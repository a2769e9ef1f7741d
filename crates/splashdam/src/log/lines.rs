//! Queued events as lines.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Map, Value, json};
use splashdam_components::channels::file::offline::{Passed, Stored};
use splashdam_core::Event;

use super::progress::Bar;

const BUFFER_BYTES: usize = 256 << 10;

/// Writes a queue's events to a new file, or to standard output.
pub(super) fn write(
    stored: &Stored,
    queue: u16,
    json: bool,
    output: Option<&Path>,
) -> io::Result<Passed> {
    let file = match output {
        None => None,
        Some(path) => {
            let file = OpenOptions::new().write(true).create_new(true).open(path);
            Some(file.map_err(|error| {
                io::Error::new(error.kind(), format!("cannot make {}: {error}", path.display()))
            })?)
        }
    };
    let out: Box<dyn Write> = match &file {
        Some(file) => Box::new(file),
        None => Box::new(io::stdout().lock()),
    };
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    let mut bar = Bar::new("writing");
    let (mut failed, mut written) = (None, 0);
    let passed = stored.events(queue, |number, event| {
        let line = if json { as_json(number, &event) } else { Vec::from(event.body) };
        match out.write_all(&line).and_then(|()| out.write_all(b"\n")) {
            Ok(()) => {
                written += 1;
                bar.count(written);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    out.flush()?;
    drop(out);
    if let Some(file) = file {
        file.sync_all()?;
    }
    Ok(passed)
}

fn as_json(number: u64, event: &Event) -> Vec<u8> {
    let headers: Map<String, Value> = event
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), Value::from(value.as_str())))
        .collect();
    let line = json!({ "number": number, "headers": headers, "body": base64(&event.body) });
    line.to_string().into_bytes()
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let shown = digit <= chunk.len();
            let value = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if shown { char::from(DIGITS[value]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_base64() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (&[0xff, 0xfe, 0xfb], "//77"),
        ] {
            assert_eq!(base64(bytes), text);
        }
    }

    #[test]
    fn an_event_is_one_line() {
        let mut event = Event::new("a\nb");
        event.headers.insert("h\n", "\"v");
        let line = as_json(7, &event);
        assert_eq!(
            String::from_utf8_lossy(&line),
            r#"{"number":7,"headers":{"h\n":"\"v"},"body":"YQpi"}"#
        );
    }
}
