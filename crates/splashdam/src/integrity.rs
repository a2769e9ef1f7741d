//! `tool FCINTEGRITYTOOL`: Flume's look at every record of file channels.
//!
//! Flume's class: `org.apache.flume.tools.FileChannelIntegrityTool`. The summary has its lines.

use std::io::{self, Write};
use std::path::PathBuf;

use splashdam_components::channels::file::offline::{self, Stored, ToolError};
use splashdam_config::diagnostic::escaped;
use splashdam_core::World;

use crate::cli::FAILED;
use crate::cli::log::{Directories, IntegrityArgs};
use crate::log::progress::Bar;
use crate::log::{config_of, refused};
use crate::world::Machine;

/// What Flume's tool counts.
#[derive(Debug, Default)]
struct Summary {
    records: u64,
    puts: u64,
    invalid: u64,
    corrupt: u64,
    /// What else is to be said.
    lines: Vec<String>,
}

/// Runs the tool; answers the exit status.
pub(crate) fn run(args: &IntegrityArgs) -> io::Result<u8> {
    for note in &args.notes {
        writeln!(io::stderr(), "note: {}", escaped(note, false))?;
    }
    match look(args) {
        Ok(summary) => {
            io::stdout().lock().write_all(escaped(&summary.text(), true).as_bytes())?;
            Ok(if summary.invalid + summary.corrupt > 0 { FAILED } else { 0 })
        }
        Err(error) => refused(&error.to_string()),
    }
}

fn look(args: &IntegrityArgs) -> Result<Summary, ToolError> {
    let mut summary = Summary::default();
    let (ours, of_flume): (Vec<_>, Vec<_>) =
        args.directories.iter().cloned().partition(|path| offline::is_ours(path));
    let named = |paths: &[PathBuf]| {
        let data = paths.iter().map(|path| path.display().to_string()).collect();
        config_of(&Directories { data, keys: args.keys.clone(), ..Directories::default() })
    };
    if !ours.is_empty() {
        let stored = Stored::open(&named(&ours), &Machine::default().home(), false)?;
        let mut bar = Bar::new("reading");
        let report = stored.verify(|done, of| bar.at(done, of));
        drop(bar);
        stored.set_aside(&report)?;
        for one in &report.directories {
            for segment in &one.segments {
                summary.records += segment.events;
                summary.puts += segment.events;
            }
            summary.corrupt += one.damage.len() as u64 + one.missing.len() as u64;
            let aside = |damage| format!("{damage}; set aside");
            summary.lines.extend(one.damage.iter().map(aside));
            for entry in &one.missing {
                let (number, place) = (entry.number, &one.place);
                summary.lines.push(format!("segment {number} is missing or cut short in {place}"));
            }
        }
    }
    if !of_flume.is_empty() {
        let mut bar = Bar::new("reading");
        let config = named(&of_flume);
        let found = offline::flume_records(&of_flume, &config, &mut |done, of| bar.at(done, of))?;
        drop(bar);
        if let Some(found) = found {
            let counts = &found.counts;
            summary.records += counts.puts + counts.takes + counts.commits + counts.rollbacks;
            summary.puts += counts.puts;
            summary.invalid += found.invalid_puts;
            summary.corrupt += counts.damaged;
            summary.lines.extend(found.damages.iter().map(ToString::to_string));
        }
    }
    Ok(summary)
}

impl Summary {
    fn text(&self) -> String {
        let Summary { records, puts, invalid, corrupt, lines } = self;
        let valid = puts - invalid;
        let mut text = String::new();
        for line in lines {
            text = text + line + "\n";
        }
        text + &format!(
            "---------- Summary --------------------\n\
             Number of Events in the Channel = {records}\n\
             Number of Put Events Processed = {puts}\n\
             Number of Valid Put Events = {valid}\n\
             Number of Invalid Put Events = {invalid}\n\
             Number of Put Events that threw Exception during validation = 0\n\
             Number of Corrupt Events = {corrupt}\n\
             ---------------------------------------\n"
        )
    }
}
