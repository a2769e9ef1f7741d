//! Reads a component's `Config` out of its source text: keys, what is said of them, defaults.
//!
//! The sources are formatted by rustfmt, which is what makes reading them by line dependable.

use std::collections::BTreeMap;

/// One key.
#[derive(Debug, PartialEq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) default: Default,
    pub(super) help: String,
}

/// What holds when a key is not there.
#[derive(Debug, PartialEq)]
pub(super) enum Default {
    /// As shown to people.
    Value(String),
    /// Nothing.
    Empty,
    /// It must be there.
    Required,
}

/// The head comment of a file, without its slashes.
pub(super) fn head(text: &str) -> String {
    let lines = text.lines().take_while(|line| line.starts_with("//!"));
    let lines = lines.map(|line| line.trim_start_matches("//!").strip_prefix(' ').unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// The keys of `struct Config`, in order.
pub(super) fn keys(text: &str) -> Vec<Key> {
    let defaults = defaults(text, "Config");
    let mut keys = Vec::new();
    collect(text, "Config", &defaults, "", &mut keys);
    keys
}

fn collect(
    text: &str,
    name: &str,
    defaults: &BTreeMap<String, String>,
    prefix: &str,
    keys: &mut Vec<Key>,
) {
    let Some((attributes, body)) = structure(text, name) else { return };
    let case = argument(&attributes, "rename_all");
    let mut help: Vec<&str> = Vec::new();
    let mut serde = String::new();
    for line in body.lines().map(str::trim) {
        if let Some(said) = line.strip_prefix("///") {
            help.push(said.trim());
        } else if line.starts_with("#[")
            || line.starts_with("rename")
            || line.starts_with("default")
        {
            serde.push_str(line);
        } else if let Some((field, kind)) = line.trim_end_matches(',').split_once(": ") {
            let field = field.rsplit(' ').next().unwrap_or(field);
            let written =
                argument(&serde, "rename").unwrap_or_else(|| rename(field, case.as_deref()));
            // Keys of this same section: of a struct that can be seen, or of one that only its help names.
            let nested = written.starts_with('.') && structure(text, kind).is_some();
            if serde.contains("flatten") || nested {
                let inner = super::config::defaults(text, kind);
                collect(text, kind, &inner, prefix, keys);
            } else if !serde.contains("skip") {
                let found = default_of(text, &attributes, &serde, (field, kind), defaults);
                let (help, said) = said_default(&help.join(" "));
                let default = said.map_or(found, Default::Value);
                keys.push(Key { name: format!("{prefix}{written}"), default, help });
            }
            help.clear();
            serde.clear();
        }
    }
}

/// The help without a sentence such as ``Default: `null`.``, and what that says: where the
/// expression says it to nobody, the comment may.
fn said_default(help: &str) -> (String, Option<String>) {
    let said = help.split_once("Default: `").and_then(|(before, rest)| {
        let (value, after) = rest.split_once("`.")?;
        let help = [before.trim(), after.trim()].join(" ").trim().to_owned();
        Some((help, Some(value.to_owned())))
    });
    said.unwrap_or_else(|| (help.to_owned(), None))
}

fn default_of(
    text: &str,
    container: &str,
    serde: &str,
    (field, kind): (&str, &str),
    defaults: &BTreeMap<String, String>,
) -> Default {
    let shown = if let Some(function) = argument(serde, "default") {
        body_of(text, &function).and_then(|expression| show(expression, text))
    } else if let Some(expression) = defaults.get(field) {
        show(expression, text)
    } else if serde.contains("default")
        || container.contains("serde(") && container.contains("default")
    {
        default_of_type(text, kind)
    } else if kind.starts_with("Option<") {
        None
    } else {
        return Default::Required;
    };
    shown.map_or(Default::Empty, Default::Value)
}

/// What `Default` is for a type of the language or an enum of this file.
fn default_of_type(text: &str, kind: &str) -> Option<String> {
    let kind = kind.strip_prefix("Lenient<").map_or(kind, |kind| kind.trim_end_matches('>'));
    match kind {
        "bool" => Some("false".to_owned()),
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" | "isize" => Some("0".to_owned()),
        _ => {
            let (_, body) = text.split_once(&format!("enum {kind} {{"))?;
            let (_, after) = body[..body.find("\n}")?].split_once("#[default]")?;
            variant(after)
        }
    }
}

/// How a variant of an enum of this file is written: `Policy::Fail` as `FAIL`.
fn written(text: &str, path: &str) -> Option<String> {
    let (kind, name) = path.rsplit_once("::")?;
    let (_, body) = text.split_once(&format!("enum {kind} {{"))?;
    let body = &body[..body.find("\n}")?];
    let at = body.find(&format!("\n    {name}"))?;
    // The attributes of the variant stand between the comma before it and its name.
    let start = body[..at].rfind(",\n").map_or(0, |comma| comma + 1);
    let before = body[..at].rfind("///").map_or(start, |comment| comment.max(start));
    variant(&body[before..])
}

/// The name of the first variant in the text, as serde has it.
fn variant(text: &str) -> Option<String> {
    let mut attributes = String::new();
    for line in text.lines().map(str::trim) {
        let name = line.trim_end_matches(',');
        if !name.is_empty() && name.chars().all(char::is_alphanumeric) {
            return argument(&attributes, "rename").or_else(|| Some(name.to_owned()));
        }
        attributes.push_str(line);
    }
    None
}

/// The single expression that a function of this file is.
fn body_of<'a>(text: &'a str, path: &str) -> Option<&'a str> {
    let name = path.rsplit("::").next()?;
    let (_, rest) = text.split_once(&format!("fn {name}("))?;
    let (_, body) = rest.split_once("{\n")?;
    Some(inside(body).trim())
}

/// The attributes before a struct and what stands between its braces.
fn structure<'a>(text: &'a str, name: &str) -> Option<(String, &'a str)> {
    let head = format!("struct {name} {{\n");
    let at = text.find(&head)?;
    let before = text[..at]
        .lines()
        .rev()
        .skip_while(|line| line.trim() == "pub" || line.trim().starts_with("pub"));
    let attributes = before.take_while(|line| {
        let line = line.trim();
        line.starts_with('#') || line.starts_with("///") || line.ends_with(',') || line == ")]"
    });
    let attributes: Vec<&str> = attributes.filter(|line| !line.trim().starts_with("///")).collect();
    let body = &text[at + head.len()..];
    Some((attributes.concat(), &body[..body.find("\n}")?]))
}

/// The expressions of `impl Default for …`, by field.
fn defaults(text: &str, name: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let Some((_, rest)) = text.split_once(&format!("impl Default for {name} {{")) else {
        return all;
    };
    let rest = &rest[..rest.find("\n}").unwrap_or(rest.len())];
    let opening = [format!("{name} {{"), "Self {".to_owned()];
    let starts = opening.iter().filter_map(|opening| {
        // `-> Self {` opens the function.
        let arrow = format!("-> {opening}");
        let skip = rest.find(&arrow).map_or(0, |at| at + arrow.len());
        Some(skip + rest[skip..].find(opening)? + opening.len())
    });
    let Some(start) = starts.min() else { return all };
    for field in split_at_commas(inside(&rest[start..])) {
        if let Some((field, expression)) = field.split_once(':') {
            all.insert(field.trim().to_owned(), expression.trim().to_owned());
        }
    }
    all
}

/// Up to the brace that closes what was opened before.
fn inside(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return &text[..at],
            '}' => depth -= 1,
            _ => {}
        }
    }
    text
}

fn split_at_commas(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut quoted) = (0_i32, 0, false);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' | '{' | '[' if !quoted => depth += 1,
            ')' | '}' | ']' if !quoted => depth -= 1,
            ',' if depth == 0 && !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The text of `key = "…"` in attributes.
fn argument(attributes: &str, key: &str) -> Option<String> {
    let start = format!("{key} = \"");
    let at = attributes.find(&start)?;
    attributes[at + start.len()..].split('"').next().map(str::to_owned)
}

fn rename(field: &str, case: Option<&str>) -> String {
    let field = field.trim_start_matches("r#");
    let join = match case {
        Some("camelCase") => "",
        Some("kebab-case") => "-",
        _ => return field.to_owned(),
    };
    let words = field.split('_').enumerate().map(|(index, word)| {
        if index == 0 || join == "-" {
            return word.to_owned();
        }
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    });
    words.collect::<Vec<_>>().join(join)
}

/// A default as people write it; nothing for an empty one.
fn show(expression: &str, text: &str) -> Option<String> {
    let mut shown = expression.split_whitespace().collect::<Vec<_>>().join(" ");
    // Wrappers that say nothing about the value, peeled until none is left.
    const AROUND: [(&str, &str); 12] = [
        ("const { ", " }"),
        ("NonZeroU32::new(", ").unwrap()"),
        ("NonZeroU16::new(", ").unwrap()"),
        ("Lenient(", ")"),
        ("Some(", ")"),
        ("Words(", ")"),
        ("CommaList(", ")"),
        ("Spanned::new(", ")"),
        ("String::from(", ")"),
        ("PathBuf::from(", ")"),
        ("NonZeroUsize::new(", ").unwrap()"),
        ("NonZeroU64::new(", ").unwrap()"),
    ];
    const AFTER: [&str; 5] = [".into()", ".to_owned()", ".to_string()", ".cast_signed()", ".get()"];
    for _ in 0..8 {
        let before = shown.clone();
        for (start, end) in AROUND {
            if let Some(inner) = shown.strip_prefix(start).and_then(|s| s.strip_suffix(end)) {
                shown = inner.to_owned();
            }
        }
        for end in AFTER {
            if let Some(inner) = shown.strip_suffix(end) {
                shown = inner.to_owned();
            }
        }
        for (start, unit) in [("Duration::from_secs(", "s"), ("Duration::from_millis(", "ms")] {
            if let Some(inner) = shown.strip_prefix(start).and_then(|s| s.strip_suffix(')')) {
                shown = format!("{inner} {unit}");
            }
        }
        let constant =
            shown.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        if constant && shown.chars().any(|c| c.is_ascii_uppercase()) {
            let found = text.lines().find_map(|line| {
                // Whoever may see it: `pub(super) const`.
                let (before, line) = line.trim().split_once("const ")?;
                let value = Some(line).filter(|_| before.is_empty() || before.starts_with("pub"));
                let value = value?.strip_prefix(&shown)?.strip_prefix(": ")?.split_once(" = ")?.1;
                Some(value.trim_end_matches(';').to_owned())
            });
            shown = found.unwrap_or(shown);
        }
        if shown == before {
            break;
        }
    }
    if shown.starts_with("NonZero") && shown.ends_with("::MIN") {
        shown = "1".to_owned();
    }
    if let Some(name) = written(text, &shown) {
        shown = name;
    }
    for (name, value) in [
        ("i64::MAX", i64::MAX.to_string()),
        ("u64::MAX", u64::MAX.to_string()),
        ("i32::MAX", i32::MAX.to_string()),
        ("u32::MAX", u32::MAX.to_string()),
    ] {
        if shown == name {
            shown = value;
        }
    }
    let empty = [
        "None",
        "String::new()",
        "BTreeMap::new()",
        "HashMap::new()",
        "Vec::new()",
        "Default::default()",
        "\"\"",
        "vec![]",
    ];
    if empty.contains(&shown.as_str()) || shown.ends_with("::default()") {
        return None;
    }
    if let Some(literal) = shown.strip_prefix('"').and_then(|s| s.strip_suffix('"')) {
        shown = literal.to_owned();
    }
    // `64 * 1024` is a number that somebody wants to read.
    let factors: Option<Vec<u64>> =
        shown.split(" * ").map(|f| f.replace('_', "").parse().ok()).collect();
    if let Some(product) = factors.and_then(|f| f.into_iter().try_fold(1_u64, u64::checked_mul)) {
        shown = product.to_string();
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"//! Sink `x`: first.
//!
//! Second.

const PORT: u16 = 41_414;

/// Keys.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Events per
    /// transaction.
    pub batch_size: NonZeroUsize,
    /// Where.
    #[serde(rename = "sink.directory")]
    pub directory: Option<PathBuf>,
    pub port: Lenient<u16>,
    /// Text.
    pub word: String,
    #[serde(rename = ".more")]
    pub more: More,
    /// Others.
    #[serde(rename = ".others")]
    pub others: elsewhere::Others,
}

/// More.
#[derive(Deserialize)]
#[serde(default)]
pub struct More {
    /// Wait.
    pub wait: Duration,
}

impl Default for More {
    fn default() -> Self {
        Self { wait: Duration::from_secs(3) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            batch_size: const { NonZeroUsize::new(100).unwrap() },
            directory: None,
            port: Lenient(Some(PORT)),
            word: "a, {b".into(),
            more: More::default(),
        }
    }
}
"#;

    fn cell(default: &Default) -> &str {
        match default {
            Default::Value(value) => value,
            Default::Empty => "-",
            Default::Required => "required",
        }
    }

    #[test]
    fn keys_defaults_and_help() {
        let keys = keys(SOURCE);
        let got: Vec<_> =
            keys.iter().map(|k| (k.name.as_str(), cell(&k.default), k.help.as_str())).collect();
        let want = [
            ("batchSize", "100", "Events per transaction."),
            ("sink.directory", "-", "Where."),
            ("port", "41414", ""),
            ("word", "a, {b", "Text."),
            ("wait", "3 s", "Wait."),
            (".others", "-", "Others."),
        ];
        assert_eq!(got, want);
        assert_eq!(head(SOURCE), "Sink `x`: first.\n\nSecond.");
    }

    #[test]
    fn defaults_of_single_fields() {
        let source = "pub struct Config {\n    pub must: PathBuf,\n    pub may: Option<u8>,\n    \
            #[serde(default)]\n    pub flag: bool,\n    #[serde(default = \"defaults::size\")]\n    \
            pub size: NonZeroU32,\n    #[serde(default)]\n    pub when: When,\n    \
            #[serde(default = \"other\")]\n    pub other: When,\n}\n\
            pub enum When {\n    /// A.\n    #[default]\n    #[serde(rename = \"never\")]\n    Never,\n    \
            /// B.\n    #[serde(rename = \"ROLL\")]\n    Roll,\n}\n\
            fn size() -> NonZeroU32 {\n    const { NonZeroU32::new(7).unwrap() }\n}\n\
            fn other() -> When {\n    When::Roll\n}\n";
        let keys = keys(source);
        let got: Vec<_> = keys.iter().map(|k| (k.name.as_str(), cell(&k.default))).collect();
        let want = [
            ("must", "required"),
            ("may", "-"),
            ("flag", "false"),
            ("size", "7"),
            ("when", "never"),
            ("other", "ROLL"),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn values_are_shown_as_people_write_them() {
        let check = |expression: &str, want: Option<&str>| {
            assert_eq!(
                show(expression, "const A_B: &str = \"x\";").as_deref(),
                want,
                "{expression}"
            );
        };
        check("A_B", Some("x"));
        check("C_D", Some("C_D"));
        check("16 * 1024", Some("16384"));
        check("Lenient(Some(true))", Some("true"));
        check("String::new()", None);
        check("Charset::default()", None);
        check("Policy::Fail", Some("Policy::Fail"));
        check("Lenient(Some(i64::MAX))", Some("9223372036854775807"));
        check("BTreeMap::new()", None);
        let seen = "pub(super) const E_F: usize = 2 * 8;\npub enum Long {\n    \
            #[serde(rename = \"split\")]\n    Split,\n}\n";
        assert_eq!(show("NonZeroUsize::new(E_F).unwrap()", seen).as_deref(), Some("16"));
        assert_eq!(show("Long::Split", seen).as_deref(), Some("split"));
        let said = said_default("How. Default: `null`. More.");
        assert_eq!(said, ("How. More.".to_owned(), Some("null".to_owned())));
        assert_eq!(said_default("How."), ("How.".to_owned(), None));
    }
}
