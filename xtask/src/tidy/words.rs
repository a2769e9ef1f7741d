//! Words that belong to one machine: paths of a work place, hosts of package registries.

use std::fs;

use anyhow::Result;

use super::Findings;
use crate::repository;

/// In two parts, so that this file is tidy itself.
const FORBIDDEN: [(&str, &str); 9] = [
    ("/wor", "k/"),
    ("/tmp/", "wt"),
    ("/tmp/", "brief"),
    ("/root", "/"),
    ("index.crates", ".io"),
    ("static.crates", ".io"),
    ("repo.maven", ".apache.org"),
    ("repo1.maven", ".org"),
    ("proxy.golang", ".org"),
];

pub(super) fn check(files: &[String], findings: &mut Findings) -> Result<()> {
    let forbidden = FORBIDDEN.map(|(one, other)| format!("{one}{other}"));
    for path in files.iter().filter(|path| !path.ends_with("Cargo.lock")) {
        // What is not text has no words.
        let Ok(text) = fs::read_to_string(repository::root().join(path)) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(word) = found(line, &forbidden) {
                findings.error(format!("{path}:{number}: `{word}` belongs to one machine only"));
            }
        }
    }
    let log = repository::output("git", &["log", "--format=%h %B"])?;
    for line in log.lines() {
        if let Some(word) = found(line, &forbidden) {
            findings.error(format!("a commit message says `{word}`: {line}"));
        }
    }
    Ok(())
}

/// The forbidden word in a line, where it is not the middle of a longer path.
fn found<'a>(line: &str, forbidden: &'a [String]) -> Option<&'a str> {
    let stands_alone = |at: usize| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '.' | '}' | '>'))
    };
    let word = forbidden
        .iter()
        .find(|word| line.match_indices(word.as_str()).any(|(at, _)| stands_alone(at)));
    word.map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_unless_it_is_part_of_another() {
        let forbidden = ["/wor", "/tmp/"].map(|start| format!("{start}k/"));
        let check = |line: &str, want: bool| {
            assert_eq!(found(line, &forbidden).is_some(), want, "{line}");
        };
        let path = &forbidden[0];
        check(path, true);
        check(&format!("in `{path}x`"), true);
        check(&format!("see (https://h{path}"), false);
        check(&format!("./a{path}x"), false);
        check("work/", false);
    }
}
