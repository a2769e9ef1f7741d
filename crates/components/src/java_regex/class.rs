//! Escapes and character classes.

use super::translate::{Escape, Step, Token, Translator, literal, stop};

/// Classes within classes.
const MOST_DEPTH: usize = 100;

impl Translator {
    /// What follows a backslash at `at`.
    pub(super) fn escape(&mut self, at: usize) -> Step<Escape> {
        let Some(token) = self.raw() else {
            return Err(stop(at, "a backslash with nothing behind it"));
        };
        self.advance();
        let c = token.char;
        Ok(Escape::Char(match c {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\x0C',
            'a' => '\x07',
            'e' => '\x1B',
            'c' => {
                let control = self.raw().ok_or_else(|| stop(at, "`\\c` with nothing behind it"))?;
                self.advance();
                char::from_u32(u32::from(control.char) ^ 64)
                    .ok_or_else(|| stop(at, "`\\c` and no control character"))?
            }
            '0' => self.octal(at)?,
            'x' => self.hexadecimal(at)?,
            'u' => self.utf16(at)?,
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'h' | 'H' | 'v' | 'V' => {
                return Ok(Escape::Class(self.predefined(c)));
            }
            'p' | 'P' => return Ok(Escape::Class(self.property(c == 'P', at)?)),
            c if c.is_ascii_alphanumeric() => return Ok(Escape::Other(c)),
            c => c,
        }))
    }

    fn octal(&mut self, at: usize) -> Step<char> {
        let mut value = 0;
        let mut digits = 0;
        while let Some(digit) = self.raw().and_then(|t| t.char.to_digit(8)) {
            // The third digit counts only where the value stays within a byte.
            if digits == 3 || value * 8 + digit > 0o377 {
                break;
            }
            value = value * 8 + digit;
            digits += 1;
            self.advance();
        }
        let value = char::from_u32(value).filter(|_| digits > 0);
        value.ok_or_else(|| stop(at, "`\\0` without octal digits"))
    }

    fn hexadecimal(&mut self, at: usize) -> Step<char> {
        let wrong = || stop(at, "`\\x` without hexadecimal digits");
        let value = if self.raw().is_some_and(|t| t.char == '{') {
            self.advance();
            let text = self.until('}').ok_or_else(wrong)?;
            u32::from_str_radix(&text, 16).map_err(|_| wrong())?
        } else {
            self.digits(2).ok_or_else(wrong)?
        };
        char::from_u32(value).ok_or_else(|| stop(at, "a `\\x` that is no character"))
    }

    /// `\uXXXX`, or two of them that make one character.
    fn utf16(&mut self, at: usize) -> Step<char> {
        let wrong = || stop(at, "`\\u` without four hexadecimal digits");
        let unit = self.digits(4).ok_or_else(wrong)?;
        if let Some(c) = char::from_u32(unit) {
            return Ok(c);
        }
        let lone = || stop(at, "half of a surrogate pair, which is not supported,");
        let follows = |ahead: usize, c| self.raw_at(ahead).is_some_and(|t| t.char == c);
        if !(0xD800..0xDC00).contains(&unit) || !follows(0, '\\') || !follows(1, 'u') {
            return Err(lone());
        }
        self.advance();
        self.advance();
        let low = self.digits(4).filter(|low| (0xDC00..0xE000).contains(low)).ok_or_else(lone)?;
        char::from_u32(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)).ok_or_else(lone)
    }

    fn digits(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value * 16 + self.raw()?.char.to_digit(16)?;
            self.advance();
        }
        Some(value)
    }

    fn until(&mut self, end: char) -> Option<String> {
        let mut text = String::new();
        while let Some(token) = self.raw() {
            self.advance();
            if token.char == end {
                return Some(text);
            }
            text.push(token.char);
        }
        None
    }

    fn predefined(&self, letter: char) -> String {
        let unicode = self.flags.unicode_classes;
        let set = match letter.to_ascii_lowercase() {
            'd' if unicode => "\\d",
            'd' => "0-9",
            'w' if unicode => "\\w",
            'w' => "A-Za-z0-9_",
            's' if unicode => "\\s",
            's' => "\\x20\\t\\n\\x0B\\f\\r",
            'h' => "\\x20\\t\\xA0\\x{1680}\\x{180E}\\x{2000}-\\x{200A}\\x{202F}\\x{205F}\\x{3000}",
            _ => "\\n\\x0B\\f\\r\\x{85}\\x{2028}\\x{2029}",
        };
        bracketed(letter.is_ascii_uppercase(), set)
    }

    /// `\p{…}` and `\pL`.
    fn property(&mut self, negated: bool, at: usize) -> Step<String> {
        let wrong = || stop(at, "`\\p` without a name");
        let name = match self.raw().ok_or_else(wrong)?.char {
            '{' => {
                self.advance();
                self.until('}').ok_or_else(wrong)?
            }
            letter => {
                self.advance();
                letter.to_string()
            }
        };
        let set = property_set(&name, self.flags.unicode_classes);
        let set = set.filter(|set| regex::Regex::new(&format!("[{set}]")).is_ok());
        let sign = if negated { 'P' } else { 'p' };
        let set =
            set.ok_or_else(|| stop(at, format!("`\\{sign}{{{name}}}`, which is not supported,")))?;
        Ok(bracketed(negated, &set))
    }

    /// A class whose `[` at `at` was taken, as the engines write it.
    pub(super) fn class(&mut self, at: usize) -> Step<String> {
        let class = self.class_body(at)?;
        let folds = self.flags.ignore_case && self.flags.unicode_case;
        Ok(if folds { format!("(?i:{class})") } else { class })
    }

    fn class_body(&mut self, at: usize) -> Step<String> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(stop(at, "too many classes within each other"));
        }
        let negated = self.eat('^');
        let mut parts = vec![String::new()];
        let mut part = String::new();
        loop {
            let Some(token) = self.peek() else {
                return Err(stop(at, "a class without its `]`"));
            };
            self.advance();
            match token.char {
                // Right behind `[` or `[^` it is a character.
                ']' if !token.quoted && (!part.is_empty() || parts.len() > 1) => break,
                '[' if !token.quoted => part.push_str(&self.class_body(token.at)?),
                '&' if !token.quoted && self.eat('&') => {
                    if part.is_empty() {
                        return Err(stop(token.at, "a `&&` with nothing before it"));
                    }
                    parts.push(std::mem::take(&mut part));
                    if self.raw().is_some_and(|t| !t.quoted && t.char == '&') {
                        return Err(stop(self.at(), "a third `&`, which is not supported,"));
                    }
                }
                _ => self.class_item(token, &mut part)?,
            }
        }
        if part.is_empty() {
            return Err(stop(at, "a `&&` with nothing behind it"));
        }
        parts.push(part);
        self.depth -= 1;
        let sets: Vec<String> = parts.drain(1..).collect();
        Ok(match sets.as_slice() {
            [only] => bracketed(negated, only),
            _ => {
                let sets: Vec<String> = sets.iter().map(|set| bracketed(false, set)).collect();
                bracketed(negated, &sets.join("&&"))
            }
        })
    }

    /// A character, a range or an escape.
    fn class_item(&mut self, token: Token, set: &mut String) -> Step<()> {
        let first = match self.class_char(token)? {
            Ok(c) => c,
            Err(class) => {
                set.push_str(&class);
                return Ok(());
            }
        };
        let dash = self.peek().is_some_and(|t| !t.quoted && t.char == '-');
        let behind = self.raw_at(1);
        // Before `]` or `[` a dash is itself.
        let range = dash && behind.is_some_and(|t| t.quoted || !matches!(t.char, ']' | '['));
        let last = if range {
            self.advance();
            let end = self.peek().ok_or_else(|| stop(token.at, "a class without its `]`"))?;
            self.advance();
            match self.class_char(end)? {
                Ok(last) if last >= first => last,
                _ => return Err(stop(token.at, "a range whose ends are the wrong way round")),
            }
        } else {
            first
        };
        set.push_str(&literal(first));
        if last != first {
            set.push('-');
            set.push_str(&literal(last));
        }
        if self.flags.ignore_case {
            push_other_case(first, last, set);
        }
        Ok(())
    }

    fn class_char(&mut self, token: Token) -> Step<Result<char, String>> {
        if token.quoted || token.char != '\\' {
            return Ok(Ok(token.char));
        }
        match self.escape(token.at)? {
            Escape::Char(c) => Ok(Ok(c)),
            Escape::Class(class) => Ok(Err(class)),
            Escape::Other(letter) => {
                Err(stop(token.at, format!("`\\{letter}` in a class, which is not supported,")))
            }
        }
    }
}

/// The other case of all ASCII letters from `first` to `last`.
fn push_other_case(first: char, last: char, set: &mut String) {
    for (from, to, shifted) in [('a', 'z', 'A'), ('A', 'Z', 'a')] {
        let (low, high) = (first.max(from), last.min(to));
        if low <= high {
            let shift = |c: char| {
                char::from_u32(u32::from(c) - u32::from(from) + u32::from(shifted)).unwrap_or(c)
            };
            set.push(shift(low));
            set.push('-');
            set.push(shift(high));
        }
    }
}

fn bracketed(negated: bool, set: &str) -> String {
    format!("[{}{set}]", if negated { "^" } else { "" })
}

/// What Java means by `\p{name}`, as the inside of a class. Names that pass through unchanged may
/// be unknown to the engine.
fn property_set(name: &str, unicode: bool) -> Option<String> {
    let ascii = match name {
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "ASCII" => "\\x00-\\x7F",
        "Alpha" => "A-Za-z",
        "Digit" => "0-9",
        "Alnum" => "A-Za-z0-9",
        "Punct" => "[:punct:]",
        "Graph" => "!-~",
        "Print" => "\\x20-~",
        "Blank" => "\\x20\\t",
        "Cntrl" => "\\x00-\\x1F\\x7F",
        "XDigit" => "0-9A-Fa-f",
        "Space" => "\\x20\\t-\\r",
        _ => "",
    };
    if !ascii.is_empty() {
        return Some(if unicode { unicode_posix(name)? } else { ascii }.to_owned());
    }
    let java = match name {
        "javaLowerCase" => "\\p{Lowercase}",
        "javaUpperCase" => "\\p{Uppercase}",
        "javaTitleCase" => "\\p{Lt}",
        "javaAlphabetic" => "\\p{Alphabetic}",
        "javaLetter" => "\\p{L}",
        "javaDigit" => "\\p{Nd}",
        "javaLetterOrDigit" => "\\p{L}\\p{Nd}",
        "javaSpaceChar" => "\\p{Z}",
        "javaISOControl" => "\\p{Cc}",
        "javaWhitespace" => "\\t-\\r\\x1C-\\x1F[\\p{Z}--[\\xA0\\x{2007}\\x{202F}]]",
        "L1" => "\\x00-\\xFF",
        "LC" => "\\p{Lu}\\p{Ll}\\p{Lt}",
        "LD" => "\\p{L}\\p{Nd}",
        "all" => "\\x00-\\x{10FFFF}",
        _ => "",
    };
    if !java.is_empty() {
        return Some(java.to_owned());
    }
    let plain = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if let Some((key, value)) = name.split_once('=') {
        let key = match key.to_ascii_lowercase().as_str() {
            "sc" | "script" => "sc",
            "gc" | "general_category" => "gc",
            _ => return None,
        };
        return plain(value).then(|| format!("\\p{{{key}={value}}}"));
    }
    // `In…` are blocks, which the engines do not know; `java…` are methods.
    if name.starts_with("In") || name.starts_with("java") {
        return None;
    }
    let name = name.strip_prefix("Is").unwrap_or(name);
    plain(name).then(|| format!("\\p{{{name}}}"))
}

/// The POSIX classes under `(?U)`.
fn unicode_posix(name: &str) -> Option<&'static str> {
    Some(match name {
        "Lower" => "\\p{Lowercase}",
        "Upper" => "\\p{Uppercase}",
        "ASCII" => "\\x00-\\x7F",
        "Alpha" => "\\p{Alphabetic}",
        "Digit" => "\\p{Nd}",
        "Alnum" => "\\p{Alphabetic}\\p{Nd}",
        "Punct" => "\\p{P}",
        "Blank" => "\\p{Zs}\\t",
        "Cntrl" => "\\p{Cc}",
        "XDigit" => "\\p{Nd}\\p{Hex_Digit}",
        "Space" => "\\p{White_Space}",
        _ => return None,
    })
}
