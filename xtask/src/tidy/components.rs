//! What each component in the lists must have: a head comment, its contract test, an example.

use anyhow::{Context, Result};

use super::Findings;
use crate::repository;

/// One line of the lists in `crates/components/src/lib.rs`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Listed {
    /// `source`, `sink`, …: the constructor of its entry.
    pub(crate) role: String,
    /// Path of its file from the root.
    pub(crate) path: String,
    /// Flume's alias.
    pub(crate) name: String,
    /// Further names.
    pub(crate) aliases: Vec<String>,
}

const LISTS: &str = "crates/components/src/lib.rs";

/// All components, in the order of the lists.
pub(crate) fn listed() -> Result<Vec<Listed>> {
    let mut all = Vec::new();
    for (role, written) in entries(&repository::read(LISTS)?) {
        let (path, text) =
            file_of(&written).with_context(|| format!("{LISTS} lists {}", written.join("::")))?;
        let name = text_after(&text, "const TYPE: &'static str =");
        let name = name.with_context(|| format!("{path} has no `const TYPE`"))?;
        all.push(Listed { role, path, name, aliases: aliases(&text) });
    }
    Ok(all)
}

pub(super) fn check(files: &[String], findings: &mut Findings) -> Result<()> {
    // Those in folders below show mistakes.
    let is_example = |path: &&String| {
        let name = path.strip_prefix("examples/").and_then(|name| name.strip_suffix(".conf"));
        name.is_some_and(|name| !name.contains('/'))
    };
    let examples = files.iter().filter(is_example);
    let mut used = Vec::new();
    for path in examples {
        used.extend(values(&repository::read(path)?));
    }
    for component in listed()? {
        let Listed { role, path, name, .. } = &component;
        let title = format!("{role} `{name}`");
        if !repository::read(path)?.starts_with("//!") {
            findings.error(format!("{path}: {title} has no comment at its head"));
        }
        let folder = format!("{}/", path.trim_end_matches(".rs"));
        let own = files.iter().filter(|p| *p == path || p.starts_with(&folder));
        let mut tested = false;
        for file in own.filter(|p| p.ends_with(".rs")) {
            tested |= repository::read(file)?.contains("contract::");
        }
        // Config filters answer one question; there is no suite for that.
        if !tested && role != "config_filter" {
            findings.error(format!("{path}: {title} does not run its role's contract suite"));
        }
        let names = || std::iter::once(name).chain(&component.aliases);
        let shown = used.iter().any(|value| names().any(|name| value.eq_ignore_ascii_case(name)));
        if !shown {
            findings.error(format!("{path}: {title} appears in no file of examples/"));
        }
    }
    Ok(())
}

/// The file of a type that is named by its module (`sinks::null::Null`) or by the module that
/// re-exports it (`interceptors::Host`).
fn file_of(written: &[String]) -> Result<(String, String)> {
    let (kind, module) = written.split_last().context("an entry names no type")?;
    let at = |module: &str| format!("crates/components/src/{module}.rs");
    let folder = module.join("/");
    let path = at(&folder);
    let text = repository::read(&path)?;
    match exporter(&text, kind) {
        Some(module) => {
            let path = at(&format!("{folder}/{module}"));
            let text = repository::read(&path)?;
            Ok((path, text))
        }
        None => Ok((path, text)),
    }
}

/// The module that a `pub use` in `text` takes `kind` from.
fn exporter<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    let mut uses = text.split("pub use ").skip(1).filter_map(|part| part.split(';').next());
    uses.find_map(|part| {
        let (module, names) = part.split_once("::")?;
        let mut names = names.split(|c: char| !c.is_alphanumeric() && c != '_');
        names.any(|name| name == kind).then_some(module)
    })
}

/// `("sink", ["sinks", "null", "Null"])` for `Entry::sink::<sinks::null::Null>()`.
fn entries(lists: &str) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for part in lists.split("Entry::").skip(1) {
        let Some((role, rest)) = part.split_once("::<") else { continue };
        let Some((written, _)) = rest.split_once(">()") else { continue };
        let written =
            written.split("::").map(|part| part.trim_matches([' ', '\n', ',']).to_owned());
        all.push((role.to_owned(), written.collect()));
    }
    all
}

fn aliases(text: &str) -> Vec<String> {
    // A trait may declare it before a type says what it is.
    let lists = text.split("const ALIASES:").skip(1).map(|rest| {
        let list = rest.split(';').next().unwrap_or_default();
        list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    });
    lists.into_iter().find(|list: &Vec<String>| !list.is_empty()).unwrap_or_default()
}

/// The string literal after `start`.
fn text_after(text: &str, start: &str) -> Option<String> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.trim_start().strip_prefix('"')?.split('"').next()?.to_owned())
}

/// The values of a configuration, those of lines that are there to be uncommented included.
fn values(conf: &str) -> Vec<String> {
    let value = |line: &str| {
        let (key, value) = line.trim_start_matches(['#', ' ']).split_once('=')?;
        let one_word = !key.trim_end().contains(' ');
        one_word.then(|| value.trim().to_owned())
    };
    conf.lines().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let lists = "x = &[\n    Entry::sink::<sinks::null::Null>(),\n    Entry::source::<\n        sources::seq::Seq,\n    >(),\n];";
        let entries = entries(lists);
        let want =
            [("sink", vec!["sinks", "null", "Null"]), ("source", vec!["sources", "seq", "Seq"])];
        let want = want.map(|(role, m)| (role.to_owned(), m.iter().map(|s| (*s).into()).collect()));
        assert_eq!(entries, want);
    }

    #[test]
    fn a_type_is_followed_to_its_file() {
        let text = "mod a;\npub use a::One;\npub use b::{\n    Three,\n    Two,\n};\n";
        let check = |kind: &str, want| assert_eq!(exporter(text, kind), want, "{kind}");
        check("One", Some("a"));
        check("Two", Some("b"));
        check("On", None);
        check("Four", None);
    }

    #[test]
    fn names_are_read() {
        let text = "const TYPE: &'static str = \"null\";\nconst ALIASES: &'static [&'static str] =\n    &[\"a.B\", \"a.B$Builder\"];\n\"c\"";
        assert_eq!(text_after(text, "const TYPE: &'static str =").as_deref(), Some("null"));
        assert_eq!(aliases(text), ["a.B", "a.B$Builder"]);
        let declared = format!("const ALIASES: &'static [&'static str];\n{text}");
        assert_eq!(aliases(&declared), ["a.B", "a.B$Builder"]);
        assert_eq!(aliases(""), Vec::<String>::new());
    }

    #[test]
    fn values_of_a_configuration() {
        let conf = "# a word = b\n#   a.type = hadoop\na.type = null\na.b=c d\nrest\n";
        assert_eq!(values(conf), ["hadoop", "null", "c d"]);
    }
}
