//! Reads a component's `Config` out of its source text: keys, what is said of them, defaults.
//!
//! The sources are formatted by rustfmt, which is what makes reading them by line dependable.

use std::collections::BTreeMap;

/// One key.
#[derive(Debug, PartialEq)]
pub(super) struct Key {
    pub(super) name: String,
    /// As shown to people; nothing when there is no default.
    pub(super) default: Option<String>,
    pub(super) help: String,
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
            if serde.contains("flatten") {
                let inner = super::config::defaults(text, kind);
                collect(text, kind, &inner, prefix, keys);
            } else if !serde.contains("skip") {
                let default = defaults.get(field).and_then(|expression| show(expression, text));
                let help = help.join(" ");
                keys.push(Key { name: format!("{prefix}{written}"), default, help });
            }
            help.clear();
            serde.clear();
        }
    }
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
    const AROUND: [(&str, &str); 10] = [
        ("const { ", " }"),
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
                let line = line.trim().trim_start_matches("pub ").strip_prefix("const ")?;
                let value = line.strip_prefix(&shown)?.strip_prefix(": ")?.split_once(" = ")?.1;
                Some(value.trim_end_matches(';').to_owned())
            });
            shown = found.unwrap_or(shown);
        }
        if shown == before {
            break;
        }
    }
    let empty = ["None", "String::new()", "Vec::new()", "Default::default()", "\"\"", "vec![]"];
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
    #[serde(flatten)]
    pub more: More,
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

    #[test]
    fn keys_defaults_and_help() {
        let keys = keys(SOURCE);
        let got: Vec<_> =
            keys.iter().map(|k| (k.name.as_str(), k.default.as_deref(), k.help.as_str())).collect();
        let want = [
            ("batchSize", Some("100"), "Events per transaction."),
            ("sink.directory", None, "Where."),
            ("port", Some("41414"), ""),
            ("word", Some("a, {b"), "Text."),
            ("wait", Some("3 s"), "Wait."),
        ];
        assert_eq!(got, want);
        assert_eq!(head(SOURCE), "Sink `x`: first.\n\nSecond.");
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
    }
}
