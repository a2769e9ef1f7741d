//! From Java's syntax to that of the `regex` and `fancy-regex` crates.
//!
//! The output names no flags: what a flag means is spelled out where it applies, so the engines'
//! own defaults never show. Every character that is no letter or digit goes out as `\x{…}`.

/// Groups within groups; as deep as the `regex` crate goes is deeper than anybody writes.
const MOST_DEPTH: usize = 100;

/// `.` and `$` stop at these.
const TERMINATORS: &str = r"\n\r\x{85}\x{2028}\x{2029}";

/// A pattern in the engines' syntax.
pub(super) struct Translation {
    /// Right for every text.
    pub(super) exact: String,
    /// Right for texts of which `quick_if` holds, with `^` and `$` as plain anchors.
    pub(super) quick: String,
    /// Unset where both are the same.
    pub(super) quick_if: Option<QuickIf>,
    /// Whether it needs an engine that backtracks, whatever `$` means.
    pub(super) backtracks: bool,
    /// Group 1 first.
    pub(super) names: Vec<Option<Box<str>>>,
}

/// What a text must be like for `$` to be its very end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum QuickIf {
    /// Its last character is no line terminator.
    EndsInLine,
    /// It has no line terminator at all, and is not empty.
    OneLine,
}

impl QuickIf {
    pub(super) fn holds(self, text: &str) -> bool {
        match self {
            QuickIf::EndsInLine => !text.ends_with(terminator),
            QuickIf::OneLine => {
                let plain = memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_none();
                plain && !text.is_empty() && (text.is_ascii() || !text.contains(terminator))
            }
        }
    }
}

fn terminator(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What stopped the translation, at a character counted from 0.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) at: usize,
    pub(super) what: String,
}

pub(super) type Step<T> = Result<T, Stopped>;

/// The flags `d i m s u x U` of Java.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    unix_lines: bool,
    pub(super) ignore_case: bool,
    multi_line: bool,
    dot_all: bool,
    pub(super) unicode_case: bool,
    comments: bool,
    pub(super) unicode_classes: bool,
}

/// A character of the pattern, `\Q…\E` resolved.
#[derive(Clone, Copy)]
pub(super) struct Token {
    pub(super) char: char,
    /// Stood between `\Q` and `\E`: means itself.
    pub(super) quoted: bool,
    pub(super) at: usize,
}

pub(super) struct Translator {
    tokens: Vec<Token>,
    next: usize,
    pub(super) flags: Flags,
    exact: String,
    quick: String,
    quick_if: Option<QuickIf>,
    backtracks: bool,
    names: Vec<Option<Box<str>>>,
    pub(super) depth: usize,
}

/// What an escape means.
pub(super) enum Escape {
    Char(char),
    /// A class in brackets.
    Class(String),
    /// Something that cannot stand in a class; `at` is behind the letter.
    Other(char),
}

pub(super) fn translate(pattern: &str) -> Step<Translation> {
    let mut translator = Translator {
        tokens: unquote(pattern),
        next: 0,
        flags: Flags::default(),
        exact: String::new(),
        quick: String::new(),
        quick_if: None,
        backtracks: false,
        names: Vec::new(),
        depth: 0,
    };
    translator.alternatives()?;
    if let Some(left) = translator.peek() {
        return Err(stop(left.at, "a `)` without a group"));
    }
    Ok(Translation {
        exact: translator.exact,
        quick: translator.quick,
        quick_if: translator.quick_if,
        backtracks: translator.backtracks,
        names: translator.names,
    })
}

pub(super) fn stop(at: usize, what: impl Into<String>) -> Stopped {
    Stopped { at, what: what.into() }
}

/// Characters with `\Q…\E` taken out; a quote without an end goes to the end, as in Java.
fn unquote(pattern: &str) -> Vec<Token> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut tokens = Vec::with_capacity(chars.len());
    let (mut at, mut quoted) = (0, false);
    while let Some(&char) = chars.get(at) {
        let behind = chars.get(at + 1).copied();
        match (quoted, char, behind) {
            (false, '\\', Some('Q')) => (quoted, at) = (true, at + 2),
            (true, '\\', Some('E')) => (quoted, at) = (false, at + 2),
            (false, '\\', Some(escaped)) => {
                tokens.push(Token { char, quoted, at });
                tokens.push(Token { char: escaped, quoted, at: at + 1 });
                at += 2;
            }
            _ => {
                tokens.push(Token { char, quoted, at });
                at += 1;
            }
        }
    }
    tokens
}

/// `c` as both engines read it, anywhere.
pub(super) fn literal(c: char) -> String {
    if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\x{{{:X}}}", u32::from(c)) }
}

impl Translator {
    /// The next token as written, blanks and comments included.
    pub(super) fn raw(&self) -> Option<Token> {
        self.tokens.get(self.next).copied()
    }

    pub(super) fn raw_at(&self, ahead: usize) -> Option<Token> {
        self.tokens.get(self.next + ahead).copied()
    }

    pub(super) fn advance(&mut self) {
        self.next += 1;
    }

    /// The next token that counts: in comments mode blanks and comments do not.
    pub(super) fn peek(&mut self) -> Option<Token> {
        if self.flags.comments {
            while let Some(token) = self.raw().filter(|t| !t.quoted) {
                match token.char {
                    ' ' | '\t'..='\r' => self.next += 1,
                    '#' => {
                        while self.raw().is_some_and(|t| !terminator(t.char)) {
                            self.next += 1;
                        }
                    }
                    _ => break,
                }
            }
        }
        self.raw()
    }

    /// Whether the next token is this sign, unquoted; takes it if so.
    pub(super) fn eat(&mut self, sign: char) -> bool {
        let found = self.peek().is_some_and(|t| !t.quoted && t.char == sign);
        self.next += usize::from(found);
        found
    }

    /// The place of the next token, or behind the last.
    pub(super) fn at(&self) -> usize {
        self.raw().map_or_else(|| self.tokens.last().map_or(0, |t| t.at + 1), |t| t.at)
    }

    fn put(&mut self, text: &str) {
        self.exact.push_str(text);
        self.quick.push_str(text);
    }

    fn put_either(&mut self, exact: &str, quick: &str, quick_if: QuickIf) {
        self.exact.push_str(exact);
        self.quick.push_str(quick);
        self.quick_if = self.quick_if.max(Some(quick_if));
    }

    fn alternatives(&mut self) -> Step<()> {
        loop {
            self.sequence()?;
            if !self.eat('|') {
                return Ok(());
            }
            self.put("|");
        }
    }

    fn sequence(&mut self) -> Step<()> {
        while let Some(token) = self.peek() {
            if !token.quoted && matches!(token.char, '|' | ')') {
                break;
            }
            let starts = (self.exact.len(), self.quick.len());
            self.next += 1;
            if self.atom(token)? {
                self.quantifier(starts)?;
            }
        }
        Ok(())
    }

    /// Puts what `token` begins; whether it can be repeated.
    fn atom(&mut self, token: Token) -> Step<bool> {
        let Token { char, quoted, at } = token;
        if quoted {
            self.put_char(char);
            return Ok(true);
        }
        match char {
            '(' => return self.group(at),
            '[' => {
                let class = self.class(at)?;
                self.put(&class);
            }
            '\\' => self.put_escape(at)?,
            '.' if self.flags.dot_all => self.put("(?s:.)"),
            '.' if self.flags.unix_lines => self.put("[^\\n]"),
            '.' => self.put(&format!("[^{TERMINATORS}]")),
            '^' => self.put_line_start(),
            '$' => self.put_line_end(self.flags.multi_line),
            '*' | '+' | '?' => return Err(stop(at, format!("a `{char}` that repeats nothing"))),
            '{' => return Err(stop(at, "a `{` that repeats nothing")),
            _ => self.put_char(char),
        }
        Ok(true)
    }

    fn put_char(&mut self, c: char) {
        let text = match (self.flags.ignore_case, self.flags.unicode_case) {
            (true, true) => format!("(?i:{})", literal(c)),
            (true, false) if c.is_ascii_alphabetic() => {
                format!("[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase())
            }
            _ => literal(c),
        };
        self.put(&text);
    }

    fn put_line_start(&mut self) {
        match (self.flags.multi_line, self.flags.unix_lines) {
            (false, _) => self.put("\\A"),
            // Never at the very end, not even of an empty text: Java's rule.
            (true, true) => self.put_either("(?:(?!\\z)(?:\\A|(?<=\\n)))", "\\A", QuickIf::OneLine),
            (true, false) => self.put_either(
                "(?:(?!\\z)(?:\\A|(?<=[\\n\\x{85}\\x{2028}\\x{2029}])|(?<=\\r)(?!\\n)))",
                "\\A",
                QuickIf::OneLine,
            ),
        }
    }

    fn put_line_end(&mut self, multi_line: bool) {
        let (exact, quick_if) = match (multi_line, self.flags.unix_lines) {
            (false, true) => ("(?:\\z|(?=\\n\\z))", QuickIf::EndsInLine),
            (false, false) => (
                "(?:\\z|(?=\\r\\n\\z)|(?=[\\r\\x{85}\\x{2028}\\x{2029}]\\z)|(?<!\\r)(?=\\n\\z))",
                QuickIf::EndsInLine,
            ),
            (true, true) => ("(?:\\z|(?=\\n))", QuickIf::OneLine),
            (true, false) => {
                ("(?:\\z|(?=[\\r\\x{85}\\x{2028}\\x{2029}])|(?<!\\r)(?=\\n))", QuickIf::OneLine)
            }
        };
        self.put_either(exact, "\\z", quick_if);
    }

    fn put_escape(&mut self, at: usize) -> Step<()> {
        let letter = match self.escape(at)? {
            Escape::Char(c) => {
                self.put_char(c);
                return Ok(());
            }
            Escape::Class(class) => {
                self.put(&class);
                return Ok(());
            }
            Escape::Other(letter) => letter,
        };
        match letter {
            'A' => self.put("\\A"),
            'z' => self.put("\\z"),
            'Z' => self.put_line_end(false),
            'b' if self.raw().is_some_and(|t| !t.quoted && t.char == '{') => {
                return Err(stop(at, "`\\b{…}`, which is not supported,"));
            }
            'b' => self.put("\\b"),
            'B' => self.put("\\B"),
            'R' => self.put("(?:\\r\\n|[\\n\\x0B\\f\\r\\x{85}\\x{2028}\\x{2029}])"),
            'k' => {
                if !self.eat('<') {
                    return Err(stop(at, "`\\k` without a group's `<name>`"));
                }
                let name = self.group_name()?;
                let group = self.names.iter().position(|n| n.as_deref() == Some(&*name));
                let Some(group) = group else {
                    return Err(stop(
                        at,
                        format!("a reference to `{name}`, which no group before it is called,"),
                    ));
                };
                self.put_reference(group + 1);
            }
            '1'..='9' => self.numbered_reference(letter, at)?,
            _ => return Err(stop(at, format!("`\\{letter}`, which is not supported,"))),
        }
        Ok(())
    }

    /// As many digits as still name a group that has begun: Java's rule.
    fn numbered_reference(&mut self, first: char, at: usize) -> Step<()> {
        let mut group = first.to_digit(10).unwrap_or(0) as usize;
        if group > self.names.len() {
            return Err(stop(
                at,
                format!("a reference to group {group}, which does not begin before it,"),
            ));
        }
        while let Some(digit) = self.raw().filter(|t| !t.quoted).and_then(|t| t.char.to_digit(10)) {
            let longer = group * 10 + digit as usize;
            if longer > self.names.len() {
                break;
            }
            group = longer;
            self.next += 1;
        }
        self.put_reference(group);
        Ok(())
    }

    fn put_reference(&mut self, group: usize) {
        self.backtracks = true;
        // In a group of its own, so that digits behind it stay apart.
        let flag = if self.flags.ignore_case { "i" } else { "" };
        self.put(&format!("(?{flag}:\\{group})"));
    }

    fn group(&mut self, at: usize) -> Step<bool> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(stop(at, format!("more than {MOST_DEPTH} groups within each other")));
        }
        let outer = self.flags;
        let mut look = false;
        if !self.eat('?') {
            self.names.push(None);
            self.put("(");
        } else {
            let sign = self.raw().ok_or_else(|| stop(at, "a group without an end"))?;
            self.next += 1;
            let behind = self.raw().map(|t| t.char);
            match (sign.char, behind) {
                (':', _) => self.put("(?:"),
                ('=' | '!' | '>', _) => {
                    look = sign.char != '>';
                    self.backtracks = true;
                    self.put(&format!("(?{}", sign.char));
                }
                ('<', Some(kind @ ('=' | '!'))) => {
                    self.next += 1;
                    look = true;
                    self.backtracks = true;
                    self.put(&format!("(?<{kind}"));
                }
                ('<', _) => {
                    let name = self.group_name()?;
                    if self.names.iter().any(|n| n.as_deref() == Some(&*name)) {
                        return Err(stop(at, format!("a second group `{name}`")));
                    }
                    self.names.push(Some(name.into()));
                    // Names stay here: numbers are all that the engines need.
                    self.put("(");
                }
                _ => {
                    self.next -= 1;
                    if !self.flag_letters()? {
                        // `(?i)` holds to the end of the group around it.
                        self.depth -= 1;
                        return Ok(false);
                    }
                    self.put("(?:");
                }
            }
        }
        self.alternatives()?;
        if !self.eat(')') {
            return Err(stop(at, "a group without an end"));
        }
        self.put(")");
        self.flags = outer;
        self.depth -= 1;
        // A look-around is empty however often it is repeated; engines refuse to try.
        if look && self.peek().is_some_and(|t| !t.quoted && matches!(t.char, '*' | '+' | '?' | '{'))
        {
            return Err(stop(
                self.at(),
                "the repetition of a look-around, which is not supported,",
            ));
        }
        Ok(!look)
    }

    fn group_name(&mut self) -> Step<String> {
        let at = self.at();
        let mut name = String::new();
        while let Some(token) = self.raw() {
            self.next += 1;
            match token.char {
                '>' if !name.is_empty() => return Ok(name),
                c if c.is_ascii_alphabetic() || (c.is_ascii_digit() && !name.is_empty()) => {
                    name.push(c);
                }
                _ => return Err(stop(token.at, "a group name with other than letters and digits")),
            }
        }
        Err(stop(at, "a group name without an end"))
    }

    /// `i`, `i-s:` and so on. True when a group follows.
    fn flag_letters(&mut self) -> Step<bool> {
        let mut on = true;
        while let Some(token) = self.raw() {
            self.next += 1;
            let flags = &mut self.flags;
            let flag = match token.char {
                'i' => &mut flags.ignore_case,
                'm' => &mut flags.multi_line,
                's' => &mut flags.dot_all,
                'd' => &mut flags.unix_lines,
                'u' => &mut flags.unicode_case,
                'x' => &mut flags.comments,
                'U' => &mut flags.unicode_classes,
                '-' if on => {
                    on = false;
                    continue;
                }
                ')' => return Ok(false),
                ':' => return Ok(true),
                other => {
                    return Err(stop(token.at, format!("`(?{other}`, which is not supported,")));
                }
            };
            *flag = on;
            // Java: Unicode classes bring Unicode case along.
            if token.char == 'U' {
                flags.unicode_case = on;
            }
        }
        Err(stop(self.at(), "a group without an end"))
    }

    /// `*`, `{2,3}?`, `++`; atoms start at `starts` in the outputs.
    fn quantifier(&mut self, starts: (usize, usize)) -> Step<()> {
        let Some(token) = self.peek().filter(|t| !t.quoted) else { return Ok(()) };
        let mut text = match token.char {
            '*' | '+' | '?' => {
                self.next += 1;
                token.char.to_string()
            }
            '{' => {
                self.next += 1;
                self.bounds(token.at)?
            }
            _ => return Ok(()),
        };
        let possessive = self.eat('+');
        if !possessive && self.eat('?') {
            text.push('?');
        }
        self.put(&text);
        if possessive {
            self.backtracks = true;
            self.exact.insert_str(starts.0, "(?>");
            self.quick.insert_str(starts.1, "(?>");
            self.put(")");
        }
        match self.peek().filter(|t| !t.quoted && matches!(t.char, '*' | '+' | '?' | '{')) {
            Some(again) => Err(stop(again.at, "the repetition of a repetition")),
            None => Ok(()),
        }
    }

    fn bounds(&mut self, at: usize) -> Step<String> {
        let number = |this: &mut Self| -> Step<Option<u32>> {
            let mut text = String::new();
            while let Some(token) = this.raw().filter(|t| t.char.is_ascii_digit()) {
                text.push(token.char);
                this.next += 1;
            }
            if text.is_empty() {
                return Ok(None);
            }
            text.parse().map(Some).map_err(|_| stop(at, "a repetition that is too large"))
        };
        let wrong = || stop(at, "a `{` that no `number}` follows");
        let least = number(self)?.ok_or_else(wrong)?;
        let mut text = format!("{{{least}");
        if self.eat(',') {
            text.push(',');
            if let Some(most) = number(self)? {
                if most < least {
                    return Err(stop(at, "a repetition whose bounds are the wrong way round"));
                }
                text.push_str(&most.to_string());
            }
        }
        if !self.eat('}') {
            return Err(wrong());
        }
        text.push('}');
        Ok(text)
    }
}
