//! The command line: Flume's own, as `flume-ng agent` and its script take it, and ours.
//!
//! [`parse`] turns arguments into a [`Command`] and does nothing: what is to be printed comes back
//! as text, so that `main` only has to match.

pub(crate) mod avro_client;
mod grammar;
pub(crate) mod java;
pub(crate) mod log;
pub(crate) mod reconcile;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use clap::error::ErrorKind;
use splashdam_agent::provider;

use crate::flume_ng;
use java::Java;

/// Exit status for a command line that makes no sense.
pub(crate) const USAGE: u8 = 2;
/// Exit status for everything else that went wrong.
pub(crate) const FAILED: u8 = 1;

/// Properties of Flume's that would change what it does, and what to say of each here.
const LEFT_ASIDE: &[(&str, &str)] = &[
    ("lookups", "the lookups are env, sys, java and date"),
    (
        "org.apache.flume.log.printconfig",
        "no value is logged; `splashdam check` shows what was read",
    ),
    ("org.apache.flume.log.rawdata", "no event is logged; a logger sink writes events to the log"),
    ("JndiAllowedProtocols", "there is no JNDI"),
];
/// Where Flume's options lie beside the configuration directory.
const OPTION_FILE: &str = "flume.opts";
const OPTION_DIRECTORY: &str = "/etc/flume";

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    /// Run an agent.
    Agent(Box<AgentArgs>),
    /// Send lines to a source.
    AvroClient(Box<avro_client::AvroClientArgs>),
    /// Say what is wrong with a configuration.
    Check(Box<CheckArgs>),
    /// Draw a configuration.
    Graph(Box<GraphArgs>),
    /// Look at the log of a file channel, or take it elsewhere.
    Log(Box<log::LogArgs>),
    /// Flume's integrity tool.
    Integrity(Box<log::IntegrityArgs>),
    /// Compare the ledgers of two agents.
    Reconcile(Box<reconcile::ReconcileArgs>),
    /// Write manual pages into a directory.
    Man(PathBuf),
    /// Print this to standard output; exit status 0.
    Print(String),
    /// Print this to standard error; exit with this status.
    Refuse(String, u8),
}

/// Where a configuration comes from, for `agent`, `check` and `graph` alike.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// The agent's name; empty when `check` or `graph` are to take the only one there is.
    pub(crate) name: String,
    /// `-f`.
    pub(crate) files: Vec<PathBuf>,
    /// `-u`.
    pub(crate) uris: Vec<String>,
    /// `-c`.
    pub(crate) conf_dir: Option<PathBuf>,
    /// `-b`.
    pub(crate) backup: Option<PathBuf>,
    /// `-z`.
    pub(crate) zookeeper: Option<String>,
    /// `-p`.
    pub(crate) base_path: Option<String>,
    /// `--conf-user`.
    pub(crate) user: Option<String>,
    /// `--conf-password`.
    pub(crate) password: Option<Secret>,
    /// `-D` from the command line and, as `flume-ng`, from `FLUME_JAVA_OPTS`.
    pub(crate) properties: BTreeMap<String, String>,
    /// Options that mean nothing here, each with a word why; to be logged once.
    pub(crate) notes: Vec<String>,
}

/// `agent`.
#[derive(Debug)]
pub(crate) struct AgentArgs {
    /// What to run.
    pub(crate) origin: Origin,
    /// Whether changes of the configuration are applied.
    pub(crate) reload: bool,
    /// How often to look for changes; Flume's defaults when unset: 30 s, or 300 s for http(s).
    pub(crate) poll_interval: Option<Duration>,
    /// How long sinks may go on delivering after the signal to stop.
    pub(crate) grace: Duration,
}

/// `check`.
#[derive(Debug)]
pub(crate) struct CheckArgs {
    /// What to read.
    pub(crate) origin: Origin,
    /// How to tell.
    pub(crate) format: ReportFormat,
    /// Whether warnings fail the check as errors do.
    pub(crate) strict: bool,
    /// Whether to connect to what the components work with.
    pub(crate) online: bool,
}

/// How findings are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReportFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// `graph`.
#[derive(Debug)]
pub(crate) struct GraphArgs {
    /// What to draw.
    pub(crate) origin: Origin,
    /// How.
    pub(crate) format: Drawing,
}

/// How a topology is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Drawing {
    /// Boxes and lines for the terminal.
    #[default]
    Text,
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
}

/// What must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Origin {
    /// The part of it that the provider wants to know. Servers that stand for one another are
    /// asked in an order by `seed`; a node is followed or read once.
    pub(crate) fn settings(&self, seed: u64, follow: bool) -> provider::Settings {
        let zookeeper = self.zookeeper.clone().map(|connect| provider::ZooKeeperSettings {
            connect,
            base_path: self.base_path.clone(),
            follow,
            first: usize::try_from(seed % 1024).unwrap_or(0),
        });
        provider::Settings {
            zookeeper,
            agent: self.name.clone(),
            files: self.files.clone(),
            uris: self.uris.clone(),
            conf_dir: self.conf_dir.clone(),
            user: self.user.clone(),
            password: self.password.as_ref().map(|secret| secret.0.clone()),
            backup: self.backup.clone(),
        }
    }
}

/// What of the process matters to the command line.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// `FLUME_JAVA_OPTS`, which only Flume's script looks at.
    pub(crate) flume_java_opts: Option<String>,
}

/// Understands a command line, the program's name included: as `flume-ng` it speaks like Flume's
/// script.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings,
) -> Command {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    if flume_ng::is_name(&program) {
        return flume_ng::parse(rest, surroundings);
    }
    run(grammar::SPLASHDAM, rest, &Java::default())
}

/// Understands arguments that start with a command, on top of what a script knew before.
pub(crate) fn run(program: &'static str, arguments: Vec<OsString>, before: &Java) -> Command {
    let java = Java::strip(arguments, before.clone());
    let mut grammar = grammar::grammar(program);
    let words = std::iter::once(OsString::from(program)).chain(java.rest.iter().cloned());
    let matches = match grammar.try_get_matches_from_mut(words) {
        Ok(matches) => matches,
        Err(error) => {
            let text = error.render().to_string();
            return match error.kind() {
                ErrorKind::DisplayVersion => Command::Print(version(program)),
                ErrorKind::DisplayHelp => Command::Print(text),
                _ => Command::Refuse(text, USAGE),
            };
        }
    };
    match matches.subcommand() {
        Some(("agent" | "node", given)) => agent(given, java),
        Some(("check", given)) => check(given, java),
        Some(("graph", given)) => graph(given, java),
        Some(("version", _)) => Command::Print(version(program)),
        Some(("completions", given)) => Command::Print(grammar::completions(given)),
        Some(("man", given)) => match given.get_one::<PathBuf>("dir") {
            Some(dir) => Command::Man(dir.clone()),
            None => Command::Print(grammar::manual_page()),
        },
        Some(("log", given)) => log::log(given, java),
        Some(("reconcile", given)) => reconcile::reconcile(given),
        Some(("tool", given)) => log::tool(given, java),
        Some(("avro-client", given)) => avro_client::avro_client(given, java),
        _ => Command::Refuse(grammar.render_help().to_string(), USAGE),
    }
}

/// Writes a manual page for the program and one for each command.
pub(crate) fn write_manual(dir: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(grammar::grammar(grammar::SPLASHDAM), dir)
}

fn version(program: &str) -> String {
    let own = env!("CARGO_PKG_VERSION");
    if program == grammar::SPLASHDAM {
        return format!("splashdam {own}, which speaks Apache Flume 1.11\n");
    }
    // Scripts read the second word of the first line.
    format!("Flume 1.11.0\nsplashdam {own}\n")
}

fn agent(given: &ArgMatches, java: Java) -> Command {
    let mut origin = match origin(given, java) {
        Ok(origin) => origin,
        Err(refused) => return refused,
    };
    for (option, word) in [
        (
            "conf-provider",
            "splashdam loads no Java class, configuration comes from files, URIs and ZooKeeper",
        ),
        ("auth-provider", "splashdam loads no Java class; --conf-user and --conf-password work"),
    ] {
        if let Some(value) = given.get_one::<String>(option) {
            origin.notes.push(format!("--{option} {value} is left aside: {word}"));
        }
    }
    if origin.zookeeper.is_some() && given.contains_id("poll-interval") {
        origin
            .notes
            .push("--poll-interval is left aside: ZooKeeper tells of changes by itself".to_owned());
    }
    if let Some(format) = given.get_one::<String>("log-format") {
        origin.properties.insert("flume.log.format".to_owned(), format.clone());
    }
    Command::Agent(Box::new(AgentArgs {
        origin,
        reload: !given.get_flag("no-reload-conf"),
        poll_interval: given.get_one::<u64>("poll-interval").copied().map(Duration::from_secs),
        grace: Duration::from_secs(given.get_one::<u64>("grace-time").copied().unwrap_or(10)),
    }))
}

fn check(given: &ArgMatches, java: Java) -> Command {
    let format = match given.get_one::<String>("format").map(String::as_str) {
        Some("json") => ReportFormat::Json,
        _ => ReportFormat::Text,
    };
    match origin(given, java) {
        Ok(origin) => {
            let (strict, online) = (given.get_flag("strict"), given.get_flag("online"));
            Command::Check(Box::new(CheckArgs { origin, format, strict, online }))
        }
        Err(refused) => refused,
    }
}

fn graph(given: &ArgMatches, java: Java) -> Command {
    let format = match given.get_one::<String>("format").map(String::as_str) {
        Some("dot") => Drawing::Dot,
        Some("mermaid") => Drawing::Mermaid,
        _ => Drawing::Text,
    };
    match origin(given, java) {
        Ok(origin) => Command::Graph(Box::new(GraphArgs { origin, format })),
        Err(refused) => refused,
    }
}

fn origin(given: &ArgMatches, java: Java) -> Result<Origin, Command> {
    let all = |name: &str| given.try_get_many::<String>(name).ok().flatten();
    let one = |name: &str| given.try_get_one::<String>(name).ok().flatten().cloned();
    let path = |name: &str| given.try_get_one::<PathBuf>(name).ok().flatten().cloned();
    let files = given.get_many::<PathBuf>("conf-file").into_iter().flatten().cloned().collect();
    let mut origin = Origin {
        name: one("name").unwrap_or_default(),
        files,
        uris: all("conf-uri").into_iter().flatten().cloned().collect(),
        conf_dir: path("conf"),
        backup: path("backup-directory"),
        zookeeper: one("zkConnString"),
        base_path: one("zkBasePath"),
        user: one("conf-user"),
        password: one("conf-password").map(Secret),
        properties: java.properties,
        notes: java.notes,
    };
    for (property, word) in LEFT_ASIDE {
        if origin.properties.contains_key(*property) {
            origin.notes.push(format!("-D{property} is left aside: {word}"));
        }
    }
    let own = origin.conf_dir.iter().map(PathBuf::as_path);
    for directory in own.chain([std::path::Path::new(OPTION_DIRECTORY)]) {
        let file = directory.join(OPTION_FILE);
        if file.exists() {
            let file = file.display();
            origin.notes.push(format!("{file} is not read: write its options on the command line"));
        }
    }
    let refuse = |text: &str| Err(Command::Refuse(text.to_owned(), USAGE));
    if origin.zookeeper.is_none() && origin.files.is_empty() && origin.uris.is_empty() {
        return refuse(
            "error: no configuration is named\n\ngive a file with --conf-file <FILE>, a URI with \
             --conf-uri <URI> or a ZooKeeper with --zkConnString <HOSTS>\n",
        );
    }
    if origin.zookeeper.is_some() && origin.name.is_empty() {
        return refuse(
            "error: --zkConnString needs --name\n\nthe agent's name is the name of its node in \
             ZooKeeper\n",
        );
    }
    let secure = origin.properties.get("zookeeper.client.secure");
    if origin.zookeeper.is_some() && secure.is_some_and(|value| value.trim() == "true") {
        return refuse(
            "error: -Dzookeeper.client.secure=true: ZooKeeper is spoken to without TLS only\n\n\
             name a port without TLS, or read the configuration from an https: URI\n",
        );
    }
    if origin.zookeeper.is_none() && origin.base_path.take().is_some() {
        origin
            .notes
            .push("--zkBasePath is left aside: it means nothing without --zkConnString".to_owned());
    }
    Ok(origin)
}

#[cfg(test)]
mod tests;
