//! Mistakes that published configurations are full of, recognised by their looks.

mod foreign;

use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Source, Sources, Span};
use crate::text::Entry;

/// What is odd about whole files.
pub(crate) fn in_sources(sources: &Sources, findings: &mut Vec<Diagnostic>) {
    for (file, source) in sources.iter() {
        foreign::byte_order_mark(file, source, findings);
        joined_lines(file, source, findings);
    }
}

/// What is odd about one property as written.
pub(crate) fn in_entry(entry: &Entry, findings: &mut Vec<Diagnostic>) {
    foreign::in_key(&entry.key, findings);
    foreign::in_value(&entry.value, findings);
    if let Some(finding) =
        blank_in_key(entry).or_else(|| comment_behind(entry)).or_else(|| quoted(entry))
    {
        findings.push(finding);
    }
}

/// `a1.sources.r1 .type = x`: the key ends at the blank.
fn blank_in_key(entry: &Entry) -> Option<Diagnostic> {
    let value = entry.value();
    let separator = value.find(['=', ':'])?;
    let rest = value[..separator].trim_end();
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let dotted = rest.starts_with('.') || entry.key().ends_with('.');
    if rest.is_empty() || !dotted || !rest.chars().all(part) {
        return None;
    }
    let meant = format!("{}{rest}", entry.key());
    let message = format!("the key ends at the blank: this sets `{}`", entry.key());
    Some(
        Diagnostic::warning("blank-in-key", message)
            .at(entry.key_span().to(entry.value.part_span(0, rest.len())))
            .help(format!("write `{meant}` without the blank")),
    )
}

/// `= 100 # comment`.
fn comment_behind(entry: &Entry) -> Option<Diagnostic> {
    let value = entry.value();
    let blank = |c: char| c == ' ' || c == '\t';
    let mut found = None;
    for mark in ["#", "//"] {
        for (at, _) in value.match_indices(mark) {
            let before = &value[..at];
            let after = &value[at + mark.len()..];
            let apart = after.is_empty() || after.starts_with(blank);
            // A word and a comment without a blank after its mark is a comment too; a command is not.
            let single = mark == "#" && !before.trim().contains(blank);
            if before.ends_with(blank) && (apart || single) {
                found = found.or(Some(at));
            }
        }
    }
    let at = found?;
    let kept = value[..at].trim_end();
    Some(
        Diagnostic::warning(
            "comment-behind-value",
            "a comment behind a value is part of the value",
        )
        .at(entry.value.part_span(at, value.len()))
        .label("not a comment")
        .help(format!("write `{}`, and the comment on a line of its own", shown(kept))),
    )
}

/// `= "x"`.
fn quoted(entry: &Entry) -> Option<Diagnostic> {
    let value = entry.value();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
    if inner.contains(quote) {
        return None;
    }
    Some(
        Diagnostic::warning("quoted-value", "the quotes are part of the value")
            .at(entry.value_span())
            .help(format!("write `{}`; blanks inside need no quotes", shown(inner))),
    )
}

/// `key =`, which Flume cannot take.
pub(crate) fn empty_value(entry: &Entry) -> Diagnostic {
    Diagnostic::warning(
        "property-value-null",
        format!("configuration property ignored: `{}` has no value", entry.key()),
    )
    .at(entry.key_span())
    .help("give it a value or remove the line; an empty value cannot be expressed")
}

/// A key without a dot, or with one at either end only.
pub(crate) fn key_without_agent(entry: &Entry) -> Diagnostic {
    let finding = Diagnostic::warning(
        "no-agent-name",
        format!("`{}` belongs to no agent and is ignored", shown(entry.key())),
    )
    .at(entry.key_span());
    if entry.key().contains(',') {
        let meant = entry.key().replace(',', ".");
        return finding.help(format!("a comma stands where a dot belongs: write `{meant}`"));
    }
    if matches!(entry.key(), "//" | "--" | ";" | "/*" | "*" | "*/") || entry.key().starts_with("//")
    {
        return finding.help("comments start with `#`");
    }
    finding.help("keys start with the agent's name and a dot")
}

/// `a1.sinks = k1, k2`.
pub(crate) fn separators_in_list(path: &str, list: &Entry) -> Diagnostic {
    let names: Vec<&str> =
        list.value().split([',', ';', ' ', '\t']).filter(|name| !name.is_empty()).collect();
    Diagnostic::warning(
        "comma-in-list",
        format!("names in `{}` are separated by blanks, not by commas", list.key()),
    )
    .at(list.value_span())
    .label("commas count as part of the names")
    .help(format!("write `{path} = {}`", names.join(" ")))
}

/// A backslash at the end of a line that swallows the property or comment on the next one, or one
/// that blanks follow, which continues nothing.
fn joined_lines(file: FileId, source: &Source, findings: &mut Vec<Diagnostic>) {
    let mut at = 0;
    let mut open = false;
    for raw in source.text.split_inclusive(['\n', '\r']) {
        let line = raw.trim_end_matches(['\n', '\r']);
        let start = at;
        at += raw.len();
        let text = line.trim_start();
        if line.is_empty() && raw.starts_with('\n') && source.text[..start].ends_with('\r') {
            continue;
        }
        let from = start + line.len() - text.len();
        if open && (looks_like_property(text) || text.starts_with('#')) {
            let what = if text.starts_with('#') { "comment" } else { "property" };
            let message = format!(
                "this {what} belongs to the value before it, whose line ends in a backslash"
            );
            findings.push(
                Diagnostic::warning("joined-lines", message)
                    .at(Span::new(file, from, start + line.len()))
                    .help("remove the backslash at the end of the line before"),
            );
        }
        let comment = !open && text.starts_with(['#', '!']);
        let bare = line.trim_end();
        let slashes = |line: &str| line.bytes().rev().take_while(|byte| *byte == b'\\').count();
        if !comment && bare.len() < line.len() && slashes(bare) % 2 == 1 {
            let place = start + bare.len();
            findings.push(
                Diagnostic::warning(
                    "blank-behind-backslash",
                    "the backslash continues nothing, as blanks follow it",
                )
                .at(Span::new(file, place - 1, start + line.len()))
                .help("remove the blanks at the end of the line"),
            );
        }
        open = !comment && slashes(line) % 2 == 1;
    }
}

/// `a.b.c =`.
fn looks_like_property(line: &str) -> bool {
    let end = line
        .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '_'))
        .unwrap_or(0);
    let key = &line[..end];
    key.matches('.').count() >= 2 && line[end..].trim_start().starts_with(['=', ':'])
}

pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
