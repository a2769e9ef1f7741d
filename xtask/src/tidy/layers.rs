//! Which crate may lean on which: the table of `docs/design.md`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::Findings;
use crate::manifest::Manifest;
use crate::repository;

/// Whose tests may lean on everything: nothing of ours is built on them.
const AT_THE_TOP: [&str; 3] = ["splashdam", "interop", "bench"];

pub(super) fn check(files: &[String], findings: &mut Findings) -> Result<()> {
    let table = edges(&repository::read("docs/design.md")?);
    table.get("core").context("docs/design.md has no table of crates any more")?;
    for path in files.iter().filter(|path| path.ends_with("/Cargo.toml")) {
        // The fuzz targets are a workspace of their own.
        if path.starts_with("fuzz/") {
            continue;
        }
        let text = repository::read(path)?;
        let manifest = Manifest::parse(&text);
        judge(path, &manifest, &table, findings);
    }
    Ok(())
}

fn judge(
    path: &str,
    manifest: &Manifest,
    table: &BTreeMap<String, Vec<String>>,
    findings: &mut Findings,
) {
    let Some(allowed) = table.get(&manifest.name) else {
        findings.error(format!(
            "{path}: crate `{}` is not in the table of docs/design.md; a new crate starts there",
            manifest.name
        ));
        return;
    };
    for to in manifest.dependencies.iter().filter(|to| !allowed.contains(to)) {
        findings.error(format!(
            "{path}: `{}` must not lean on `{to}`; the table of docs/design.md has no such edge",
            manifest.name
        ));
    }
    let free = AT_THE_TOP.contains(&manifest.name.as_str());
    for to in &manifest.dev_dependencies {
        if !free && !allowed.contains(to) && to != "testkit" {
            findings.error(format!(
                "{path}: the tests of `{}` must not lean on `{to}`; only on its edges and `testkit`",
                manifest.name
            ));
        }
    }
}

/// Crate → crates it leans on, from rows like ``| `core` | what | `config` | never knows |``.
fn edges(design: &str) -> BTreeMap<String, Vec<String>> {
    let mut rows = design.lines().skip_while(|line| !line.starts_with("| crate |"));
    let rows = rows.by_ref().skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.trim_matches('`').to_owned();
        let to = cells.get(3)?.split_whitespace();
        let to = to.filter_map(|word| word.strip_prefix('`')?.strip_suffix('`'));
        Some((name, to.map(str::to_owned).collect()))
    };
    rows.filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_come_from_the_table_and_bind() {
        let table = edges(
            "text\n| crate | what it is | leans on | never knows |\n|---|---|---|---|\n\
             | `config` | text | – | x |\n| `core` | event | `config` | x |\n\n| `no` | x | `core` | x |",
        );
        assert_eq!(table.len(), 2);
        let check = |name: &str, to: &[&str], dev: &[&str], want: usize| {
            let strings = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
            let manifest = Manifest {
                name: name.to_owned(),
                dependencies: strings(to),
                dev_dependencies: strings(dev),
            };
            let mut findings = Findings::default();
            judge("x", &manifest, &table, &mut findings);
            assert_eq!(findings.errors.len(), want, "{name} {to:?} {dev:?}");
        };
        check("core", &["config"], &["testkit"], 0);
        check("config", &["core"], &[], 1);
        check("config", &[], &["core"], 1);
        check("no", &[], &[], 1);
    }
}
