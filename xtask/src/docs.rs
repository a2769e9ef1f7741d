//! `cargo xtask docs`: the manual of the components, from their doc comments and defaults, and the
//! account of compatibility, from `docs/compatibility.tsv`, whose tests must exist.

mod compatibility;
mod config;
mod manual;

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::repository;

const USAGE: &str = "usage: cargo xtask docs [--check]

Writes docs/components/*.md and docs/compatibility.md.
  --check  writes nothing and fails when they are not up to date
";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let check = match arguments {
        [] => false,
        [word] if word == "--check" => true,
        [word] if word == "--help" || word == "-h" => {
            print!("{USAGE}");
            return Ok(());
        }
        _ => bail!("{USAGE}"),
    };
    let files = repository::files()?;
    let mut documents: BTreeMap<String, String> = manual::documents()?;
    documents.insert("docs/compatibility.md".to_owned(), compatibility::document(&files)?);
    let old = files.iter().filter(|p| p.starts_with("docs/components/") && p.ends_with(".md"));
    let left_over: Vec<&String> = old.filter(|path| !documents.contains_key(*path)).collect();
    let mut stale: Vec<&str> = left_over.iter().map(|path| path.as_str()).collect();
    for (path, text) in &documents {
        let written = fs::read_to_string(repository::root().join(path)).unwrap_or_default();
        if written != *text {
            stale.push(path);
        }
    }
    if check {
        if !stale.is_empty() {
            bail!("out of date: {}; run `cargo xtask docs`", stale.join(", "));
        }
        return Ok(());
    }
    for path in left_over {
        fs::remove_file(repository::root().join(path))
            .with_context(|| format!("removing {path}"))?;
    }
    for (path, text) in &documents {
        let place = repository::root().join(path);
        if let Some(directory) = place.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("making {}", directory.display()))?;
        }
        fs::write(&place, text).with_context(|| format!("writing {path}"))?;
    }
    println!("docs: {} written, {} changed", documents.len(), stale.len());
    Ok(())
}
