//! Sets of numbers as ranges, for what has been taken above the lowest number that has not.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of numbers, held as ranges that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|(&start, &end)| start..end)
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no number is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers are in it.
    pub fn count(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// Adds a range and says how many of its numbers are new.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let Range { mut start, mut end } = range;
        let mut new = end - start;
        while let Some((&held_start, &held_end)) = self.0.range(..=end).next_back()
            && held_end >= start
        {
            let both = held_end.min(range.end).saturating_sub(held_start.max(range.start));
            new -= both;
            (start, end) = (start.min(held_start), end.max(held_end));
            self.0.remove(&held_start);
        }
        self.0.insert(start, end);
        new
    }

    /// Takes a range out, wherever it is.
    pub fn remove(&mut self, range: Range<u64>) {
        let touched: Vec<_> = self
            .0
            .range(..range.end)
            .rev()
            .map(|(&start, &end)| start..end)
            .take_while(|held| held.end > range.start)
            .collect();
        for held in touched {
            self.0.remove(&held.start);
            if held.start < range.start {
                self.0.insert(held.start, range.start);
            }
            if held.end > range.end {
                self.0.insert(range.end, held.end);
            }
        }
    }

    /// What of `range` is not in the set, in order.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        if let Some((_, &end)) = self.0.range(..=at).next_back() {
            at = at.max(end);
        }
        for (&start, &end) in self.0.range(range.start..range.end.max(range.start)) {
            if start > at {
                gaps.push(at..start);
            }
            at = at.max(end);
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }
}

/// The numbers of a queue whose events are gone: all below `low`, and `above`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    low: u64,
    above: Ranges,
}

impl Taken {
    /// Everything below `low`, and `above` it these ranges.
    pub fn new(low: u64, above: impl IntoIterator<Item = Range<u64>>) -> Taken {
        let mut taken = Taken { low, above: Ranges::default() };
        for range in above {
            taken.insert(range);
        }
        taken
    }

    /// The lowest number that is not taken.
    pub fn low(&self) -> u64 {
        self.low
    }

    /// What is taken above `low`.
    pub fn above(&self) -> &Ranges {
        &self.above
    }

    /// Adds a range and says how many of its numbers are new.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        let start = range.start.max(self.low);
        if start >= range.end {
            return 0;
        }
        let new = self.above.insert(start..range.end);
        if let Some(first) = self.above.0.first_entry()
            && *first.key() <= self.low
        {
            self.low = first.remove();
        }
        new
    }

    /// Adds all that another one has.
    pub fn join(&mut self, other: &Taken) {
        self.insert(0..other.low);
        for range in other.above.iter() {
            self.insert(range);
        }
    }

    /// What of `range` is not taken, in order.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        self.above.missing(range.start.max(self.low)..range.end.max(self.low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A small repeatable source of numbers.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }
    }

    #[test]
    fn ranges_do_what_a_set_of_numbers_does() {
        for seed in 1..200 {
            let mut dice = Dice(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            let (mut taken, mut gone) = (Taken::default(), BTreeSet::new());
            for _ in 0..60 {
                let start = dice.below(50);
                let range = start..start + dice.below(12);
                if dice.below(3) == 0 {
                    ranges.remove(range.clone());
                    set.retain(|number| !range.contains(number));
                } else {
                    let before = set.len();
                    set.extend(range.clone());
                    assert_eq!(ranges.insert(range.clone()), (set.len() - before) as u64);
                    let before = gone.len();
                    gone.extend(range.clone());
                    assert_eq!(taken.insert(range), (gone.len() - before) as u64);
                }
                let flat = |ranges: Vec<Range<u64>>| -> Vec<u64> {
                    ranges.into_iter().flatten().collect()
                };
                assert_eq!(flat(ranges.iter().collect()), set.iter().copied().collect::<Vec<_>>());
                assert_eq!(ranges.count(), set.len() as u64);
                let asked = dice.below(40)..dice.below(40) + 20;
                let want: Vec<_> = asked.clone().filter(|n| !set.contains(n)).collect();
                assert_eq!(flat(ranges.missing(asked.clone())), want, "{ranges:?} {asked:?}");
                let want: Vec<_> = asked.clone().filter(|n| !gone.contains(n)).collect();
                assert_eq!(flat(taken.missing(asked.clone())), want, "{taken:?} {asked:?}");
                let low = (0..).find(|n| !gone.contains(n)).unwrap_or(0);
                assert_eq!(taken.low(), low);
            }
        }
    }
}
