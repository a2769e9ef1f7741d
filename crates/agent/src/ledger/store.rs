//! A channel's part of the ledger, in two files beside its data: `ledger-NAME.json`, the whole, written when a minute
//! is over, and `ledger-NAME.now.json`, the totals and the minute under way, written once a second while something
//! changes. Each is written aside and renamed. Either may be missing; the log's counts make up for what is not there.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use splashdam_core::Cause;
use splashdam_core::ledger::Pages;

/// More than a day of minutes with a hundred paths.
const LIMIT_BYTES: u64 = 64 << 20;

/// What lies in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    /// When this ledger began, in milliseconds since 1970.
    pub(super) since: i64,
    /// When it was written, likewise.
    pub(super) at: i64,
    /// Events that were put before it began, by the log's count.
    pub(super) put_before: i64,
    #[serde(flatten)]
    pub(super) pages: Pages,
}

/// Writes the minute under way, and all when `whole`. Blocking.
pub(super) fn write(place: &Path, channel: &str, saved: &Saved, whole: bool) -> io::Result<()> {
    let [all, now] = paths(place, channel);
    if whole {
        write_file(&all, saved, true)?;
    }
    let mut short = saved.clone();
    let last = short.pages.minutes.pop();
    // Two minutes, as the one before may have grown after it was written in the other file.
    let before = short.pages.minutes.pop();
    short.pages.minutes = before.into_iter().chain(last).collect();
    write_file(&now, &short, false)
}

/// Reads what there is; `None` when there is nothing. Blocking.
pub(super) fn read(place: &Path, channel: &str) -> Result<Option<Saved>, Cause> {
    let [all, now] = paths(place, channel);
    let (all, now) = (read_file(&all)?, read_file(&now)?);
    let (Some(mut all), Some(now)) = (all.clone(), now.clone()) else { return Ok(all.or(now)) };
    if now.at < all.at {
        return Ok(Some(all));
    }
    let newer = |minute: i64| now.pages.minutes.iter().any(|newer| newer.minute == minute);
    all.pages.minutes.retain(|old| !newer(old.minute));
    all.pages.minutes.extend(now.pages.minutes.iter().cloned());
    all.pages.minutes.sort_by_key(|minute| minute.minute);
    let minutes = std::mem::take(&mut all.pages.minutes);
    Ok(Some(Saved { pages: Pages { minutes, totals: now.pages.totals.clone() }, ..now }))
}

fn paths(place: &Path, channel: &str) -> [PathBuf; 2] {
    // Whatever a channel may be called, it is the name of a file here.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let letter = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }
    };
    let name: String = channel.bytes().map(letter).collect();
    [place.join(format!("ledger-{name}.json")), place.join(format!("ledger-{name}.now.json"))]
}

fn write_file(path: &Path, saved: &Saved, sync: bool) -> io::Result<()> {
    let aside = path.with_extension("tmp");
    let mut file = File::create(&aside)?;
    file.write_all(&serde_json::to_vec(saved)?)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(aside, path)
}

/// A file that was cut off by a crash of the machine is none.
fn read_file(path: &Path) -> Result<Option<Saved>, Cause> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LIMIT_BYTES).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    Ok(serde_json::from_slice(&bytes).ok())
}
