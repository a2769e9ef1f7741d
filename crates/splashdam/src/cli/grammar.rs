//! Commands and options, for parsing, help, completions and manual pages.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use clap_complete::Shell;

use super::java::text;

/// Our own name.
pub(crate) const SPLASHDAM: &str = "splashdam";
/// Poll intervals and grace times beyond this many seconds are mistakes.
const MOST_SECONDS: u64 = 1 << 31;

/// Everything, under the name `program`.
pub(super) fn grammar(program: &'static str) -> Command {
    Command::new(program)
        .about("An event agent that speaks Apache Flume")
        .long_about(
            "An event agent that speaks Apache Flume: sources bring events, transactional channels \
             hold them, sinks carry them on. It runs the flume.conf that Flume 1.11 runs.",
        )
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .arg(
            Arg::new("version")
                .short('V')
                .long("version")
                .action(ArgAction::Version)
                .help("Say which version this is"),
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .infer_long_args(true)
        .subcommand(agent())
        .subcommand(check())
        .subcommand(graph())
        .subcommand(Command::new("version").about("Say which version this is"))
        .subcommand(
            Command::new("completions").about("Print completions for a shell").arg(
                Arg::new("shell")
                    .value_parser(value_parser!(Shell))
                    .required(true)
                    .help("The shell to complete for"),
            ),
        )
        .subcommand(
            Command::new("man").about("Print the manual page, or write all of them").arg(
                Arg::new("dir")
                    .value_parser(value_parser!(PathBuf))
                    .value_hint(ValueHint::DirPath)
                    .help("Directory to write the pages of all commands to"),
            ),
        )
        .subcommand(super::avro_client::grammar())
        .subcommand(super::log::log_grammar())
        .subcommand(super::reconcile::reconcile_grammar())
        .subcommand(super::log::tool_grammar())
}

fn agent() -> Command {
    Command::new("agent")
        .about("Run an agent")
        .after_help(
            "Signals: SIGTERM and SIGINT stop it in order, within the grace time, and a second one ends it at \
             once, unless it comes within a second of the first. SIGHUP reads the configuration anew. SIGUSR1, \
             SIGUSR2 and SIGQUIT log what each component does.",
        )
        .visible_alias("node")
        .arg(name().required(true))
        .args(origin())
        .args(zookeeper())
        .arg(option("conf-provider", "CLASS").help("Accepted and left aside: there is no Java"))
        .arg(
            option("auth-provider", "CLASS")
                .short('a')
                .help("Accepted and left aside: there is no Java"),
        )
        .arg(
            option("backup-directory", "DIR")
                .short('b')
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::DirPath)
                .help("Keep a copy of the configuration here, to start from without its source"),
        )
        .arg(seconds("poll-interval").short('i').help(
            "Seconds between looks for a changed configuration [default: 30, or 300 with http]",
        ))
        .arg(
            Arg::new("no-reload-conf")
                .long("no-reload-conf")
                .action(ArgAction::SetTrue)
                .help("Do not apply changes of the configuration"),
        )
        .arg(
            seconds("grace-time").help(
                "Seconds that sinks may go on delivering after the signal to stop [default: 10]",
            ),
        )
        .arg(
            option("log-format", "FORMAT")
                .value_parser(PossibleValuesParser::new(["text", "json"]))
                .help("How the log looks; the same as -Dflume.log.format=FORMAT"),
        )
        .after_help(PROPERTIES)
}

fn check() -> Command {
    Command::new("check")
        .about("Say what is wrong with a configuration, and what it promises")
        .long_about(
            "Reads a configuration as `agent` would and prints every finding with its place, its \
             cause and what to do. Of a configuration without errors it prints what each way from \
             source to sink guarantees. Exits with 1 when there are errors.",
        )
        .arg(name())
        .args(origin())
        .args(zookeeper())
        .arg(
            option("format", "FORMAT")
                .value_parser(PossibleValuesParser::new(["text", "json"]))
                .help("How to tell [default: text]"),
        )
        .arg(
            Arg::new("strict")
                .long("strict")
                .action(ArgAction::SetTrue)
                .help("Exit with 1 when there are warnings, too"),
        )
        .arg(
            Arg::new("online").long("online").action(ArgAction::SetTrue).help(
                "Connect to what can be looked at without changing it, and say what is there",
            ),
        )
        .after_help(PROPERTIES)
}

fn graph() -> Command {
    Command::new("graph")
        .about("Draw the sources, channels and sinks of a configuration")
        .arg(name())
        .args(origin())
        .args(zookeeper())
        .arg(
            option("format", "FORMAT")
                .value_parser(PossibleValuesParser::new(["text", "dot", "mermaid"]))
                .help("How to draw: for the terminal, Graphviz or Mermaid [default: text]"),
        )
        .after_help(PROPERTIES)
}

const PROPERTIES: &str = "\
-Dkey=value sets a property, as for Java: flume.monitoring.type and its kin, flume.root.logger, and
what ${sys:key} in the configuration stands for. -X, -J, -agentlib, -javaagent, -C and
--plugins-path are accepted and left aside.";

pub(super) fn name() -> Arg {
    option("name", "NAME").short('n').help("The agent's name in the configuration")
}

pub(super) fn origin() -> [Arg; 5] {
    [
        option("conf-file", "FILE")
            .short('f')
            .action(ArgAction::Append)
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help("Read this file; may be repeated, later ones override earlier ones"),
        option("conf-uri", "URI")
            .short('u')
            .action(ArgAction::Append)
            .help("Read this file:, http:, https: or classpath: URI; may be repeated"),
        option("conf", "DIR")
            .short('c')
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::DirPath)
            .help("The configuration directory, where classpath: URIs are looked for"),
        option("conf-user", "USER").help("The user for http(s) URIs"),
        option("conf-password", "PASSWORD")
            .allow_hyphen_values(true)
            .help("The password for http(s) URIs"),
    ]
}

fn zookeeper() -> [Arg; 2] {
    [
        option("zkConnString", "HOSTS").short('z').help(
            "Read the configuration from this ZooKeeper: host:port,host:port/chroot, from the node \
             of the agent's name below --zkBasePath",
        ),
        option("zkBasePath", "PATH").short('p').help("Where in ZooKeeper [default: /flume]"),
    ]
}

pub(super) fn option(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

fn seconds(name: &'static str) -> Arg {
    option(name, "SECONDS").value_parser(value_parser!(u64).range(0..=MOST_SECONDS))
}

/// Whether a command has an option `--name`.
pub(super) fn is_long_option(name: &str) -> bool {
    find(|arg| arg.get_long() == Some(name)).is_some()
}

/// Whether `argument` is an option whose value is the next argument.
pub(super) fn takes_value(argument: &OsStr) -> bool {
    let argument = text(argument);
    let arg = match argument.strip_prefix("--") {
        Some(long) => find(|arg| arg.get_long() == Some(long)),
        None => {
            let mut letters = argument.strip_prefix('-').unwrap_or_default().chars();
            let letter = letters.next().filter(|_| letters.next().is_none());
            letter.and_then(|letter| find(|arg| arg.get_short() == Some(letter)))
        }
    };
    arg.is_some_and(|arg| arg.get_action().takes_values())
}

fn find(wanted: impl Fn(&Arg) -> bool) -> Option<Arg> {
    let log = super::log::log_grammar();
    let (client, reconcile) =
        (super::avro_client::grammar(), super::reconcile::reconcile_grammar());
    [agent(), check(), graph(), client, super::log::tool_grammar(), reconcile]
        .iter()
        .chain(log.get_subcommands())
        .flat_map(Command::get_arguments)
        .find(|arg| wanted(arg))
        .cloned()
}

/// A completion script.
pub(super) fn completions(given: &ArgMatches) -> String {
    let mut script = Vec::new();
    if let Some(shell) = given.get_one::<Shell>("shell") {
        clap_complete::generate(*shell, &mut grammar(SPLASHDAM), SPLASHDAM, &mut script);
    }
    String::from_utf8_lossy(&script).into_owned()
}

/// The manual page of the program itself.
pub(super) fn manual_page() -> String {
    let mut page = Vec::new();
    match clap_mangen::Man::new(grammar(SPLASHDAM)).render(&mut page) {
        Ok(()) => String::from_utf8_lossy(&page).into_owned(),
        // Writing to memory does not fail.
        Err(_) => String::new(),
    }
}
