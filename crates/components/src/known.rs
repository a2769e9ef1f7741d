//! Which events of a queue have been stored or written: as the numbers that the queue gave them.
//!
//! All below `low` are settled, whoever has them; above it ranges say which are here. The set is
//! small: numbers between `low` and the newest are those that the sender's sinks have in hand, or
//! that went to other receivers meanwhile.

use std::ops::Range;

use bytes::Bytes;
use splashdam_wire::avro::datum::Reader;
use splashdam_wire::claim::{Claim, put_ranges, read_ranges};

/// The most ranges remembered. Beyond them the lowest are forgotten: events that come again from
/// there are stored again.
const MOST_RANGES: usize = 1024;

/// The numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    low: u64,
    /// Ascending and apart.
    ranges: Vec<Range<u64>>,
}

impl Known {
    /// All numbers below this are settled.
    pub(crate) fn low(&self) -> u64 {
        self.low
    }

    /// Forgets all numbers from `end` on.
    pub(crate) fn forget_from(&mut self, end: u64) {
        self.low = self.low.min(end);
        self.ranges.retain(|known| known.start < end);
        if let Some(last) = self.ranges.last_mut() {
            last.end = last.end.min(end);
        }
    }

    /// What of a claim is not known: ranges of indexes into its events.
    pub(crate) fn fresh(&self, claim: &Claim) -> Vec<Range<usize>> {
        let mut fresh: Vec<Range<usize>> = Vec::new();
        let mut before = 0;
        for range in &claim.ranges {
            let mut at = range.start;
            let settled = (at < self.low).then_some(0..self.low);
            let first = self.ranges.partition_point(|known| known.end <= at);
            let known = settled.into_iter().chain(self.ranges[first..].iter().cloned());
            let gap = |from: u64, to: u64| {
                let index = |number: u64| {
                    before + usize::try_from(number - range.start).unwrap_or(usize::MAX)
                };
                index(from)..index(to)
            };
            for known in known {
                if known.start >= range.end {
                    break;
                }
                if at < known.start {
                    fresh.push(gap(at, known.start));
                }
                at = at.max(known.end.min(range.end));
            }
            if at < range.end {
                fresh.push(gap(at, range.end));
            }
            before += usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        }
        fresh
    }

    /// Adds a claim's numbers.
    pub(crate) fn add(&mut self, claim: &Claim) {
        self.low = self.low.max(claim.low);
        for range in &claim.ranges {
            let (mut start, mut end) = (range.start, range.end);
            let first = self.ranges.partition_point(|known| known.end < start);
            let behind = self.ranges.partition_point(|known| known.start <= end);
            if let Some(touched) = self.ranges.get(first..behind).filter(|some| !some.is_empty()) {
                start = start.min(touched[0].start);
                end = end.max(touched[touched.len() - 1].end);
            }
            self.ranges.splice(first..behind.max(first), std::iter::once(start..end));
        }
        let low = self.low;
        self.ranges.retain(|known| known.end > low);
        let surplus = self.ranges.len().saturating_sub(MOST_RANGES);
        self.ranges.drain(..surplus);
    }

    /// The bytes that a channel keeps.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = self.low.to_be_bytes().to_vec();
        put_ranges(&self.ranges, &mut out);
        out.into()
    }

    /// Reads [`Known::encode`]'s bytes.
    pub(crate) fn decode(bytes: &Bytes) -> Option<Known> {
        let low = u64::from_be_bytes(*bytes.first_chunk()?);
        let rest = bytes.slice(8..);
        let mut reader = Reader::new(&rest);
        let ranges = read_ranges(&mut reader).ok()?;
        (reader.left() == 0).then_some(Known { low, ranges })
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "claims are lists of ranges")]
mod tests {
    use splashdam_core::Random;

    use super::*;

    fn claim(low: u64, ranges: &[Range<u64>]) -> Claim {
        Claim { sender: [0; 16], low, ranges: ranges.to_vec() }
    }

    #[test]
    fn what_is_fresh() {
        let mut known = Known::default();
        known.add(&claim(3, &[5..10, 20..30]));
        let check = |ranges: &[Range<u64>], want: &[Range<usize>]| {
            assert_eq!(known.fresh(&claim(0, ranges)), want, "{ranges:?}");
        };
        check(&[5..10], &[]);
        check(&[0..3], &[]);
        check(&[0..5], &[3..5]);
        check(&[4..11], &[0..1, 6..7]);
        check(&[8..22], &[2..12]);
        check(&[10..20], &[0..10]);
        check(&[2..4, 9..11, 30..32], &[1..2, 3..4, 4..6]);
        check(&[0..40], &[3..5, 10..20, 30..40]);
    }

    /// Against a plain set of numbers, with claims at random.
    #[test]
    fn it_is_a_set_that_forgets_what_is_settled() {
        let random = Random::new(5);
        for _ in 0..300 {
            let (mut known, mut plain, mut low) = (Known::default(), vec![false; 400], 0);
            for _ in 0..30 {
                let mut at = low + random.below(20) as u64;
                let mut ranges = Vec::new();
                for _ in 0..=random.below(3) {
                    let end = at + 1 + random.below(15) as u64;
                    ranges.push(at..end);
                    at = end + 1 + random.below(10) as u64;
                }
                low += random.below(5) as u64;
                let claim = claim(low, &ranges);
                let numbers: Vec<u64> = ranges.iter().flat_map(Clone::clone).collect();
                let fresh: Vec<u64> =
                    known.fresh(&claim).into_iter().flatten().map(|index| numbers[index]).collect();
                let want: Vec<u64> =
                    numbers.iter().copied().filter(|number| !plain[*number as usize]).collect();
                assert_eq!(fresh, want, "{known:?} {claim:?}");
                known.add(&claim);
                numbers.iter().for_each(|number| plain[*number as usize] = true);
                (0..low).for_each(|number| plain[number as usize] = true);
                assert!(known.ranges.windows(2).all(|two| two[0].end < two[1].start), "{known:?}");
                assert_eq!(Known::decode(&known.encode()), Some(known.clone()));
            }
        }
    }

    #[test]
    fn it_stays_small() {
        let mut known = Known::default();
        for number in 0..10_000 {
            known.add(&claim(0, &[number * 2..number * 2 + 1]));
        }
        assert_eq!(known.ranges.len(), MOST_RANGES);
        assert!(known.encode().len() < splashdam_core::Origin::MOST_POSITION_BYTES);
        assert_eq!(known.fresh(&claim(0, &[0..1, 19_998..19_999])), [0..1]);
        assert_eq!(Known::decode(&Bytes::from_static(b"short")), None);
    }
}
