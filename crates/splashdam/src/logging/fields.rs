//! A line of the text log: who it is about, what happened, then the rest behind a semicolon.
//!
//! `sink k1: cannot be opened now; trying again; error=connection refused`

use std::fmt::{self, Debug, Write as _};

use splashdam_config::diagnostic::escaped;
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Writes fields so that they cannot be taken for the end of the message.
#[derive(Debug)]
pub(super) struct Fields;

#[derive(Default)]
struct Line {
    component: String,
    message: String,
    rest: String,
}

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, mut out: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line::default();
        fields.record(&mut line);
        let Line { component, message, rest } = line;
        let mut text = component;
        for (before, part) in [(": ", message), ("; ", rest)] {
            if !text.is_empty() && !part.is_empty() {
                text += before;
            }
            text += &part;
        }
        // What clients and files say must not move the terminal's cursor nor feign other lines.
        out.write_str(&escaped(&text, false))
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = field.name();
        // Writing to a string does not fail.
        let _written = match name {
            "component" => write!(self.component, "{value:?}"),
            "message" => write!(self.message, "{value:?}"),
            // What the bridge from `log` says of places in code.
            _ if name.starts_with("log.") => Ok(()),
            _ => {
                let apart = if self.rest.is_empty() { "" } else { "; " };
                write!(self.rest, "{apart}{}={value:?}", name.trim_start_matches("r#"))
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::{info, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_says_who_and_what_before_the_rest() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt()
            .compact()
            .fmt_fields(Fields)
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(lines.finish(), || {
            info!("Starting Sink {}", "k1");
            warn!(component = "tail", files = 3, "files count as new");
            let repeats = None::<u64>;
            warn!(component = %"sink k1", error = %"a\u{1b}[31m\nb", repeats, "tried again");
            warn!(error = ?"x", path = "/y");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "INFO Starting Sink k1",
                "WARN tail: files count as new; files=3",
                "WARN sink k1: tried again; error=a\\u{1b}[31m\\nb",
                "WARN error=\"x\"; path=/y",
            ]
        );
    }
}
