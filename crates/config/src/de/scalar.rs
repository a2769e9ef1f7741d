//! Texts into numbers and truth values, by Java's rules.

use super::error::ReadError;

/// `true` in any case. The second is false where a warning is due.
pub(super) fn boolean(text: &str) -> (bool, bool) {
    let yes = text.eq_ignore_ascii_case("true");
    (yes, yes || text.eq_ignore_ascii_case("false"))
}

/// A decimal integer between `min` and `max`, as `Long.parseLong` reads one.
pub(super) fn integer(text: &str, min: i128, max: i128) -> Result<i128, ReadError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("`{}` is no whole number", shown(text));
        return Err(ReadError::bad("bad-number", message, Some(number_help(text))));
    }
    let value = text.parse().ok().filter(|value| (min..=max).contains(value));
    value.ok_or_else(|| {
        let message = format!("`{}` is out of range, expected {min} to {max}", shown(text));
        ReadError::bad("number-out-of-range", message, None)
    })
}

/// A number as `Double.parseDouble` reads one, short of hexadecimal.
pub(super) fn float(text: &str) -> Result<f64, ReadError> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let digits = if plain { text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text) } else { text };
    let value =
        (plain || matches!(unsigned, "NaN" | "Infinity")).then(|| digits.parse().ok()).flatten();
    value.ok_or_else(|| {
        let message = format!("`{}` is no number", shown(text));
        ReadError::bad("bad-number", message, Some(number_help(text)))
    })
}

/// A value as messages show it: not all of a novel.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn number_help(text: &str) -> String {
    if text.is_empty() {
        return "write a number".to_owned();
    }
    if let Some((value, _)) = text.split_once(" #").or_else(|| text.split_once("\t#")) {
        let value = value.trim_end();
        return format!(
            "a comment behind a value is part of the value: write `{value}`, the comment on a line of its own"
        );
    }
    if let Some(inner) = quoted(text) {
        return format!("quotes are part of the value: write {inner} without them");
    }
    if let Some(help) = unit_help(text) {
        return help;
    }
    let bare: String =
        text.chars().filter(|c| !matches!(c, '_' | ',' | ' ' | '\'' | '.')).collect();
    if !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("write digits only, as in {bare}");
    }
    if text.starts_with("0x") || text.starts_with("0X") {
        return "write the number in decimal".to_owned();
    }
    if text.contains("${") {
        return "a variable in it was not found, see the other findings".to_owned();
    }
    "write digits only".to_owned()
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix(['"', '\''])?.strip_suffix(['"', '\''])
}

/// `30s`, `10m`, `64MB`: what to write instead.
fn unit_help(text: &str) -> Option<String> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim().to_ascii_lowercase();
    let seconds = |each: u64| {
        let seconds = number.saturating_mul(each);
        format!(
            "{seconds} where the key counts seconds, {} where it counts milliseconds",
            seconds.saturating_mul(1000)
        )
    };
    let bytes =
        |shift: u32| format!("{} where the key counts bytes", number.saturating_mul(1 << shift));
    let instead = match unit.as_str() {
        "ms" | "msec" | "millis" => format!("{number} where the key counts milliseconds"),
        "s" | "sec" | "secs" | "second" | "seconds" => seconds(1),
        "m" => format!("{}, {}", seconds(60), bytes(20)),
        "min" | "mins" | "minute" | "minutes" => seconds(60),
        "h" | "hour" | "hours" => seconds(3600),
        "d" | "day" | "days" => seconds(86400),
        "k" | "kb" | "kib" => bytes(10),
        "mb" | "mib" => bytes(20),
        "g" | "gb" | "gib" => bytes(30),
        "b" | "byte" | "bytes" => bytes(0),
        "l" => format!("{number}"),
        _ => return None,
    };
    Some(format!("numbers have no units here: write {instead}"))
}
