//! What a call says of where its events come from: an Avro call in its metadata, a Thrift call in a
//! field that Flume's service does not know; Flume ignores either.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version: 1 |
//! | 16 | sender: the queue that the events lie in |
//! | number | low: every event numbered below has been delivered, and is not sent again |
//! | number | how many ranges follow, then each: first number less the end of the range before, count |
//!
//! The ranges are the numbers that the queue gave the call's events, in the order of the events.
//! Numbers stay with their events across rollbacks and restarts and are never given twice, so a
//! receiver that remembers which it has, above `low`, can tell what comes again, whatever the
//! borders of the batches and whichever of the queue's sinks sends it.

use std::ops::Range;

use bytes::Bytes;
use splashdam_core::{Malformed, Place};

use crate::avro::datum::{Reader, put_number};

/// The name of the metadata of an Avro call.
pub const KEY: &[u8] = b"splashdam.origin";

/// The only version there is.
const VERSION: u8 = 1;
/// The most ranges that are read.
pub const MOST_RANGES: usize = 4096;

/// Which events of which queue a call carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The queue.
    pub sender: [u8; 16],
    /// Every event numbered below is settled.
    pub low: u64,
    /// The numbers of the events; ascending, none empty.
    pub ranges: Vec<Range<u64>>,
}

impl Claim {
    /// What is said of a lease that lies there.
    pub fn of(place: &Place) -> Claim {
        Claim { sender: place.queue, low: place.low, ranges: place.ranges.clone() }
    }

    /// What speaks of the first `events`, and what of the rest. The first is no longer than both.
    pub fn split(&self, events: u64) -> (Claim, Claim) {
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        let mut left = events;
        for range in &self.ranges {
            let count = left.min(range.end - range.start);
            left -= count;
            let middle = range.start + count;
            first.extend((count > 0).then_some(range.start..middle));
            rest.extend((middle < range.end).then_some(middle..range.end));
        }
        let part = |ranges| Claim { sender: self.sender, low: self.low, ranges };
        (part(first), part(rest))
    }

    /// Whether a peer reads it: it may name so many ranges only.
    pub fn is_readable(&self) -> bool {
        self.ranges.len() <= MOST_RANGES
    }

    /// How many events it speaks of.
    pub fn events(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Appends it. Numbers are below 2^62, as nobody counts further.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.sender);
        put(self.low, out);
        put_ranges(&self.ranges, out);
    }

    /// Reads one that is all of `input`; `None` if it is of a version to come.
    pub fn read(input: &Bytes) -> Result<Option<Claim>, Malformed> {
        let mut reader = Reader::new(input);
        if reader.fixed()? != [VERSION] {
            return Ok(None);
        }
        let sender = reader.fixed()?;
        let low = read(&mut reader)?;
        let ranges = read_ranges(&mut reader)?;
        match reader.left() {
            0 => Ok(Some(Claim { sender, low, ranges })),
            _ => Err(reader.malformed("bytes behind the origin")),
        }
    }
}

fn put(number: u64, out: &mut Vec<u8>) {
    put_number(usize::try_from(number).unwrap_or(usize::MAX), out);
}

fn read(input: &mut Reader<'_>) -> Result<u64, Malformed> {
    u64::try_from(input.number()?).map_err(|_| input.malformed("a negative number"))
}

/// Appends ranges that ascend.
pub fn put_ranges(ranges: &[Range<u64>], out: &mut Vec<u8>) {
    put_number(ranges.len(), out);
    let mut end = 0;
    for range in ranges {
        put(range.start - end, out);
        put(range.end - range.start, out);
        end = range.end;
    }
}

/// Reads ranges that ascend, at most [`MOST_RANGES`].
pub fn read_ranges(input: &mut Reader<'_>) -> Result<Vec<Range<u64>>, Malformed> {
    let count = read(input)?;
    if count > MOST_RANGES as u64 {
        return Err(input.malformed("more ranges than an origin may have"));
    }
    let mut end = 0_u64;
    let mut ranges = Vec::new();
    for _ in 0..count {
        let start = end.checked_add(read(input)?);
        let range = start.and_then(|start| Some((start, read(input).ok()?)));
        let range = range.and_then(|(start, count)| Some(start..start.checked_add(count)?));
        let Some(range) = range.filter(|range| !range.is_empty()) else {
            return Err(input.malformed("a range that is none"));
        };
        end = range.end;
        ranges.push(range);
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(
            low in 0_u64..1 << 62,
            steps in prop::collection::vec((0_u64..1000, 1_u64..1000), 0..50),
            cut in 0_u64..30_000,
        ) {
            let mut end = 0;
            let ranges = steps.iter().map(|(gap, count)| {
                let start = end + gap;
                end = start + count;
                start..end
            });
            let claim = Claim { sender: [3; 16], low, ranges: ranges.collect() };
            let mut bytes = Vec::new();
            claim.put(&mut bytes);
            let whole = Bytes::from(bytes);
            prop_assert_eq!(Claim::read(&whole), Ok(Some(claim.clone())));
            let (first, rest) = claim.split(cut);
            prop_assert_eq!(first.events(), claim.events().min(cut));
            let numbers = |claim: &Claim| claim.ranges.iter().flat_map(Clone::clone).collect::<Vec<_>>();
            prop_assert_eq!([numbers(&first), numbers(&rest)].concat(), numbers(&claim));
            prop_assert!(first.ranges.iter().chain(&rest.ranges).all(|range| !range.is_empty()));
            let mut shorter = Vec::new();
            first.put(&mut shorter);
            prop_assert!(shorter.len() <= whole.len());
            for end in 1..whole.len() {
                prop_assert!(Claim::read(&whole.slice(..end)).is_err());
            }
        }

        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let bytes = Bytes::from([&[VERSION][..], &[1; 16], &bytes].concat());
            if let Ok(Some(claim)) = Claim::read(&bytes) {
                prop_assert!(claim.ranges.is_sorted_by_key(|range| range.start));
                prop_assert!(claim.ranges.iter().all(|range| !range.is_empty()));
                prop_assert!(claim.events() <= 1 << 63);
            }
        }
    }

    #[test]
    fn a_version_to_come_says_nothing() {
        assert_eq!(Claim::read(&Bytes::from_static(b"\x02whatever")), Ok(None));
    }
}
