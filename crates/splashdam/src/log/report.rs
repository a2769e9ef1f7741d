//! What a log holds and how it is, for people and for machines.

use std::fmt::Write as _;

use serde_json::{Value, json};
use splashdam_components::channels::file::offline::{
    Damage, DirectoryReport, Report, SegmentEntry, SegmentReport,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// Milliseconds since 1970 as people read them.
fn time(millis: u64) -> String {
    let stamp =
        i64::try_from(millis).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| format!("{millis} ms"), |stamp| stamp.to_string())
}

/// `docs/log.md` says what is in it.
pub(super) fn json(report: &Report, cut_off: Option<&str>) -> String {
    let value = json!({
        "sound": report.sound(),
        "log": hex(&report.log),
        "import_cut_off": cut_off,
        "absent": report.absent,
        "queues": report.queues.iter().map(|queue| json!({
            "name": queue.name,
            "id": queue.id,
            "queued": queue.queued,
            "low": queue.low,
            "next": queue.next,
        })).collect::<Vec<_>>(),
        "directories": report.directories.iter().map(directory).collect::<Vec<_>>(),
        "senders": report.senders.iter().map(|last| json!({
            "sender": hex(&last.origin.sender),
            "epoch": last.origin.epoch,
            "sequence": last.origin.sequence,
            "seen": last.seen,
        })).collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

fn directory(one: &DirectoryReport) -> Value {
    json!({
        "place": one.place,
        "watermark": one.watermark,
        "last_lsn": one.last_lsn,
        "seen_lsn": one.seen_lsn,
        "tail_frames": one.tail_frames,
        "cut": one.cut.map(|(segment, offset)| json!({ "segment": segment, "offset": offset })),
        "damage": one.damage.iter().map(damage).collect::<Vec<_>>(),
        "missing": one.missing.iter().map(missing).collect::<Vec<_>>(),
        "segments": one.segments.iter().map(segment).collect::<Vec<_>>(),
    })
}

fn damage(one: &Damage) -> Value {
    let lsns = one.lsns.as_ref().map(|lsns| [*lsns.start(), *lsns.end()]);
    json!({ "segment": one.segment, "offset": one.offset, "bytes": one.bytes, "lsns": lsns })
}

fn missing(one: &SegmentEntry) -> Value {
    json!({ "segment": one.number, "events": one.events })
}

fn segment(one: &SegmentReport) -> Value {
    json!({
        "segment": one.number,
        "bytes": one.bytes,
        "begun": one.begun,
        "key": one.alias,
        "puts": one.puts,
        "events": one.events,
        "takes": one.takes,
        "cursors": one.cursors,
        "compressed": one.compressed,
        "encrypted": one.encrypted,
        "first_put": one.times.map(|times| times.0),
        "last_put": one.times.map(|times| times.1),
    })
}

/// With `details` also every segment and every sender.
pub(super) fn text(report: &Report, cut_off: Option<&str>, details: bool) -> String {
    let mut lines = vec![format!("log {}", hex(&report.log))];
    for queue in &report.queues {
        let (name, queued) = (&queue.name, queue.queued);
        lines.push(format!("channel {name}: {queued} events queued, {} put so far", queue.next));
    }
    if let Some(queue) = cut_off {
        lines.push(format!(
            "an import into channel {queue} was cut off; what it holds is thrown away when it opens"
        ));
    }
    for one in &report.directories {
        let (segments, bytes) =
            (one.segments.len(), one.segments.iter().map(|segment| segment.bytes).sum::<u64>());
        lines.push(format!("{}: {segments} segments, {bytes} bytes", one.place));
        if details {
            lines.extend(one.segments.iter().map(segment_line));
        }
        for damage in &one.damage {
            lines.push(format!("  damaged: {damage}"));
        }
        for entry in &one.missing {
            let (number, events) = (entry.number, entry.events);
            lines.push(format!("  missing or cut short: segment {number} with {events} events"));
        }
        if one.seen_lsn > one.last_lsn {
            let (last, seen) = (one.last_lsn, one.seen_lsn);
            lines.push(format!(
                "  older than the others: it ends at frame {last}, and frame {seen} was seen in it"
            ));
        }
        if one.tail_frames > 0 {
            lines
                .push(format!("  {} frames at the end that the next start keeps", one.tail_frames));
        }
        if let Some((segment, offset)) = one.cut {
            lines.push(format!("  the next start cuts what was never acknowledged, from {offset} of segment {segment} on"));
        }
    }
    for place in &report.absent {
        lines.push(format!("{place}: belongs to the log and was not named"));
    }
    if details {
        lines.extend(report.senders.iter().map(|last| {
            let (sender, origin) = (hex(&last.origin.sender), &last.origin);
            let seen = time(last.seen);
            format!("sender {sender}: epoch {}, sequence {}, {seen}", origin.epoch, origin.sequence)
        }));
    }
    lines.push(match report.sound() {
        true => "sound".to_owned(),
        false => "not sound: what is damaged, missing or absent is named above".to_owned(),
    });
    lines.join("\n") + "\n"
}

fn segment_line(one: &SegmentReport) -> String {
    let SegmentReport { number, bytes, puts, events, takes, .. } = one;
    let mut line =
        format!("  segment {number}: {bytes} bytes, {events} events in {puts} puts, {takes} takes");
    if let Some((first, last)) = one.times {
        line += &format!(", {} to {}", time(first), time(last));
    }
    if one.compressed > 0 {
        line += &format!(", {} compressed", one.compressed);
    }
    if let Some(alias) = &one.alias {
        line += &format!(", encrypted with key {alias}");
    }
    line
}
