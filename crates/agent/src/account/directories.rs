//! Directories of file channels that are in one another's way. Channels share all directories of a log, or none.

use std::path::{Path, PathBuf};

use splashdam_config::{Diagnostic, Severity};

use super::combinations::of_channel;
use crate::checked::{Checked, CheckedChannel};

/// Types that have a log in `dataDirs`.
const WITH_LOG: [&str; 2] = ["file", "SPILLABLEMEMORY"];

/// Whether a channel of such a type has none: an overflow of nothing.
fn without_overflow(section: &splashdam_config::Section) -> bool {
    section.get("overflowCapacity").is_some_and(|text| text.trim() == "0")
}

/// The directories that are written for a channel; none where it has Flume's default.
struct Places<'c> {
    channel: &'c CheckedChannel,
    data: Vec<PathBuf>,
    /// Where a Flume had its checkpoints.
    checkpoints: Option<PathBuf>,
}

/// All of them.
pub(super) fn findings(checked: &Checked) -> Vec<Diagnostic> {
    let logs: Vec<Places<'_>> = checked.channels.iter().filter_map(places).collect();
    let mut findings = Vec::new();
    for (index, one) in logs.iter().enumerate() {
        findings.extend(named_twice(one));
        findings.extend(logs[..index].iter().filter_map(|other| in_part(one, other)));
        findings.extend(logs.iter().filter_map(|other| checkpoints_in_data(one, other)));
    }
    findings
}

fn places(channel: &CheckedChannel) -> Option<Places<'_>> {
    let kind = channel.part.entry.name;
    let section = &channel.part.section;
    // `a`, `a/` and `./a/.` are one.
    let path = |written: &str| Path::new(written.trim()).components().collect::<PathBuf>();
    let written = section.get("dataDirs").unwrap_or_default().split(',').map(path);
    let with_log = WITH_LOG.iter().any(|with| with.eq_ignore_ascii_case(kind));
    (with_log && !without_overflow(section)).then(|| Places {
        channel,
        data: written.filter(|path| !path.as_os_str().is_empty()).collect(),
        checkpoints: section.get("checkpointDir").map(path),
    })
}

fn named_twice(one: &Places<'_>) -> Option<Diagnostic> {
    let earlier = |(index, path): &(usize, &PathBuf)| one.data[..*index].contains(path);
    let (_, twice) = one.data.iter().enumerate().find(earlier)?;
    let message = format!("`dataDirs` names {} twice", twice.display());
    let finding = Diagnostic::error("shared-place", message)
        .with_note("the channel does not open: each directory has a part of its log")
        .help("name each directory once");
    Some(at(one, "dataDirs", finding))
}

fn in_part(one: &Places<'_>, other: &Places<'_>) -> Option<Diagnostic> {
    let common = one.data.iter().find(|path| other.data.contains(path))?;
    let within = |a: &Places<'_>, b: &Places<'_>| a.data.iter().all(|path| b.data.contains(path));
    if within(one, other) && within(other, one) {
        return None;
    }
    let (name, first) = (&one.channel.name, &other.channel.name);
    let message = format!(
        "channels {first} and {name} share {} and not all of their `dataDirs`",
        common.display()
    );
    let finding = Diagnostic::error("shared-place", message)
        .with_note("the one that opens last does not open: channels share all directories or none")
        .help("give both the same `dataDirs`, or each its own");
    Some(at(one, "dataDirs", finding))
}

/// What Flume had in two directories is looked for in two directories.
fn checkpoints_in_data(one: &Places<'_>, other: &Places<'_>) -> Option<Diagnostic> {
    let checkpoints = one.checkpoints.as_ref().filter(|path| other.data.contains(path))?;
    let whose = match one.channel.name == other.channel.name {
        true => "this channel".to_owned(),
        false => format!("channel {}", other.channel.name),
    };
    let message =
        format!("`checkpointDir` {} is among the `dataDirs` of {whose}", checkpoints.display());
    let finding = Diagnostic::new(Severity::Warning, "shared-place", message)
        .with_note("a Flume with this configuration does not start")
        .help("name the directory where a Flume had its checkpoints, or remove the line");
    Some(at(one, "checkpointDir", finding))
}

fn at(one: &Places<'_>, key: &str, finding: Diagnostic) -> Diagnostic {
    let section = &one.channel.part.section;
    of_channel(one.channel, finding).at(section.value_span(key).or(section.span()))
}
