//! JSON as Gson's lenient reader takes it, token by token.
//!
//! Beyond JSON: a mark or `)]}'` and a line end in front; comments `/* */`, `//` and `#`; single
//! quotes; texts and names without quotes; `;` for `,`; `=` and `=>` for `:`; nothing at all for null
//! in an array; line ends in texts; and true, false and null in any case. Behind the first value no
//! more than white space may stand.

use std::ops::Range;

use bytes::Bytes;
use splashdam_core::{Malformed, Text};

use super::Refusal;

/// What keeps Gson from running such a text as a script.
const GUARD: &[u8] = b")]}'\n";
/// The character U+FEFF.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What a value begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Null,
    /// A text, from behind its first quote, which is this one.
    Quoted(u8),
    /// A number, a boolean or a text without quotes.
    Literal(Range<usize>),
    BeginArray,
    BeginObject,
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Element { first: bool },
    Elsewhere,
}

/// An array or object that is passed over; two bytes, as there may be as many as the text is long.
struct Open {
    object: bool,
    /// Whether its first member is next.
    first: bool,
}

/// Reads from front to back.
pub(super) struct Reader<'a> {
    text: &'a Bytes,
    at: usize,
}

type Read<T> = Result<T, Malformed>;

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a Bytes) -> Read<Self> {
        std::str::from_utf8(text)
            .map_err(|error| Malformed { at: error.valid_up_to(), what: "it is not UTF-8" })?;
        Ok(Reader { text, at: if text.starts_with(MARK) { MARK.len() } else { 0 } })
    }

    /// That something is wrong here.
    pub(super) fn wrong(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }

    /// The document's value; `None` if there is none.
    pub(super) fn document(&mut self) -> Read<Option<Token>> {
        if self.next_or_end()?.is_none() {
            return Ok(None);
        }
        self.at -= 1;
        if self.text[self.at..].starts_with(GUARD) {
            self.at += GUARD.len();
            if self.next_or_end()?.is_none() {
                return Ok(None);
            }
            self.at -= 1;
        }
        self.value().map(Some)
    }

    /// Sees to it that nothing follows but white space: comments do not belong there.
    pub(super) fn end(&mut self) -> Read<()> {
        self.blanks();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(self.wrong("something follows the array"))
        }
    }

    /// The next element of an array, or its end.
    pub(super) fn element(&mut self, first: bool) -> Read<Option<Token>> {
        if !first {
            match self.next()? {
                b']' => return Ok(None),
                b',' | b';' => {}
                _ => return Err(self.wrong("an element is not followed by `,` or `]`")),
            }
        }
        self.token(Place::Element { first })
    }

    /// The next name in an object and what follows it up to its value, or the object's end. `lone`
    /// stands for half a character.
    pub(super) fn name(&mut self, first: bool, lone: char) -> Result<Option<Text>, Refusal> {
        if !first {
            match self.next()? {
                b'}' => return Ok(None),
                b',' | b';' => {}
                _ => return Err(self.wrong("a member is not followed by `,` or `}`").into()),
            }
        }
        let name = match self.next()? {
            quote @ (b'"' | b'\'') => self.quoted(quote, lone)?,
            b'}' if first => return Ok(None),
            _ => {
                self.at -= 1;
                let range = self.literal("a name must stand here")?;
                self.slice(range)
            }
        };
        match self.next()? {
            b':' => {}
            b'=' if self.text.get(self.at) == Some(&b'>') => self.at += 1,
            b'=' => {}
            _ => return Err(self.wrong("a name is not followed by `:`").into()),
        }
        Ok(Some(name))
    }

    /// The value behind a name.
    pub(super) fn value(&mut self) -> Read<Token> {
        // Only an array ends where a value may stand.
        self.token(Place::Elsewhere)?.ok_or(self.wrong("a value must stand here"))
    }

    /// The text of a value that is no array and no object; `None` for null. `lone` as for names.
    pub(super) fn text(&mut self, token: Token, lone: char) -> Result<Option<Text>, Refusal> {
        match token {
            Token::Null => Ok(None),
            Token::Quoted(quote) => self.quoted(quote, lone).map(Some),
            Token::Literal(range) => {
                let word = &self.text[range.clone()];
                let same = |known: &&str| word.eq_ignore_ascii_case(known.as_bytes());
                let keyword = ["true", "false"].into_iter().find(same);
                Ok(Some(keyword.map_or_else(|| self.slice(range), Text::from_static)))
            }
            Token::BeginArray | Token::BeginObject => {
                Err(self.wrong("a text must stand here").into())
            }
        }
    }

    /// Passes over a value, whatever is in it.
    pub(super) fn skip(&mut self, token: Token) -> Result<(), Refusal> {
        let mut open = Vec::new();
        let mut next = Some(token);
        loop {
            match next {
                Some(Token::Quoted(quote)) => drop(self.quoted(quote, '?')?),
                Some(Token::BeginArray) => open.push(Open { object: false, first: true }),
                Some(Token::BeginObject) => open.push(Open { object: true, first: true }),
                Some(Token::Null | Token::Literal(_)) => {}
                None => drop(open.pop()),
            }
            let Some(Open { object, first }) = open.last_mut() else { return Ok(()) };
            let first = std::mem::take(first);
            next = match object {
                false => self.element(first)?,
                true => match self.name(first, '?')? {
                    Some(_) => Some(self.value()?),
                    None => None,
                },
            };
        }
    }

    fn token(&mut self, place: Place) -> Read<Option<Token>> {
        let token = match self.next()? {
            b']' if place == (Place::Element { first: true }) => return Ok(None),
            b']' | b',' | b';' if place != Place::Elsewhere => {
                self.at -= 1;
                Token::Null
            }
            quote @ (b'"' | b'\'') => Token::Quoted(quote),
            b'[' => Token::BeginArray,
            b'{' => Token::BeginObject,
            _ => {
                self.at -= 1;
                let range = self.literal("a value must stand here")?;
                match self.text[range.clone()].eq_ignore_ascii_case(b"null") {
                    true => Token::Null,
                    false => Token::Literal(range),
                }
            }
        };
        Ok(Some(token))
    }

    /// The next byte that is neither white space nor in a comment.
    fn next(&mut self) -> Read<u8> {
        self.next_or_end()?.ok_or(self.wrong("it ends too early"))
    }

    fn next_or_end(&mut self) -> Read<Option<u8>> {
        loop {
            self.blanks();
            match &self.text[self.at..] {
                [] => return Ok(None),
                [b'/', b'*', rest @ ..] => {
                    let end = rest.windows(2).position(|two| two == b"*/");
                    self.at += 4 + end.ok_or(self.wrong("a comment has no end"))?;
                }
                [b'/', b'/', ..] | [b'#', ..] => self.pass_line(),
                [byte, ..] => {
                    self.at += 1;
                    return Ok(Some(*byte));
                }
            }
        }
    }

    fn blanks(&mut self) {
        let rest = &self.text[self.at..];
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.at += rest.iter().take_while(|byte| blank(byte)).count();
    }

    fn pass_line(&mut self) {
        let rest = &self.text[self.at..];
        self.at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
    }

    /// What stands here without quotes, which must be something.
    fn literal(&mut self, missing: &'static str) -> Read<Range<usize>> {
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|byte| is_literal(**byte)).count();
        if length == 0 {
            return Err(self.wrong(missing));
        }
        let start = self.at;
        self.at += length;
        Ok(start..self.at)
    }

    /// A text up to its second quote: a slice where nothing in it is escaped.
    fn quoted(&mut self, quote: u8, lone: char) -> Result<Text, Refusal> {
        const OPEN: &str = "a text has no end";
        let find =
            |at: usize| memchr::memchr2(quote, b'\\', &self.text[at..]).map(|found| at + found);
        let start = self.at;
        let mut stop = find(start).ok_or(self.wrong(OPEN))?;
        if self.text[stop] == quote {
            self.at = stop + 1;
            return Ok(self.slice(start..stop));
        }
        let mut plain = String::new();
        // The first half of a character of two units, if it came last.
        let mut half = None;
        let mut from = start;
        loop {
            if stop > from {
                plain.extend(half.take().map(|_| lone));
                plain.push_str(&String::from_utf8_lossy(&self.text[from..stop]));
            }
            self.at = stop + 1;
            if self.text[stop] == quote {
                plain.extend(half.map(|_| lone));
                return Ok(plain.into());
            }
            let unit = self.escape()?;
            match (half.take(), unit) {
                (Some(high), 0xdc00..=0xdfff) => {
                    let point =
                        0x10000 + ((u32::from(high) - 0xd800) << 10) + u32::from(unit) - 0xdc00;
                    plain.push(char::from_u32(point).unwrap_or(lone));
                }
                (before, 0xd800..=0xdbff) => {
                    plain.extend(before.map(|_| lone));
                    half = Some(unit);
                }
                (before, _) => {
                    plain.extend(before.map(|_| lone));
                    plain.push(char::from_u32(unit.into()).unwrap_or(lone));
                }
            }
            from = self.at;
            let text = self.text;
            let next = memchr::memchr2(quote, b'\\', &text[from..]);
            stop = from + next.ok_or(self.wrong(OPEN))?;
        }
    }

    /// What an escape stands for, from behind its backslash: a unit of UTF-16.
    fn escape(&mut self) -> Result<u16, Refusal> {
        let byte = *self.text.get(self.at).ok_or(self.wrong("a text has no end"))?;
        self.at += 1;
        Ok(match byte {
            b'n' => b'\n'.into(),
            b't' => b'\t'.into(),
            b'r' => b'\r'.into(),
            b'b' => 8,
            b'f' => 12,
            b'"' | b'\'' | b'\\' | b'/' | b'\n' => byte.into(),
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4);
                let digits = digits.ok_or(self.wrong("an escape has fewer than four digits"))?;
                self.at += 4;
                let digit = |value: u16, byte: &u8| {
                    let digit = u16::try_from(char::from(*byte).to_digit(16)?).ok()?;
                    Some(value << 4 | digit)
                };
                let unit = digits.iter().try_fold(0, digit);
                unit.ok_or(Refusal::Unusable("an escape `\\u` is not followed by four digits"))?
            }
            _ => return Err(self.wrong("an escape that means nothing").into()),
        })
    }

    /// A part of the text, between places that end characters.
    fn slice(&self, range: Range<usize>) -> Text {
        let bytes = self.text.slice(range);
        // It is UTF-8 as a whole, and ASCII stands at both of its ends.
        Text::from_utf8(bytes).unwrap_or_default()
    }
}

/// Whether a byte belongs to what stands without quotes.
fn is_literal(byte: u8) -> bool {
    !matches!(
        byte,
        b'/' | b'\\'
            | b';'
            | b'#'
            | b'='
            | b'{'
            | b'}'
            | b'['
            | b']'
            | b':'
            | b','
            | b' '
            | b'\t'
            | 12
            | b'\r'
            | b'\n'
    )
}
