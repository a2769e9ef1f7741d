//! Messages for a receiver: RFC 5424 or RFC 3164, one behind the other in a stream or one a
//! datagram.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How a message is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `<13>1 2022-03-04T05:06:07.008Z host app 42 id - text`
    #[default]
    Rfc5424,
    /// `<13>Mar  4 05:06:07 host app[42]: text`
    Rfc3164,
}

/// How messages follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delimiting {
    /// Each begins with its length (RFC 6587, RFC 5425).
    #[default]
    OctetCounted,
    /// Each ends at LF; line ends within become blanks.
    Newline,
    /// Each is a datagram.
    Datagram,
}

/// A message to be written. Texts that a form has no room for are cut, and characters that it does
/// not allow become `_`; an empty text counts as missing.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Facility times eight, and severity.
    pub priority: u8,
    /// Milliseconds since 1970.
    pub millis: i64,
    /// The host.
    pub host: &'a str,
    /// The program.
    pub app_name: &'a str,
    /// The process.
    pub proc_id: &'a str,
    /// The kind of message; RFC 3164 has no place for it.
    pub msg_id: &'a str,
    /// The text.
    pub body: &'a [u8],
}

/// Appends a message to `out`. `zone` is that of RFC 3164's times, which do not name theirs.
pub fn write(
    out: &mut Vec<u8>,
    message: &Message<'_>,
    form: Form,
    delimiting: Delimiting,
    zone: &TimeZone,
) {
    let mut text = match form {
        Form::Rfc5424 => head_5424(message),
        Form::Rfc3164 => head_3164(message, zone),
    }
    .into_bytes();
    let head = text.len();
    text.extend_from_slice(message.body);
    match delimiting {
        Delimiting::OctetCounted => {
            out.extend_from_slice(text.len().to_string().as_bytes());
            out.push(b' ');
            out.append(&mut text);
        }
        Delimiting::Newline => {
            for byte in text[head..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
                *byte = b' ';
            }
            out.append(&mut text);
            out.push(b'\n');
        }
        Delimiting::Datagram => out.append(&mut text),
    }
}

fn head_5424(message: &Message<'_>) -> String {
    // Years have four digits: no others are written.
    let time = Timestamp::from_millisecond(message.millis).ok().map(|time| format!("{time:.3}"));
    let time = time.filter(|time| !time.starts_with('-')).unwrap_or_else(|| "-".to_owned());
    let field = |text, most| {
        let field = printable(text, most);
        if field.is_empty() { "-".to_owned() } else { field }
    };
    format!(
        "<{}>1 {time} {} {} {} {} - ",
        message.priority,
        field(message.host, 255),
        field(message.app_name, 48),
        field(message.proc_id, 128),
        field(message.msg_id, 32),
    )
}

fn head_3164(message: &Message<'_>, zone: &TimeZone) -> String {
    let time = Timestamp::from_millisecond(message.millis).unwrap_or_default();
    let time = zone.to_offset(time).to_datetime(time).strftime("%b %e %H:%M:%S").to_string();
    let host = printable(message.host, 255);
    let host = if host.is_empty() { "-" } else { host.as_str() };
    let mut head = format!("<{}>{time} {host} ", message.priority);
    let app_name = printable(message.app_name, 32).replace([':', '[', ']'], "_");
    if !app_name.is_empty() {
        head.push_str(&app_name);
        let proc_id = printable(message.proc_id, 128).replace(['[', ']'], "_");
        if !proc_id.is_empty() {
            head.extend(["[", proc_id.as_str(), "]"]);
        }
        head.push_str(": ");
    }
    head
}

/// Printable ASCII without blanks, at most so many characters.
fn printable(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: Message<'_> = Message {
        priority: 13,
        millis: 1_646_370_367_008,
        host: "mill",
        app_name: "saw",
        proc_id: "42",
        msg_id: "cut",
        body: b"a\nb",
    };

    #[test]
    fn messages_are_written_in_each_form() {
        use Delimiting::{Datagram, Newline, OctetCounted};
        use Form::{Rfc3164, Rfc5424};
        let bare =
            Message { host: "", app_name: "", proc_id: "", msg_id: "", body: b"", ..MESSAGE };
        let old = Message { millis: -62_167_392_000_000, ..MESSAGE };
        let odd = Message { host: "a b", app_name: "x[y]:z", proc_id: "ü", ..MESSAGE };
        for (message, form, delimiting, want) in [
            (
                MESSAGE,
                Rfc5424,
                OctetCounted,
                "52 <13>1 2022-03-04T05:06:07.008Z mill saw 42 cut - a\nb",
            ),
            (MESSAGE, Rfc5424, Newline, "<13>1 2022-03-04T05:06:07.008Z mill saw 42 cut - a b\n"),
            (MESSAGE, Rfc3164, Datagram, "<13>Mar  4 05:06:07 mill saw[42]: a\nb"),
            (bare, Rfc5424, Datagram, "<13>1 2022-03-04T05:06:07.008Z - - - - - "),
            (bare, Rfc3164, Newline, "<13>Mar  4 05:06:07 - \n"),
            (old, Rfc5424, Datagram, "<13>1 - mill saw 42 cut - a\nb"),
            (odd, Rfc3164, Datagram, "<13>Mar  4 05:06:07 a_b x_y__z[_]: a\nb"),
            (odd, Rfc5424, Datagram, "<13>1 2022-03-04T05:06:07.008Z a_b x[y]:z _ cut - a\nb"),
        ] {
            let mut out = Vec::new();
            write(&mut out, &message, form, delimiting, &TimeZone::UTC);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }
}
