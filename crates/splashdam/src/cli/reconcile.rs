//! Command and options of `splashdam reconcile`.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches};
use splashdam_agent::reconcile::Way;

use super::grammar::option;
use super::{Command, ReportFormat};

/// `reconcile`.
#[derive(Debug)]
pub(crate) struct ReconcileArgs {
    /// Where the sender's monitoring is served.
    pub(crate) sender: String,
    /// Where the receiver's is.
    pub(crate) receiver: String,
    /// Which way is compared.
    pub(crate) way: Way,
    /// How to tell.
    pub(crate) format: ReportFormat,
}

pub(super) fn reconcile_grammar() -> clap::Command {
    let url = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).value_name(value).required(true).help(help)
    };
    let named = |name: &'static str, help: &'static str| {
        option(name, "NAME").action(ArgAction::Append).help(help)
    };
    clap::Command::new("reconcile")
        .about("Compare the ledgers of two agents of which one sends to the other")
        .long_about(
            "Fetches the ledgers of two agents and says what the sinks of the first delivered that the sources of the \
             second never received, or received twice, with the minute, and what is in flight. Both agents must serve \
             their monitoring over HTTP. Exits with 0 when nothing is missing and nothing came twice, with 1 when \
             something is, and with 2 when nothing could be compared: an agent that does not answer, a name that \
             it does not have, a command line that makes no sense.",
        )
        .arg(url("sender", "SENDER", "Where the agent that sends serves its monitoring: http://host:41414"))
        .arg(url("receiver", "RECEIVER", "Where the agent that receives serves it"))
        .arg(named("sink", "Look at this sink of the sender; may be repeated [default: all]"))
        .arg(named("source", "Look at this source of the receiver; may be repeated [default: all]"))
        .arg(
            option("format", "FORMAT")
                .value_parser(PossibleValuesParser::new(["text", "json"]))
                .help("How to tell [default: text]"),
        )
}

pub(super) fn reconcile(given: &ArgMatches) -> Command {
    let all = |name: &str| given.get_many::<String>(name).into_iter().flatten().cloned().collect();
    let one = |name: &str| given.get_one::<String>(name).cloned().unwrap_or_default();
    let format = match given.get_one::<String>("format").map(String::as_str) {
        Some("json") => ReportFormat::Json,
        _ => ReportFormat::Text,
    };
    let way = Way { sinks: all("sink"), sources: all("source") };
    let (sender, receiver) = (one("sender"), one("receiver"));
    Command::Reconcile(Box::new(ReconcileArgs { sender, receiver, way, format }))
}
