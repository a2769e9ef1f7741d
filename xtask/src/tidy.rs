//! `cargo xtask tidy`: what no compiler checks. Layering by the design's table, sizes, what each
//! component must have, and words that belong to one machine only.

mod components;
mod layers;
mod sizes;
mod words;

use anyhow::{Result, bail};

use crate::repository;

pub(crate) use components::listed;

/// What one rule found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What fails the run.
    pub(crate) errors: Vec<String>,
    /// What deserves a look.
    pub(crate) hints: Vec<String>,
}

impl Findings {
    fn error(&mut self, text: impl Into<String>) {
        self.errors.push(text.into());
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let hints = match arguments {
        [] => false,
        [word] if word == "--hints" => true,
        _ => {
            bail!("usage: cargo xtask tidy [--hints]\n\n  --hints  shows what is merely long, too")
        }
    };
    let files = repository::files()?;
    let mut findings = Findings::default();
    layers::check(&files, &mut findings)?;
    sizes::check(&files, &mut findings)?;
    components::check(&files, &mut findings)?;
    words::check(&files, &mut findings)?;
    if hints {
        for hint in &findings.hints {
            println!("hint: {hint}");
        }
    }
    for error in &findings.errors {
        println!("error: {error}");
    }
    match findings.errors.len() {
        0 => {
            println!("tidy: {} files, {} hints", files.len(), findings.hints.len());
            Ok(())
        }
        count => bail!("{count} untidy places"),
    }
}
