//! A selector says which channels an event goes to.

use crate::Event;

/// A set of a source's channels, by their index in its `channels` list; 64 at the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChannelSet(u64);

impl ChannelSet {
    /// The most channels that a source can have.
    pub const MAX: usize = 64;

    /// The first `n` channels.
    pub const fn first(n: usize) -> Self {
        assert!(n <= Self::MAX);
        ChannelSet(if n == Self::MAX { u64::MAX } else { (1 << n) - 1 })
    }

    /// This set and `index`.
    #[must_use]
    pub const fn with(self, index: usize) -> Self {
        assert!(index < Self::MAX);
        ChannelSet(self.0 | 1 << index)
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        ChannelSet(self.0 & !other.0)
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        ChannelSet(self.0 | other.0)
    }

    /// Whether `index` is in it.
    pub const fn contains(self, index: usize) -> bool {
        index < Self::MAX && self.0 & (1 << index) != 0
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many are in it.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The indexes, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..Self::MAX).filter(move |i| self.contains(*i))
    }
}

/// Where an event goes: channels that must take it and channels that may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Route {
    /// A failure of one of these fails the batch.
    pub required: ChannelSet,
    /// A failure of one of these is logged and passed over. Disjoint from `required`.
    pub optional: ChannelSet,
}

/// Routes events. Synchronous, without input or output.
pub trait Selector: Send + Sync {
    /// The channels of one event; an empty route drops it, as Flume's multiplexing selector
    /// drops what nothing is mapped to.
    fn route(&self, event: &Event) -> Route;

    /// The route of every event, when there is but one; spares looking at each.
    fn uniform(&self) -> Option<Route> {
        None
    }

    /// Whether the same event always goes the same way, also in another process with the same
    /// configuration, although the headers that `varies` names have other values. Who takes turns
    /// says no: what one of several logs has of a batch then says nothing of where the rest went.
    fn repeats(&self, _varies: &dyn Fn(&str) -> bool) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_channels() {
        let set = ChannelSet::default().with(0).with(63);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63]);
        assert_eq!(ChannelSet::first(64).without(set).iter().count(), 62);
        assert!(ChannelSet::first(0).is_empty());
        assert!(!set.contains(64));
        assert_eq!(ChannelSet::first(2).union(set).iter().collect::<Vec<_>>(), [0, 1, 63]);
    }
}
