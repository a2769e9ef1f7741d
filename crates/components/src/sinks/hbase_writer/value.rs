//! Values of columns: texts, or numbers as HBase's `Bytes.toBytes` writes them.

use bytes::Bytes;
use serde::Deserialize;

/// What a column holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ValueType {
    /// The text, in UTF-8, or the bytes as they are.
    #[default]
    Text,
    /// Two bytes.
    Short,
    /// Four bytes.
    Int,
    /// Eight bytes.
    Long,
    /// Four bytes, as IEEE 754 has them.
    Float,
    /// Eight bytes, as IEEE 754 has them.
    Double,
    /// One byte: 255 for `true` in any case, 0 for `false`.
    Boolean,
}

impl ValueType {
    /// A type by its name.
    pub(super) fn named(name: &str) -> Option<ValueType> {
        Some(match name {
            "text" => ValueType::Text,
            "short" => ValueType::Short,
            "int" => ValueType::Int,
            "long" => ValueType::Long,
            "float" => ValueType::Float,
            "double" => ValueType::Double,
            "boolean" => ValueType::Boolean,
            _ => return None,
        })
    }

    /// The bytes of a value that is written as text, or what is wrong with it.
    pub(super) fn encode(self, written: Bytes) -> Result<Bytes, String> {
        if self == ValueType::Text {
            return Ok(written);
        }
        let text = std::str::from_utf8(&written).unwrap_or("\u{fffd}").trim();
        let bytes = match self {
            ValueType::Text => None,
            ValueType::Short => text.parse::<i16>().ok().map(|n| n.to_be_bytes().to_vec()),
            ValueType::Int => text.parse::<i32>().ok().map(|n| n.to_be_bytes().to_vec()),
            ValueType::Long => text.parse::<i64>().ok().map(|n| n.to_be_bytes().to_vec()),
            ValueType::Float => text.parse::<f32>().ok().map(|n| n.to_be_bytes().to_vec()),
            ValueType::Double => text.parse::<f64>().ok().map(|n| n.to_be_bytes().to_vec()),
            ValueType::Boolean if text.eq_ignore_ascii_case("true") => Some(vec![255]),
            ValueType::Boolean if text.eq_ignore_ascii_case("false") => Some(vec![0]),
            ValueType::Boolean => None,
        };
        bytes.map(Bytes::from).ok_or_else(|| {
            let shown: String = text.chars().take(50).collect();
            format!("`{shown}` is no value of type {}", self.name())
        })
    }

    fn name(self) -> &'static str {
        match self {
            ValueType::Text => "text",
            ValueType::Short => "short",
            ValueType::Int => "int",
            ValueType::Long => "long",
            ValueType::Float => "float",
            ValueType::Double => "double",
            ValueType::Boolean => "boolean",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_java() {
        let check = |kind: &str, text: &str, want: Result<&[u8], &str>| {
            let kind = ValueType::named(kind).unwrap();
            match (kind.encode(text.to_owned().into()), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{text}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        };
        check("text", " a", Ok(b" a"));
        check("short", "-2", Ok(&[0xff, 0xfe]));
        check("short", "32768", Err("`32768` is no value of type short"));
        check("int", " 258 ", Ok(&[0, 0, 1, 2]));
        check("int", "1.0", Err("type int"));
        check("long", "-1", Ok(&[0xff; 8]));
        check("long", "9223372036854775808", Err("type long"));
        check("float", "1.5", Ok(&[0x3f, 0xc0, 0, 0]));
        check("double", "-2", Ok(&[0xc0, 0, 0, 0, 0, 0, 0, 0]));
        check("double", "two", Err("type double"));
        check("boolean", "TRUE", Ok(&[255]));
        check("boolean", "false", Ok(&[0]));
        check("boolean", "1", Err("type boolean"));
        assert_eq!(ValueType::named("decimal"), None);
    }
}
