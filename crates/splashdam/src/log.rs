//! `splashdam log`: a file channel's log while no agent runs it.

mod lines;
pub(crate) mod progress;
mod report;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::json;
use splashdam_components::channels::file::offline::{
    self, Loss, Notice, Passed, Stored, ToolError,
};
use splashdam_components::channels::file::{self, Config, Imported, Step};
use splashdam_config::diagnostic::escaped;
use splashdam_config::{CommaList, Section};
use splashdam_core::World;

use crate::check::{self, Reading};
use crate::cli::log::{Act, Directories, Export, KeyNames, LogArgs, Of, Place};
use crate::cli::{FAILED, ReportFormat};
use crate::render::{self, Look};
use crate::world::Machine;
use progress::Bar;

/// A channel's configuration, from wherever it came.
struct Channel {
    config: Config,
    home: PathBuf,
    name: Option<String>,
}

/// Runs `splashdam log`: answers the exit status.
pub(crate) fn run(args: &LogArgs) -> io::Result<u8> {
    let channel = match channel(&args.place) {
        Ok(channel) => channel,
        Err(why) => return refused(&why),
    };
    let done = match &args.act {
        Act::Verify { format, force } => look(&channel, *format, *force, false),
        Act::Inspect { format, force } => look(&channel, *format, *force, true),
        Act::Export(export) => write_events(&channel, export),
        Act::Import { format, dry_run } => import(&channel, *format, *dry_run),
        Act::Accept(loss) => accept(&channel, loss),
    };
    match done {
        Ok(status) => Ok(status),
        Err(Trouble::Tool(error)) => refused(&error.to_string()),
        Err(Trouble::Io(error)) => Err(error),
    }
}

/// Why an act ended early.
enum Trouble {
    Tool(ToolError),
    Io(io::Error),
}

impl From<ToolError> for Trouble {
    fn from(error: ToolError) -> Self {
        Trouble::Tool(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Io(error)
    }
}

pub(crate) fn refused(why: &str) -> io::Result<u8> {
    writeln!(io::stderr(), "error: {}", escaped(why, true))?;
    Ok(FAILED)
}

fn say(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(escaped(text, true).as_bytes())
}

fn channel(place: &Place) -> Result<Channel, String> {
    match &place.of {
        Of::Directories(directories) => Ok(Channel {
            config: config_of(directories),
            home: Machine::default().home(),
            name: place.channel.clone(),
        }),
        Of::Configuration(origin) => {
            let Reading { sources, checked, findings, .. } = check::read(origin);
            let look = Look { colours: false, width: 120 };
            let errors = findings.iter().filter(|finding| finding.is_error());
            let errors: String =
                errors.map(|finding| render::finding(finding, &sources, look) + "\n").collect();
            let Some(checked) = checked else {
                return Err(format!("the configuration does not run\n{errors}"));
            };
            let is_file = |kind: &str| {
                matches!(kind.to_ascii_lowercase().as_str(), "file" | "spillablememory")
            };
            let files: Vec<_> = checked
                .channels
                .iter()
                .filter(|channel| is_file(channel.part.entry.name))
                .filter(|channel| {
                    place.channel.as_deref().is_none_or(|name| *channel.name == *name)
                })
                .collect();
            let found = match &files[..] {
                [found] => found,
                [] => {
                    let name = place.channel.as_deref().map_or(String::new(), |n| format!(" {n}"));
                    return Err(format!(
                        "the configuration has no file channel{name} that runs\n{errors}"
                    ));
                }
                several => {
                    let names: Vec<_> = several.iter().map(|channel| &*channel.name).collect();
                    return Err(format!(
                        "the configuration has several file channels; say which with --channel: {}",
                        names.join(", ")
                    ));
                }
            };
            let config = found.part.section.read::<Config>().value;
            Ok(Channel {
                config: config
                    .ok_or_else(|| format!("channel {} cannot be read\n{errors}", found.name))?,
                home: Machine::new(origin.properties.clone()).home(),
                name: Some(found.name.to_string()),
            })
        }
    }
}

/// A channel with these directories and keys, and defaults for the rest.
pub(crate) fn config_of(directories: &Directories) -> Config {
    let mut config = Config {
        data_dirs: CommaList(directories.data.clone()),
        checkpoint_dir: directories.checkpoint.clone(),
        use_dual_checkpoints: directories.backup.is_some(),
        backup_checkpoint_dir: directories.backup.clone(),
        ..Config::default()
    };
    if config.checkpoint_dir.is_none() {
        // That of the home directory belongs to some other channel.
        config.checkpoint_dir = directories.data.first().map(PathBuf::from);
    }
    if let Some(KeyNames { store, password, key_password, aliases }) = &directories.keys {
        let escape = |text: &str| text.replace('\\', "\\\\");
        let mut keys = format!(
            "p = JCEKSFILE\np.keyStoreFile = {}\np.keyStorePasswordFile = {}\np.keys = {}\n",
            escape(store),
            escape(password),
            escape(aliases)
        );
        for (alias, file) in aliases.split_whitespace().zip(key_password.iter().cycle()) {
            let line = format!("p.keys.{}.passwordFile = {}\n", escape(alias), escape(file));
            keys.push_str(&line);
        }
        config.key_provider = Section::parse(&keys).section("p");
        config.cipher_provider = Some("AESCTRNOPADDING".to_owned());
        config.active_key = aliases.split_whitespace().next().map(str::to_owned);
    }
    config
}

/// `verify` and `inspect`.
fn look(
    channel: &Channel,
    format: ReportFormat,
    force: bool,
    details: bool,
) -> Result<u8, Trouble> {
    let stored = Stored::open(&channel.config, &channel.home, force)?;
    let mut bar = Bar::new("reading");
    let report = stored.verify(|done, of| bar.at(done, of));
    drop(bar);
    let cut_off = stored.cut_off_import();
    let text = match format {
        ReportFormat::Json => report::json(&report, cut_off),
        ReportFormat::Text => report::text(&report, cut_off, details),
    };
    say(&text)?;
    Ok(if report.sound() { 0 } else { FAILED })
}

fn write_events(channel: &Channel, export: &Export) -> Result<u8, Trouble> {
    match export {
        Export::Lines { json, output, force } => {
            let stored = Stored::open(&channel.config, &channel.home, *force)?;
            let queue = stored.queue(channel.name.as_deref())?;
            let passed = lines::write(&stored, queue, *json, output.as_deref())?;
            Ok(told(&stored, &passed)?)
        }
        Export::Flume { checkpoint, data } => {
            let stored = Stored::open(&channel.config, &channel.home, false)?;
            let queue = stored.queue(channel.name.as_deref())?;
            let mut bar = Bar::new("writing");
            let (written, passed) =
                stored.export_flume(queue, checkpoint, data, |events| bar.count(events))?;
            drop(bar);
            say(&format!(
                "{} events in {} logs of {} bytes; give Flume's channel a capacity of {} or more\n\
                 the checkpoint directory is empty: Flume makes its checkpoint out of the logs when it starts\n",
                written.events,
                written.logs,
                written.bytes,
                written.events.max(1)
            ))?;
            Ok(told(&stored, &passed)?)
        }
    }
}

/// What was missing, to standard error.
fn told(stored: &Stored, passed: &Passed) -> io::Result<u8> {
    let mut errors = io::stderr().lock();
    if let Some(queue) = stored.cut_off_import() {
        writeln!(
            errors,
            "warning: an import into channel {queue} was cut off; what it holds so far is thrown away when it opens"
        )?;
    }
    for damage in &passed.damage {
        writeln!(errors, "error: {}", escaped(&damage.to_string(), false))?;
    }
    if passed.undecodable > 0 {
        writeln!(errors, "error: {} stored events cannot be read", passed.undecodable)?;
    }
    Ok(if passed.whole() { 0 } else { FAILED })
}

fn import(channel: &Channel, format: ReportFormat, dry_run: bool) -> Result<u8, Trouble> {
    let name = channel.name.clone().unwrap_or_default();
    let mut bar = Bar::new(if dry_run { "counting" } else { "importing" });
    let mut changed = false;
    let imported = offline::import(&channel.config, &channel.home, &name, dry_run, &mut |step| {
        match step {
            Step::Reading(progress) => bar.at(progress.done_bytes, progress.all_bytes),
            Step::Stored { events, of } => bar.at(events, of),
            Step::ChangedSince => changed = true,
            _ => {}
        }
        ControlFlow::Continue(())
    });
    drop(bar);
    let imported = imported?;
    if changed {
        writeln!(
            io::stderr(),
            "warning: flume's files have changed since they were taken over, and are not taken over again"
        )?;
    }
    let text = match format {
        ReportFormat::Json => imported_json(imported.as_ref(), dry_run),
        ReportFormat::Text => imported_text(imported.as_ref(), &name, dry_run),
    };
    say(&text)?;
    let whole = imported.is_none_or(|imported| imported.unreadable + imported.counts.damaged == 0);
    Ok(if whole { 0 } else { FAILED })
}

fn imported_json(imported: Option<&Imported>, dry_run: bool) -> String {
    let value = match imported {
        None => json!({ "found": false }),
        Some(imported) => {
            let counts = &imported.counts;
            let damages: Vec<_> = imported.damages.iter().map(ToString::to_string).collect();
            json!({
                "found": true,
                "imported": !dry_run,
                "events": imported.events,
                "unreadable": imported.unreadable,
                "may_repeat": imported.may_repeat,
                "counts": {
                    "from_checkpoint": counts.from_checkpoint,
                    "puts": counts.puts,
                    "takes": counts.takes,
                    "commits": counts.commits,
                    "rollbacks": counts.rollbacks,
                    "open_transactions": counts.open_transactions,
                    "returned": counts.returned,
                    "struck_out": counts.struck_out,
                    "torn_logs": counts.torn_logs,
                    "damaged": counts.damaged,
                },
                "damage": damages,
            })
        }
    };
    format!("{value:#}\n")
}

fn imported_text(imported: Option<&Imported>, name: &str, dry_run: bool) -> String {
    let Some(imported) = imported else {
        return "nothing to import: there is no channel of Flume's, or it was taken over before\n"
            .to_owned();
    };
    let events = imported.events;
    let mut text = match dry_run {
        true => format!("{events} events would be imported into channel {name}\n"),
        false => format!(
            "{events} events imported into channel {name}; Flume's files stay where they are\n"
        ),
    };
    match &imported.origin {
        file::flume::Origin::Checkpoint => {}
        file::flume::Origin::Backup(why) | file::flume::Origin::Logs(why) => {
            text += &format!("flume's checkpoint could not be used: {why}\n");
        }
    }
    let counts = &imported.counts;
    for (count, what) in [
        (imported.unreadable, "queued events cannot be read"),
        (counts.damaged, "places in the logs are damaged"),
        (
            counts.open_transactions,
            "transactions had no end; what they put is not delivered, as in Flume",
        ),
        (counts.returned, "events were taken and not committed, and come again"),
        (counts.struck_out, "records were struck out by Flume's integrity tool"),
        (counts.torn_logs, "logs end in half a record, as a crash leaves them"),
    ] {
        if count > 0 {
            text += &format!("{count} {what}\n");
        }
    }
    if imported.may_repeat {
        text +=
            "events that Flume had delivered may come again: several directories, no checkpoint\n";
    }
    for damage in &imported.damages {
        text += &format!("{damage}\n");
    }
    text
}

fn accept(channel: &Channel, loss: &Loss) -> Result<u8, Trouble> {
    let notices = offline::accept(&channel.config, &channel.home, loss.clone())?;
    let mut text = String::new();
    for notice in &notices {
        text += &match notice {
            Notice::GivenUp { place, what } => format!("given up: {what} in {place}\n"),
            Notice::Damaged(damage) => format!("set aside: {damage}\n"),
            Notice::TailCut { place, segment, offset } => {
                format!(
                    "cut: what was never acknowledged, from {offset} of segment {segment} in {place} on\n"
                )
            }
            other => format!("{other:?}\n"),
        };
    }
    if !notices.iter().any(|notice| matches!(notice, Notice::GivenUp { .. })) {
        text += "nothing had to be given up\n";
    }
    if !loss.directories.is_empty() {
        text += "take the directories that left out of dataDirs, too\n";
    }
    say(&text)?;
    Ok(0)
}
