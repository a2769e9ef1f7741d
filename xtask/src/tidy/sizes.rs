//! How long files and functions are. Exceptions stand in `xtask/tidy-allow.tsv` with a reason.

use anyhow::{Result, bail};

use super::Findings;
use crate::repository;

const FILE_LIMIT_LINES: usize = 600;
const FILE_HINT_LINES: usize = 300;
const FUNCTION_LIMIT_LINES: usize = 140;
const FUNCTION_HINT_LINES: usize = 70;

const ALLOWED: &str = "xtask/tidy-allow.tsv";

/// One line of the list of exceptions: path, what (`file` or a function's name), why.
#[derive(Debug)]
struct Exception {
    path: String,
    what: String,
    used: bool,
}

pub(super) fn check(files: &[String], findings: &mut Findings) -> Result<()> {
    let mut exceptions = exceptions(&repository::read(ALLOWED)?)?;
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        let text = repository::read(path)?;
        measure(path, &text, &mut exceptions, findings);
    }
    for exception in exceptions.iter().filter(|exception| !exception.used) {
        findings.error(format!(
            "{ALLOWED}: `{}` in {} needs no exception any more",
            exception.what, exception.path
        ));
    }
    Ok(())
}

fn exceptions(text: &str) -> Result<Vec<Exception>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let exceptions = lines.map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
        [path, what, why] if !why.trim().is_empty() => {
            Ok(Exception { path: path.to_owned(), what: what.to_owned(), used: false })
        }
        _ => bail!("{ALLOWED}: `{line}` is not path, what and why with tabs between"),
    });
    exceptions.collect()
}

fn measure(path: &str, text: &str, exceptions: &mut [Exception], findings: &mut Findings) {
    let is_test = path.contains("/tests/") || path.ends_with("/tests.rs");
    let mut judge = |what: &str, title: String, lines: usize, limit: usize, hint: usize| {
        let same = |e: &&mut Exception| e.path == path && e.what == what;
        if lines > limit {
            match exceptions.iter_mut().find(same) {
                Some(exception) => exception.used = true,
                None => findings.error(format!(
                    "{title} has {lines} lines, more than {limit}; look for the second idea in it"
                )),
            }
        } else if lines > hint {
            findings.hints.push(format!("{title} has {lines} lines"));
        }
    };
    let lines = text.lines().count();
    judge("file", path.to_owned(), lines, FILE_LIMIT_LINES, FILE_HINT_LINES);
    // A table of cases is as long as it is.
    if is_test {
        return;
    }
    for function in functions(text) {
        let title = format!("{path}:{}: fn {}", function.line, function.name);
        judge(function.name, title, function.lines, FUNCTION_LIMIT_LINES, FUNCTION_HINT_LINES);
    }
}

#[derive(Debug, PartialEq)]
struct Function<'a> {
    name: &'a str,
    line: usize,
    lines: usize,
}

/// Functions of a formatted file: rustfmt puts the closing brace under the first letter.
fn functions(text: &str) -> Vec<Function<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = name_of_function(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let mut body = lines[index..].iter();
        let Some(opening) = body.position(|line| line.ends_with(['{', ';', '}'])) else { continue };
        if !lines[index + opening].ends_with('{') {
            continue;
        }
        let closes = |line: &&str| line.len() == indent + 1 && line[indent..].starts_with('}');
        if let Some(closing) = body.position(closes) {
            found.push(Function { name, line: index + 1, lines: opening + closing + 2 });
        }
    }
    found
}

fn name_of_function(line: &str) -> Option<&str> {
    let mut words = line.trim_start();
    loop {
        let (word, rest) = words.split_once(' ')?;
        match word {
            "fn" => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
                return Some(&rest[..end]).filter(|name| !name.is_empty());
            }
            "pub" | "pub(crate)" | "pub(super)" | "const" | "async" | "extern" | "\"C\"" => {
                words = rest;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_and_measured() {
        let text = "\
/// fn no() {
pub(crate) async fn one(\n    a: u8,\n) -> u8 {\n    a\n}
trait T {\n    fn two(&self);\n    fn three(&self) {\n        if true {\n        }\n    }\n}
fn four() {}
let fn_five = 1;
";
        let found: Vec<_> = functions(text).iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("one", 2, 5), ("three", 9, 4)]);
    }

    #[test]
    fn limits_hints_and_exceptions() {
        let long = |lines: usize| format!("fn long() {{\n{}}}\n", "    x;\n".repeat(lines - 2));
        let check = |lines: usize, allowed: &str, errors: usize, hints: usize| {
            let mut findings = Findings::default();
            let mut exceptions = exceptions(allowed).unwrap();
            measure("a.rs", &long(lines), &mut exceptions, &mut findings);
            assert_eq!((findings.errors.len(), findings.hints.len()), (errors, hints), "{lines}");
        };
        check(70, "", 0, 0);
        check(71, "", 0, 1);
        check(141, "", 1, 0);
        check(141, "# why\na.rs\tlong\ta table\n", 0, 0);
        check(301, "a.rs\tlong\ta table\n", 0, 1);
        check(601, "a.rs\tlong\ta table\na.rs\tfile\ta table\n", 0, 0);
        check(601, "", 2, 0);
        assert!(exceptions("a.rs\tlong\t \n").is_err());
    }
}
