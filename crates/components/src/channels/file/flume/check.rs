//! A look at every record of every log, whatever a checkpoint says of it
//! (`org.apache.flume.tools.FileChannelIntegrityTool`).

use std::collections::BTreeMap;

use super::error::{Damage, Error};
use super::events::Reader;
use super::record::Kind;
use super::replay::{Counts, Progress};
use super::scan::{Found, Scan};
use super::{FlumeChannel, Keys};

/// So much damage is named; more is counted.
const NAMED_DAMAGE: usize = 100;
/// Records from one report of progress to the next.
const PROGRESS_RECORDS: u64 = 4096;

/// What a look at all records found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Records, by their kinds, and damaged places.
    pub counts: Counts,
    /// Puts whose event cannot be read.
    pub invalid_puts: u64,
    /// The first hundred damaged places and events.
    pub damages: Vec<Damage>,
}

/// See [`FlumeChannel::check`].
pub(super) fn check(
    channel: &FlumeChannel,
    keys: Option<Keys<'_>>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Checked, Error> {
    let mut layouts = BTreeMap::new();
    for (id, log) in &channel.files {
        layouts.insert(*id, log.layout(keys)?);
    }
    let mut reader = Reader::new(&channel.files, layouts);
    let (all_bytes, mut before, mut checked) = (channel.bytes(), 0, Checked::default());
    let name = |checked: &mut Checked, damage| {
        if checked.damages.len() < NAMED_DAMAGE {
            checked.damages.push(damage);
        }
    };
    for (id, log) in &channel.files {
        let layout = log.layout(keys)?;
        let mut scan = Scan::begin(*id, log, &layout, i64::MIN)?;
        let mut seen = 0_u64;
        while let Some(found) = scan.next()? {
            let counts = &mut checked.counts;
            match found {
                Found::Damage(damage) => {
                    counts.damaged += 1;
                    name(&mut checked, damage);
                }
                Found::Record(pointer, record) => match record.kind {
                    Kind::Put => {
                        counts.puts += 1;
                        match reader.read(pointer) {
                            Ok(_) => {}
                            Err(Error::Damaged(damage)) => {
                                checked.invalid_puts += 1;
                                name(&mut checked, damage);
                            }
                            Err(error) => return Err(error),
                        }
                    }
                    Kind::Take(_) => counts.takes += 1,
                    Kind::Rollback => counts.rollbacks += 1,
                    Kind::CommitOfPuts | Kind::CommitOfTakes => counts.commits += 1,
                },
            }
            seen += 1;
            if seen.is_multiple_of(PROGRESS_RECORDS) {
                progress(Progress { done_bytes: before + scan.position(), all_bytes });
            }
        }
        checked.counts.struck_out += scan.struck_out;
        checked.counts.torn_logs += u64::from(scan.torn);
        before += log.length;
        progress(Progress { done_bytes: before, all_bytes });
    }
    Ok(checked)
}
