//! Commands and options for the log of a file channel: `splashdam log`, and Flume's `tool`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, ValueHint, value_parser};
use splashdam_components::channels::file::offline::Loss;

use super::grammar::{name, option, origin};
use super::java::Java;
use super::{Command, FAILED, Origin, ReportFormat, USAGE};

/// The one tool of Flume that is here, matched in any case.
const INTEGRITY: &str = "FCINTEGRITYTOOL";

/// `log …`.
#[derive(Debug)]
pub(crate) struct LogArgs {
    /// Which log.
    pub(crate) place: Place,
    /// What to do with it.
    pub(crate) act: Act,
}

/// Which channel's log.
#[derive(Debug)]
pub(crate) struct Place {
    /// That of a channel of a configuration, or of directories.
    pub(crate) of: Of,
    /// The channel; with only one it need not be said.
    pub(crate) channel: Option<String>,
}

/// Where the directories are named.
#[derive(Debug)]
pub(crate) enum Of {
    /// In a configuration.
    Configuration(Box<Origin>),
    /// On the command line.
    Directories(Directories),
}

/// A channel's keys on the command line.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    /// `dataDirs`.
    pub(crate) data: Vec<String>,
    /// `checkpointDir`.
    pub(crate) checkpoint: Option<PathBuf>,
    /// `backupCheckpointDir`.
    pub(crate) backup: Option<PathBuf>,
    pub(crate) keys: Option<KeyNames>,
}

/// Where the keys of an encrypted log are.
#[derive(Clone, Debug)]
pub(crate) struct KeyNames {
    /// The key store.
    pub(crate) store: String,
    /// The file of its password.
    pub(crate) password: String,
    /// The file of the password of the keys, if that is another one.
    pub(crate) key_password: Option<String>,
    /// The keys, between blanks.
    pub(crate) aliases: String,
}

/// What to do with a log.
#[derive(Debug)]
pub(crate) enum Act {
    /// Read all of it.
    Verify { format: ReportFormat, force: bool },
    /// Say what is in it.
    Inspect { format: ReportFormat, force: bool },
    /// Write the queued events elsewhere.
    Export(Export),
    /// Take over what a Flume left.
    Import { format: ReportFormat, dry_run: bool },
    /// Give up what is lost.
    Accept(Loss),
}

/// How events are written.
#[derive(Debug)]
pub(crate) enum Export {
    /// Line by line, to a file or to standard output.
    Lines { json: bool, output: Option<PathBuf>, force: bool },
    /// As a Flume's file channel has them.
    Flume { checkpoint: PathBuf, data: Vec<PathBuf> },
}

/// `tool FCINTEGRITYTOOL`.
#[derive(Debug)]
pub(crate) struct IntegrityArgs {
    /// `-l`.
    pub(crate) directories: Vec<PathBuf>,
    /// Those of encrypted logs.
    pub(crate) keys: Option<KeyNames>,
    /// What means nothing here.
    pub(crate) notes: Vec<String>,
}

pub(super) fn log_grammar() -> clap::Command {
    let force = || {
        flag("force").help(
            "Look even while an agent uses it; what is written meanwhile may look like damage",
        )
    };
    clap::Command::new("log")
        .about("Look at the log of a file channel, or carry its events elsewhere")
        .long_about(
            "Works on the directories of a file channel while no agent uses them. Exits with 0 when \
             all is well, 1 when there is damage or something is refused, 2 when the command line \
             makes no sense.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            clap::Command::new("verify")
                .about("Read every byte of the log and say whether all is there")
                .args(place())
                .arg(report_format())
                .arg(force()),
        )
        .subcommand(
            clap::Command::new("inspect")
                .about("Say what is in the log: channels, segments, senders")
                .args(place())
                .arg(report_format())
                .arg(force()),
        )
        .subcommand(
            clap::Command::new("export")
                .about("Write the queued events elsewhere; the log keeps them")
                .args(place())
                .arg(
                    option("format", "FORMAT")
                        .value_parser(PossibleValuesParser::new(["jsonl", "text", "flume"]))
                        .help("jsonl: number, headers and body (in base64) of each event; text: bodies only, one a line; flume: a file channel that Flume opens [default: jsonl]"),
                )
                .arg(
                    path("output", "FILE")
                        .short('o')
                        .help("Write lines to this file, which must not exist [default: standard output]"),
                )
                .arg(
                    path("to-data-dirs", "DIRS")
                        .value_parser(clap::builder::ValueParser::string())
                        .help("With --format flume: the data directories to write, between commas"),
                )
                .arg(
                    path("to-checkpoint-dir", "DIR")
                        .help("With --format flume: the checkpoint directory to make; it stays empty, as Flume makes its checkpoint out of the logs"),
                )
                .arg(force()),
        )
        .subcommand(
            clap::Command::new("import")
                .about("Take over what a Flume left in the directories of a channel, as the channel does when it opens first")
                .args(place())
                .arg(report_format())
                .arg(flag("dry-run").help("Only count what there is; change nothing")),
        )
        .subcommand(
            clap::Command::new("accept-loss")
                .about("Give up what is lost, so that the rest of the log opens")
                .args(place())
                .arg(
                    path("directory", "DIR")
                        .value_parser(clap::builder::ValueParser::string())
                        .action(ArgAction::Append)
                        .help("Give up this directory of the log with all that is in it; may be repeated"),
                )
                .arg(flag("missing-segments").help("Give up segments that are missing or cut short"))
                .arg(flag("older-directories").help(
                    "Give up what directories have lost that are from an earlier day than the others",
                ))
                .arg(flag("restored-copy").help(
                    "The directories are an older copy of themselves, as from a backup or a snapshot: give up what was put since",
                ))
                .arg(flag("i-accept-the-loss").help("Do it; events are lost for good")),
        )
}

pub(super) fn tool_grammar() -> clap::Command {
    clap::Command::new("tool")
        .about("Run a tool of Flume: FCINTEGRITYTOOL")
        .long_about(
            "FCINTEGRITYTOOL looks at every record in data directories of file channels. In those of \
             splashdam, damaged bytes are set aside in files beside the log. Those of Flume are only \
             read: the damage is reported, and passed over when the channel is taken over. \
             Encrypted logs of either need their keys.",
        )
        .arg(Arg::new("tool").value_name("TOOL").help("FCINTEGRITYTOOL"))
        .arg(
            option("dataDirs", "DIRS")
                .short('l')
                .value_hint(ValueHint::DirPath)
                .help("Data directories of file channels, between commas"),
        )
        .arg(
            option("eventValidator", "CLASS")
                .short('e')
                .help("Refused: validators of events are Java classes"),
        )
        .args(keys("dataDirs"))
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

fn path(name: &'static str, value: &'static str) -> Arg {
    option(name, value).value_parser(value_parser!(PathBuf)).value_hint(ValueHint::AnyPath)
}

fn report_format() -> Arg {
    option("format", "FORMAT")
        .value_parser(PossibleValuesParser::new(["text", "json"]))
        .help("How to tell [default: text]")
}

/// Options that say which log.
fn place() -> Vec<Arg> {
    let mut all = vec![name()];
    all.extend(origin());
    all.extend([
        option("channel", "NAME").help("The channel; need not be said when there is only one"),
        option("data-dirs", "DIRS")
            .value_hint(ValueHint::DirPath)
            .help("Instead of a configuration: all directories of the log, between commas"),
        path("checkpoint-dir", "DIR")
            .requires("data-dirs")
            .help("With --data-dirs: where a Flume had its checkpoint"),
        path("backup-checkpoint-dir", "DIR")
            .requires("data-dirs")
            .help("With --data-dirs: where a Flume had the copy of its checkpoint"),
    ]);
    all.extend(keys("data-dirs"));
    all
}

/// The keys of an encrypted log whose directories are named by the option `directories`.
fn keys(directories: &'static str) -> [Arg; 4] {
    [
        option("key-store-file", "FILE")
            .requires_all([directories, "key-store-password-file", "key-aliases"])
            .value_hint(ValueHint::FilePath)
            .help(format!("With --{directories}: the JCEKS key store of an encrypted log")),
        option("key-store-password-file", "FILE")
            .requires("key-store-file")
            .value_hint(ValueHint::FilePath)
            .help("A file with the password of the key store and of its keys"),
        option("key-password-file", "FILE")
            .requires("key-store-file")
            .value_hint(ValueHint::FilePath)
            .help("A file with the password of the keys, where it is not that of the key store"),
        option("key-aliases", "ALIASES")
            .requires("key-store-file")
            .help("The keys that are needed, between blanks"),
    ]
}

fn key_names(given: &ArgMatches) -> Option<KeyNames> {
    let other = |name| text(given, name).unwrap_or_default();
    Some(KeyNames {
        store: text(given, "key-store-file")?,
        password: other("key-store-password-file"),
        key_password: text(given, "key-password-file"),
        aliases: other("key-aliases"),
    })
}

/// Reads `log …`.
pub(super) fn log(given: &ArgMatches, java: Java) -> Command {
    let Some((command, given)) = given.subcommand() else {
        return Command::Refuse("error: say what to do with the log\n".to_owned(), USAGE);
    };
    match place_of(given, java).and_then(|place| Ok((act(command, given, &place)?, place))) {
        Ok((act, place)) => Command::Log(Box::new(LogArgs { place, act })),
        Err(message) => Command::Refuse(format!("error: {message}\n"), USAGE),
    }
}

fn text(given: &ArgMatches, name: &str) -> Option<String> {
    given.try_get_one::<String>(name).ok().flatten().cloned()
}

fn path_of(given: &ArgMatches, name: &str) -> Option<PathBuf> {
    given.try_get_one::<PathBuf>(name).ok().flatten().cloned()
}

fn is_set(given: &ArgMatches, name: &str) -> bool {
    given.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or_default()
}

fn commas(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn place_of(given: &ArgMatches, java: Java) -> Result<Place, String> {
    let configured = given.contains_id("conf-file") || given.contains_id("conf-uri");
    let channel = text(given, "channel");
    let of = match text(given, "data-dirs") {
        Some(_) if configured => {
            return Err("give a configuration or --data-dirs, not both".to_owned());
        }
        None if !configured => {
            return Err(
                "name a log\n\ngive a configuration with --conf-file <FILE>, or its directories with --data-dirs <DIRS>"
                    .to_owned(),
            );
        }
        None => match super::origin(given, java) {
            Ok(origin) => Of::Configuration(Box::new(origin)),
            Err(_) => return Err("no configuration is named".to_owned()),
        },
        Some(list) => {
            let data = commas(&list);
            if data.is_empty() {
                return Err("--data-dirs names no directory".to_owned());
            }
            Of::Directories(Directories {
                data,
                checkpoint: path_of(given, "checkpoint-dir"),
                backup: path_of(given, "backup-checkpoint-dir"),
                keys: key_names(given),
            })
        }
    };
    Ok(Place { of, channel })
}

fn act(command: &str, given: &ArgMatches, place: &Place) -> Result<Act, String> {
    let format = match text(given, "format").as_deref() {
        Some("json") => ReportFormat::Json,
        _ => ReportFormat::Text,
    };
    let force = is_set(given, "force");
    Ok(match command {
        "verify" => Act::Verify { format, force },
        "inspect" => Act::Inspect { format, force },
        "export" => Act::Export(export(given, force)?),
        "import" => {
            if place.channel.is_none() && matches!(place.of, Of::Directories(_)) {
                return Err("say with --channel <NAME> which channel is to have the events: the name that it has, or is going to have, in the configuration; `splashdam log verify --data-dirs <DIRS>` says which ones the log has already, and with -n and -f a configuration says it".into());
            }
            Act::Import { format, dry_run: is_set(given, "dry-run") }
        }
        _ => {
            let directories = given
                .try_get_many::<String>("directory")
                .ok()
                .flatten()
                .into_iter()
                .flatten()
                .cloned()
                .collect();
            let loss = Loss {
                directories,
                segments: is_set(given, "missing-segments"),
                older: is_set(given, "older-directories"),
                copy: is_set(given, "restored-copy"),
            };
            if loss.is_none() {
                return Err("say what to give up: --directory <DIR>, --missing-segments, --older-directories, --restored-copy".into());
            }
            if !is_set(given, "i-accept-the-loss") {
                return Err("what is given up is lost for good: look at it with `splashdam log verify`, then say --i-accept-the-loss".into());
            }
            Act::Accept(loss)
        }
    })
}

fn export(given: &ArgMatches, force: bool) -> Result<Export, String> {
    let format = text(given, "format");
    let checkpoint = path_of(given, "to-checkpoint-dir");
    let data = text(given, "to-data-dirs").map(|list| commas(&list)).unwrap_or_default();
    if format.as_deref() == Some("flume") {
        let Some(checkpoint) = checkpoint.filter(|_| !data.is_empty()) else {
            return Err(
                "--format flume needs --to-data-dirs <DIRS> and --to-checkpoint-dir <DIR>".into()
            );
        };
        if force || path_of(given, "output").is_some() {
            return Err("--output and --force do not go with --format flume".into());
        }
        return Ok(Export::Flume {
            checkpoint,
            data: data.into_iter().map(PathBuf::from).collect(),
        });
    }
    if checkpoint.is_some() || !data.is_empty() {
        return Err("--to-data-dirs and --to-checkpoint-dir go with --format flume".into());
    }
    let json = format.as_deref() != Some("text");
    Ok(Export::Lines { json, output: path_of(given, "output"), force })
}

/// Reads `tool …`; as in Flume what cannot be used ends with status 1.
pub(super) fn tool(given: &ArgMatches, java: Java) -> Command {
    let refuse = |message: String| Command::Refuse(format!("error: {message}\n"), FAILED);
    let Some(tool) = given.get_one::<String>("tool") else {
        return refuse(format!("name a tool: {INTEGRITY}"));
    };
    if !tool.eq_ignore_ascii_case(INTEGRITY) {
        return refuse(format!("there is no tool {tool}; there is {INTEGRITY}"));
    }
    if let Some(class) = given.get_one::<String>("eventValidator") {
        return refuse(format!(
            "event validator {class} is a Java class, and none is loaded; leave --eventValidator out, and all records are checked without"
        ));
    }
    let directories = given.get_one::<String>("dataDirs").map(|list| commas(list));
    let directories = directories.unwrap_or_default();
    if directories.is_empty() {
        return refuse("name the data directories with -l or --dataDirs".to_owned());
    }
    let mut notes = java.notes;
    for key in java.properties.keys() {
        notes.push(format!(
            "-D{key} is left aside: it is for event validators, which are Java classes"
        ));
    }
    let directories = directories.into_iter().map(PathBuf::from).collect();
    let keys = key_names(given);
    Command::Integrity(Box::new(IntegrityArgs { directories, keys, notes }))
}
