//! An event agent that speaks Apache Flume.

mod avro_client;
mod check;
mod cli;
mod flume_ng;
mod graph;
mod integrity;
mod log;
mod logging;
mod reconcile;
mod render;
mod run;
mod world;

use std::io::Write as _;
use std::process::ExitCode;

use cli::Command;

fn main() -> ExitCode {
    let surroundings = cli::Surroundings { flume_java_opts: std::env::var("FLUME_JAVA_OPTS").ok() };
    let done = match cli::parse(std::env::args_os(), &surroundings) {
        Command::AvroClient(args) => avro_client::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Reconcile(args) => Ok(reconcile::run(&args)),
        Command::Integrity(args) => integrity::run(&args),
        Command::Man(dir) => cli::write_manual(&dir).map(|()| 0),
        Command::Print(text) => std::io::stdout().write_all(text.as_bytes()).map(|()| 0),
        Command::Refuse(text, status) => {
            std::io::stderr().write_all(text.as_bytes()).map(|()| status)
        }
        Command::Agent(args) => {
            return run::run(*args).unwrap_or_else(|error| {
                eprintln!("error: {}", told(&error));
                ExitCode::from(cli::FAILED)
            });
        }
    };
    match done {
        Ok(status) => ExitCode::from(status),
        // Whoever read our output has gone.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(cli::FAILED)
        }
    }
}

/// An error and its causes; most say themselves what they come from, and that is not said again.
fn told(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.contains(&cause) {
            told = told + ": " + &cause;
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;

    use super::*;

    #[test]
    fn no_cause_is_told_twice() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let check = |error: anyhow::Error, want: &str| assert_eq!(told(&error), want);
        let said = format!("cannot write the log: {}", full());
        check(Err::<(), _>(full()).context(said.clone()).unwrap_err(), &said);
        check(Err::<(), _>(full()).context("cannot write the log").unwrap_err(), &said);
        check(anyhow::anyhow!("no agent"), "no agent");
    }
}
