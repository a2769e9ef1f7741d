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
        Command::Reconcile(args) => reconcile::run(&args),
        Command::Integrity(args) => integrity::run(&args),
        Command::Man(dir) => cli::write_manual(&dir).map(|()| 0),
        Command::Print(text) => std::io::stdout().write_all(text.as_bytes()).map(|()| 0),
        Command::Refuse(text, status) => {
            std::io::stderr().write_all(text.as_bytes()).map(|()| status)
        }
        Command::Agent(args) => {
            return run::run(*args).unwrap_or_else(|error| {
                eprintln!("error: {error:#}");
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
