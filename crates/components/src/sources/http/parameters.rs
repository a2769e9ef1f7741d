//! Parameters as they stand in a query or a form: `name=value&name=value`, with `+` and `%XX`.

use splashdam_core::Malformed;

/// Parameters of a request at the most.
const MOST: usize = 10_000;

/// Reads them in order. A name without `=` has an empty value; U+FFFD stands for what is not UTF-8.
pub(super) fn read(text: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let mut parameters = Vec::new();
    let mut at = 0;
    for part in text.split(|byte| *byte == b'&') {
        let equals = memchr::memchr(b'=', part);
        let (name, value) = match equals {
            Some(equals) => (&part[..equals], &part[equals + 1..]),
            None => (part, &b""[..]),
        };
        if !part.is_empty() {
            if parameters.len() == MOST {
                return Err(Malformed { at, what: "too many parameters" });
            }
            parameters.push((decode(name, at)?, decode(value, at)?));
        }
        at += part.len() + 1;
    }
    Ok(parameters)
}

fn decode(text: &[u8], at: usize) -> Result<String, Malformed> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, more @ ..] = rest {
        rest = more;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let two = rest.split_first_chunk::<2>().and_then(|(digits, behind)| {
                    rest = behind;
                    let digit = |byte: u8| char::from(byte).to_digit(16);
                    u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).ok()
                });
                let wrong =
                    Malformed { at, what: "% is not followed by two digits in a parameter" };
                bytes.push(two.ok_or(wrong)?);
            }
            _ => bytes.push(*byte),
        }
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_told_apart_and_decoded() {
        let check = |text: &str, want: &[(&str, &str)]| {
            let read = read(text.as_bytes()).unwrap();
            let read: Vec<_> = read.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(read, want, "{text}");
        };
        check("", &[]);
        check("a=1&b=2&a=3", &[("a", "1"), ("b", "2"), ("a", "3")]);
        check("a&b=&=c&&d", &[("a", ""), ("b", ""), ("", "c"), ("d", "")]);
        check("a+b=%C3%BC%2b=", &[("a b", "ü+=")]);
        check("a=%ff", &[("a", "\u{fffd}")]);
        check("a=b=c", &[("a", "b=c")]);
    }

    #[test]
    fn bad_escapes_and_too_many_are_refused() {
        for text in ["a=%", "a=%2", "%zz=1", "ok=1&a=%+1", "a=%c3%"] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        let many = vec!["a"; MOST + 1].join("&");
        assert!(read(many.as_bytes()).is_err());
        assert_eq!(read(vec!["a"; MOST].join("&").as_bytes()).unwrap().len(), MOST);
    }
}
