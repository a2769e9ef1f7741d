//! `splashdam-sim [SEED] [--points N] [--minutes M]`: what `cargo xtask sim` starts.

use std::process::ExitCode;
use std::time::Duration;

use splashdam_sim::campaign::Campaign;

const USAGE: &str = "usage: cargo xtask sim [SEED] [--points N] [--minutes M]

Crashes the log at every act of its simulated disks, with every fate of what was not synced, in the
runs of SEED (0) and the seeds after it, until N crash points (1000000) were tried or M minutes (60)
are over; lets calls fail, flips bits, and looks for each planted bug. Ends with a table, or with an
error and the plan of the run at the first promise that was broken.
  `cargo xtask sim SEED --points 1` runs one seed again.
  `cargo xtask sim --hops N` simulates hops between agents instead.
";

fn main() -> ExitCode {
    let campaign = match parse(std::env::args().skip(1)) {
        Ok(Some(campaign)) => campaign,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("sim: {why}\n\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let report = campaign.run();
    println!("\n{report}");
    match report.good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// What is wanted; `None` is help.
fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Campaign>, String> {
    let mut campaign = Campaign { first: 0, points: 1_000_000, most: Duration::from_secs(60 * 60) };
    let number = |name: &str, text: Option<String>| {
        let text = text.ok_or_else(|| format!("{name} needs a number"))?;
        text.parse::<u64>().map_err(|_| format!("`{text}` is no number"))
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--points" => campaign.points = number("--points", words.next())?,
            "--minutes" => {
                let minutes = number("--minutes", words.next())?;
                campaign.most = Duration::from_secs(minutes.saturating_mul(60));
            }
            _ if word.starts_with('-') => return Err(format!("no option `{word}`")),
            _ => campaign.first = number("the seed", Some(word))?,
        }
    }
    Ok(Some(campaign))
}
