//! `splashdam-hops [SEED] --hops N`: what `cargo xtask sim --hops N` starts.

use std::process::ExitCode;

use splashdam_hops::campaign::Campaign;

const USAGE: &str = "usage: cargo xtask sim [SEED] --hops N

Lets agents send to each other over a network that delays, cuts and repeats, while they are killed,
lose their power and have faults on their disks, in the N runs from SEED (0) on; then looks whether
everything that was acknowledged arrived, once where that is promised, and whether every ledger
balances. Looks for each planted bug, too. Ends with a table, or with an error and the plan of the
run at the first promise that was broken.
  `cargo xtask sim SEED --hops 1` runs one seed again.
";

fn main() -> ExitCode {
    let campaign = match parse(std::env::args().skip(1)) {
        Ok(Some(campaign)) => campaign,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("hops: {why}\n\n{USAGE}");
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
    let mut campaign = Campaign { first: 0, runs: 100_000 };
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is no number"));
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--hops" => {
                let runs = words.next().ok_or("--hops needs a number")?;
                campaign.runs = number(&runs)?;
            }
            _ if word.starts_with('-') => return Err(format!("no option `{word}`")),
            _ => campaign.first = number(&word)?,
        }
    }
    Ok(Some(campaign))
}
