//! A batch: the unit of work from source to sink, committed whole or not at all.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Range, Sub};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::{ChannelSet, Event, Route};

/// A number of events and the bytes in them (bodies and headers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// How many events.
    pub events: usize,
    /// Bytes of their bodies and headers.
    pub bytes: usize,
}

impl Size {
    /// Nothing.
    pub const ZERO: Size = Size { events: 0, bytes: 0 };

    /// A limit in events whose bytes are left to the channel's own limit.
    pub const fn events(events: usize) -> Self {
        Size { events, bytes: usize::MAX }
    }

    /// Whether `self` stays within `limit` on both counts.
    pub fn fits(self, limit: Size) -> bool {
        self.events <= limit.events && self.bytes <= limit.bytes
    }
}

impl Add for Size {
    type Output = Size;
    fn add(self, other: Size) -> Size {
        Size {
            events: self.events.saturating_add(other.events),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Size) {
        *self = *self + other;
    }
}

impl Sub for Size {
    type Output = Size;
    fn sub(self, other: Size) -> Size {
        Size {
            events: self.events.saturating_sub(other.events),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl Sum for Size {
    fn sum<I: Iterator<Item = Size>>(iter: I) -> Size {
        iter.fold(Size::ZERO, Add::add)
    }
}

/// Who sent a batch and which of theirs it was. A channel that keeps origins stores it in the same
/// commit, acknowledges the same batch without storing it when it is sent again, and can tell where
/// its sender stood ([`crate::Channel::last_of`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The sender's identity.
    pub sender: [u8; 16],
    /// Which life of the sender; later ones are greater.
    pub epoch: u64,
    /// The sender's count within the epoch; later batches have greater ones.
    pub sequence: u64,
    /// Where the sender stood in its own input behind this batch, opaque to everybody else; at most
    /// [`Origin::MOST_POSITION_BYTES`].
    pub position: Bytes,
}

impl Origin {
    /// The most bytes of a position.
    pub const MOST_POSITION_BYTES: usize = 32 * 1024;

    /// What orders a sender's batches.
    pub fn order(&self) -> (u64, u64) {
        (self.epoch, self.sequence)
    }
}

/// Where leased events lie in their channel, for a sink that tells its peer which events it sends.
/// Numbers stay with their events across rollbacks, and restarts if the queue survives these, and are
/// never given to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The queue's identity, which no other queue shares.
    pub queue: [u8; 16],
    /// Every event numbered below is out of the queue for good.
    pub low: u64,
    /// The number of the first event that was put since the channel was opened: what is numbered
    /// so or above was handed out in no earlier life.
    pub began: u64,
    /// The numbers of the events, in their order; none empty.
    pub ranges: Vec<Range<u64>>,
    /// Whether the queue outlives the process. The identity of one that does not is new in each.
    pub lasting: bool,
}

impl Place {
    /// The place of the events but those at these places of the batch, which are in order: what a
    /// sink rejects is not among what its destination has.
    #[must_use]
    pub fn without(&self, rejected: impl IntoIterator<Item = usize>) -> Place {
        let mut rejected = rejected.into_iter().map(|at| at as u64).peekable();
        let (mut ranges, mut passed) = (Vec::new(), 0);
        for range in &self.ranges {
            let length = range.end - range.start;
            let mut kept = range.start;
            while let Some(at) = rejected.next_if(|at| *at < passed + length) {
                let number = range.start + (at - passed);
                ranges.push(kept..number);
                kept = number + 1;
            }
            ranges.push(kept..range.end);
            passed += length;
        }
        ranges.retain(|range| !range.is_empty());
        Place { ranges, ..self.clone() }
    }
}

/// Events that are committed together, in order, with their size. Clones share the events until
/// one of them is changed, so that a batch may go to several channels, or to another thread, for
/// the price of a count.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    events: Arc<Vec<Event>>,
    bytes: usize,
    /// Boxed, as few have one.
    origin: Option<Box<Origin>>,
    /// Boxed for the same reason.
    place: Option<Box<Place>>,
    pub(crate) progress: Progress,
}

/// How far an outlet came with a batch that it had to give back, so that putting it again
/// neither edits it twice nor commits it twice to one channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) intercepted: bool,
    /// How many events it had before that.
    pub(crate) received: usize,
    pub(crate) committed: ChannelSet,
    /// Where its events go, once some channel has committed. A selector that takes turns would
    /// send them elsewhere the next time, and what is in `committed` would be lost.
    pub(crate) routes: Option<Routes>,
}

/// Where the events of a batch go.
#[derive(Clone, Debug)]
pub(crate) enum Routes {
    /// All one way.
    One(Route),
    /// One route for each event.
    Each(Arc<[Route]>),
}

impl Progress {
    /// The part for the first `events` events. Those that interceptors removed stay with the rest.
    fn split_front(&mut self, events: usize) -> Progress {
        let received = self.received.min(events);
        self.received -= received;
        let routes = match &mut self.routes {
            Some(Routes::Each(all)) => {
                let (front, rest) = all.split_at(events);
                let front = Routes::Each(front.into());
                *all = rest.into();
                Some(front)
            }
            alike => alike.clone(),
        };
        Progress { received, routes, ..*self }
    }
}

impl Batch {
    /// An empty batch with room for `events`.
    pub fn with_capacity(events: usize) -> Self {
        Batch { events: Arc::new(Vec::with_capacity(events)), ..Batch::default() }
    }

    /// Adds an event at the end.
    pub fn push(&mut self, event: Event) {
        self.place = None;
        self.bytes += event.bytes();
        Arc::make_mut(&mut self.events).push(event);
    }

    /// This batch with an origin. It stays with the batch as long as that is whole: parts of it
    /// and what it is joined to have none.
    #[must_use]
    pub fn with_origin(mut self, origin: Option<Origin>) -> Batch {
        self.origin = origin.map(Box::new);
        self
    }

    /// Where it came from.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// Where it came from, which it forgets.
    pub fn take_origin(&mut self) -> Option<Origin> {
        self.origin.take().map(|origin| *origin)
    }

    /// This batch with the place that it was leased from, which stays with it while no event is
    /// added or removed.
    #[must_use]
    pub fn with_place(mut self, place: Option<Place>) -> Batch {
        self.place = place.map(Box::new);
        self
    }

    /// Where it was leased from, if its channel tells.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_deref()
    }

    /// Moves all of `other` to the end.
    pub fn append(&mut self, other: Batch) {
        self.origin = None;
        self.place = None;
        self.bytes += other.bytes;
        Arc::make_mut(&mut self.events).append(&mut other.into_events());
    }

    /// The events in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The events, owned.
    pub fn into_events(self) -> Vec<Event> {
        Arc::unwrap_or_clone(self.events)
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Events and bytes.
    pub fn size(&self) -> Size {
        Size { events: self.events.len(), bytes: self.bytes }
    }

    /// Changes events one by one and counts their bytes anew.
    pub fn edit(&mut self, mut change: impl FnMut(&mut Event)) {
        let mut bytes = 0;
        for event in Arc::make_mut(&mut self.events) {
            change(event);
            bytes += event.bytes();
        }
        self.bytes = bytes;
    }

    /// Keeps the events for which `keep` says true.
    pub fn retain(&mut self, mut keep: impl FnMut(&Event) -> bool) {
        self.place = None;
        let bytes = &mut self.bytes;
        Arc::make_mut(&mut self.events).retain(|event| {
            let kept = keep(event);
            if !kept {
                *bytes -= event.bytes();
            }
            kept
        });
    }

    /// Lets go of the buffers that the events came in, when little is left of what was there:
    /// an event that is a slice keeps the whole buffer alive, which no limit counts. `events` and
    /// `bytes` say what there was.
    pub(crate) fn let_go(&mut self, events: usize, bytes: usize) {
        const LITTLE: usize = 4;
        if self.len() == events || self.bytes.saturating_mul(LITTLE) > bytes {
            return;
        }
        let events = Arc::make_mut(&mut self.events);
        events.shrink_to_fit();
        let mut copies = BytesMut::with_capacity(self.bytes);
        for event in events {
            event.move_into(&mut copies);
        }
    }

    /// Takes off the front what fits in `limit`, at least one event if there is any. Parts of what
    /// an outlet gave back are, like the whole, neither edited nor committed twice.
    pub fn split_front(&mut self, limit: Size) -> Batch {
        if self.size().fits(limit) {
            return std::mem::take(self);
        }
        let mut front = Size::ZERO;
        for event in &*self.events {
            let next = front + Size { events: 1, bytes: event.bytes() };
            if front.events > 0 && !next.fits(limit) {
                break;
            }
            front = next;
        }
        let rest = Arc::make_mut(&mut self.events).split_off(front.events);
        let events = std::mem::replace(&mut self.events, Arc::new(rest));
        self.bytes -= front.bytes;
        let progress = self.progress.split_front(front.events);
        self.origin = None;
        self.place = None;
        Batch { events, bytes: front.bytes, origin: None, place: None, progress }
    }
}

impl FromIterator<Event> for Batch {
    fn from_iter<I: IntoIterator<Item = Event>>(iter: I) -> Self {
        Batch::from(iter.into_iter().collect::<Vec<_>>())
    }
}

impl From<Vec<Event>> for Batch {
    fn from(events: Vec<Event>) -> Self {
        let bytes = events.iter().map(Event::bytes).sum();
        Batch { events: Arc::new(events), bytes, ..Batch::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "places are lists of ranges")]
    fn rejected_events_have_no_place() {
        let check = |ranges: &[Range<u64>], rejected: &[usize], want: &[Range<u64>]| {
            let place =
                Place { queue: [1; 16], low: 0, began: 0, ranges: ranges.to_vec(), lasting: true };
            let kept = place.without(rejected.iter().copied());
            assert_eq!(kept, Place { ranges: want.to_vec(), ..place }, "{rejected:?}");
        };
        check(&[5..10], &[], &[5..10]);
        check(&[5..10], &[0], &[6..10]);
        check(&[5..10], &[4], &[5..9]);
        check(&[5..10], &[1, 2], &[5..6, 8..10]);
        check(&[5..7, 20..23], &[1, 2, 4], &[5..6, 21..22]);
        check(&[5..7, 20..23], &[0, 1], &[20..23]);
        check(&[5..6], &[0], &[]);
    }

    fn batch(bodies: &[&'static str]) -> Batch {
        bodies.iter().map(|b| Event::new(*b)).collect()
    }

    #[test]
    fn size_follows_every_change() {
        let mut b = batch(&["a", "bb", "ccc"]);
        assert_eq!(b.size(), Size { events: 3, bytes: 6 });
        b.retain(|e| e.body != "bb");
        assert_eq!(b.size(), Size { events: 2, bytes: 4 });
        b.edit(|e| drop(e.headers.insert("h", "v")));
        assert_eq!(b.size(), Size { events: 2, bytes: 8 });
        b.append(batch(&["d"]));
        assert_eq!(b.size(), Size { events: 3, bytes: 9 });
    }

    #[test]
    fn only_whole_batches_have_an_origin() {
        let origin =
            Origin { sender: [1; 16], epoch: 1, sequence: 2, position: Bytes::from_static(b"p") };
        let whole = batch(&["a", "b"]).with_origin(Some(origin.clone()));
        assert_eq!(whole.clone().origin(), Some(&origin));
        let mut parted = whole.clone();
        assert_eq!(parted.split_front(Size::events(2)).origin(), Some(&origin));
        let mut parted = whole.clone();
        assert_eq!(parted.split_front(Size::events(1)).origin(), None);
        assert_eq!(parted.origin(), None);
        let mut joined = whole;
        joined.append(batch(&["c"]));
        assert_eq!(joined.origin(), None);
    }

    #[test]
    fn what_is_left_of_a_large_buffer_lets_go_of_it() {
        let check = |keep: usize, free: bool| {
            let block = bytes::Bytes::from(vec![b'x'; 1000]);
            let event = |n: usize| {
                let mut event = Event::new(block.slice(n * 10..n * 10 + 8));
                let value = crate::Text::from_utf8(block.slice(n * 10..n * 10 + 2)).unwrap();
                event.headers.insert("name", value);
                event
            };
            let mut b: Batch = (0..100).map(event).collect();
            let (events, before) = (b.len(), b.size().bytes);
            let mut seen = 0;
            b.retain(|_| {
                seen += 1;
                seen <= keep
            });
            let size = b.size();
            b.let_go(events, before);
            assert_eq!((b.size(), block.is_unique()), (size, free), "{keep}");
            assert!(b.events().iter().all(|e| e.body == "xxxxxxxx"));
            assert!(b.events().iter().all(|e| e.headers.get("name").unwrap().as_str() == "xx"));
        };
        check(1, true);
        check(25, true);
        check(26, false);
        check(100, false);
    }

    #[test]
    fn parts_of_what_was_given_back_remember_how_far_it_came() {
        let mut rest = batch(&["a", "b", "c"]);
        let route =
            |channel| Route { required: ChannelSet::default().with(channel), ..Route::default() };
        rest.progress = Progress {
            intercepted: true,
            received: 5,
            committed: ChannelSet::default().with(1),
            routes: Some(Routes::Each([route(0), route(1), route(2)].into())),
        };
        let front = rest.split_front(Size::events(1));
        let check = |part: &Batch, received: usize, routes: &[Route]| {
            let progress = &part.progress;
            assert!(progress.intercepted);
            assert_eq!(progress.received, received);
            assert_eq!(progress.committed, ChannelSet::default().with(1));
            let Some(Routes::Each(got)) = &progress.routes else { panic!("no routes") };
            assert_eq!(got[..], *routes);
        };
        check(&front, 1, &[route(0)]);
        check(&rest, 4, &[route(1), route(2)]);
    }

    #[test]
    fn the_front_holds_what_fits_and_at_least_one() {
        let check = |limit: Size, want: usize| {
            let mut b = batch(&["aaaa", "bb", "c"]);
            let front = b.split_front(limit);
            assert_eq!((front.len(), b.len()), (want, 3 - want), "{limit:?}");
            assert_eq!(front.size().bytes + b.size().bytes, 7);
        };
        check(Size::events(2), 2);
        check(Size::events(9), 3);
        check(Size { events: 9, bytes: 6 }, 2);
        check(Size { events: 9, bytes: 1 }, 1);
        check(Size { events: 0, bytes: 0 }, 1);
    }
}
