//! From values per round to a table, a chart, and their place in `docs/benchmarks.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use splashdam_interop::Make;

use crate::chart::{self, Bars};
use crate::machine;
use crate::options::Options;
use crate::spread::Spread;
use crate::workload::{Better, Quantity, Unit, Workload};

/// What a workload yielded, round by round.
pub(crate) struct Measured<'a> {
    workload: &'a Workload,
    flume: Vec<Vec<f64>>,
    ours: Vec<Vec<f64>>,
    peer: Vec<Vec<f64>>,
    highest_load: f64,
}

impl<'a> Measured<'a> {
    pub(crate) fn new(workload: &'a Workload) -> Self {
        Measured {
            workload,
            flume: Vec::new(),
            ours: Vec::new(),
            peer: Vec::new(),
            highest_load: 0.0,
        }
    }

    pub(crate) fn add(&mut self, make: &Make, values: Vec<f64>, load: f64) {
        self.highest_load = self.highest_load.max(load);
        match make {
            Make::Flume(_) => self.flume.push(values),
            Make::Splashdam(_) => self.ours.push(values),
        }
    }

    pub(crate) fn add_peer(&mut self, values: Vec<f64>) {
        self.peer.push(values);
    }

    /// Medians with their spread, and the ratios of rounds, ours divided by Flume's.
    pub(crate) fn table(&self) -> String {
        let peer = self.workload.peer.as_ref();
        let (more, rule) = peer.map_or_else(Default::default, |peer| {
            (format!(" {} | ours ÷ {0}, median |", peer.name), "---|---|")
        });
        let mut table = format!(
            "{}\n\n| | Flume 1.11 | splashdam | ours ÷ Flume's, median | worst |{more}\n|---|---|---|---|---|{rule}\n",
            self.workload.title
        );
        for (at, quantity) in self.workload.quantities.iter().enumerate() {
            let (flume, ours) = (column(&self.flume, at), column(&self.ours, at));
            let ratios = ratios(&ours, &flume);
            // Writing to a string does not fail.
            writeln!(
                table,
                "| {} | {} | {} | {} | {} |{}",
                quantity.name,
                shown(quantity.unit, &flume),
                shown(quantity.unit, &ours),
                Spread::of(&ratios).map_or("–".to_owned(), |ratio| times(ratio.median)),
                worst(quantity, &ratios).map_or("–".to_owned(), times),
                peer.map_or_else(String::new, |_| self.beside_the_peer(quantity, at, &ours)),
            )
            .ok();
        }
        table
    }

    fn beside_the_peer(&self, quantity: &Quantity, at: usize, ours: &[f64]) -> String {
        let peer = column(&self.peer, at);
        let ratio = Spread::of(&ratios(ours, &peer));
        let ratio = ratio.map_or("–".to_owned(), |ratio| times(ratio.median));
        format!(" {} | {ratio} |", shown(quantity.unit, &peer))
    }

    /// Puts table and chart where the page has this workload, and leaves the others as they are.
    pub(crate) fn write(&self, options: &Options) -> Result<()> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let charts = docs.join("benchmarks");
        fs::create_dir_all(&charts)?;
        fs::write(charts.join(format!("{}.svg", self.workload.name)), self.chart())?;
        let page: PathBuf = docs.join("benchmarks.md");
        let before = fs::read_to_string(&page).unwrap_or_else(|_| OPENING.to_owned());
        fs::write(&page, placed(&before, self.workload.name, &self.section(options)))
            .with_context(|| format!("writing {}", page.display()))
    }

    fn section(&self, options: &Options) -> String {
        let (title, rest) =
            self.table().split_once('\n').map_or_else(Default::default, |(title, rest)| {
                (title.to_owned(), rest.trim().to_owned())
            });
        format!(
            "## {title}\n\n{}\n\n{rest}\n\n![{title}](benchmarks/{}.svg)\n\n\
             {} rounds, both agents in turn. {}. Highest load average before a run: {:.1}. \
             To repeat: `{}`\n",
            (self.workload.about)(options),
            self.workload.name,
            options.rounds,
            machine::described(),
            self.highest_load,
            options.command,
        )
    }

    fn chart(&self) -> String {
        let bars: Vec<Bars> = (0..self.workload.quantities.len())
            .filter_map(|at| {
                Some(Bars {
                    quantity: &self.workload.quantities[at],
                    flume: Spread::of(&column(&self.flume, at))?,
                    ours: Spread::of(&column(&self.ours, at))?,
                })
            })
            .collect();
        chart::svg(self.workload.title, &bars)
    }
}

const OPENING: &str = "# Benchmarks

Written by `cargo xtask bench`: real Apache Flume 1.11 and splashdam do the same work with the same configuration, in
turn, in one run. A value is the median of the rounds, its ends stand in parentheses; a ratio is taken within each
round. Only ratios of one run mean something on another machine.
";

/// `page` with the part between the workload's marks replaced, or put at the end.
fn placed(page: &str, name: &str, section: &str) -> String {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"));
    let part = format!("{open}{section}{close}");
    let found = page
        .find(&open)
        .and_then(|from| Some((from, from + page[from..].find(&close)? + close.len())));
    match found {
        Some((from, to)) => format!("{}{part}{}", &page[..from], &page[to..]),
        None => format!("{}\n\n{part}", page.trim_end()),
    }
}

fn column(rounds: &[Vec<f64>], at: usize) -> Vec<f64> {
    rounds.iter().filter_map(|values| values.get(at).copied()).filter(|v| !v.is_nan()).collect()
}

/// Round by round; none where it would be divided by nothing.
fn ratios(ours: &[f64], others: &[f64]) -> Vec<f64> {
    let ratios = ours.iter().zip(others).map(|(ours, other)| ours / other);
    ratios.filter(|ratio| ratio.is_finite()).collect()
}

fn shown(unit: Unit, values: &[f64]) -> String {
    match Spread::of(values) {
        None => "–".to_owned(),
        Some(spread) => {
            format!(
                "{} ({} – {})",
                unit.show(spread.median),
                unit.show(spread.least),
                unit.show(spread.most)
            )
        }
    }
}

/// The round that speaks least for us.
fn worst(quantity: &Quantity, ratios: &[f64]) -> Option<f64> {
    let spread = Spread::of(ratios)?;
    Some(if quantity.better == Better::Higher { spread.least } else { spread.most })
}

fn times(ratio: f64) -> String {
    if ratio < 0.1 { format!("{ratio:.3}×") } else { format!("{ratio:.2}×") }
}

#[cfg(test)]
mod tests {
    use super::placed;

    #[test]
    fn replaces_its_own_section_only() {
        let one = placed("# Page\n", "flow", "flow one\n");
        let both = placed(&one, "start", "start one\n");
        let again = placed(&both, "flow", "flow two\n");
        assert_eq!(
            again,
            "# Page\n\n<!-- flow -->\nflow two\n<!-- end of flow -->\n\n\
             <!-- start -->\nstart one\n<!-- end of start -->\n"
        );
    }
}
