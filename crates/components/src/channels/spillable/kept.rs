//! What becomes of memory at a clean stop: it is written to a queue of its own beside the overflow,
//! together with where its events belong among those of the overflow.
//!
//! Events in a log keep their numbers, so the order is told as pairs: all events of the kept queue
//! below one number come before those of the overflow from another number on. It stands in the
//! origin of the last batch that is written, hence is stored in the same commit, and stays true
//! whatever is taken later, crash or not.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use splashdam_config::Lenient;
use splashdam_core::{Batch, Channel, ChannelError, Origin, Refused, Size};
use tokio::time::sleep;
use tracing::warn;

use super::Unwritten;
use super::order::{Order, Store};
use crate::channels::file::{self, FileChannel, OpenedLog};

/// The most of one batch that is written down.
pub(super) const BATCH: Size = Size { events: 1000, bytes: 1 << 20 };

/// From one try to write down what the log refused to the next.
const PAUSE: Duration = Duration::from_millis(100);

/// The most pairs; a position has at most 4096 bytes.
const MOST_PAIRS: usize = 256;

/// The name of the queue beside that of the channel `name`. No channel has such a name.
pub(super) fn name(name: &str) -> Arc<str> {
    format!("{name}: from memory").into()
}

/// The configuration of the queue: what was let into memory finds room.
pub(super) fn config(overflow: file::Config) -> file::Config {
    file::Config {
        capacity: Lenient(Some(i64::MAX)),
        capacity_bytes: Lenient(Some(0)),
        transaction_capacity: Lenient(Some(i64::MAX)),
        ..overflow
    }
}

/// Under which name the log remembers the order of the channel `name`.
fn sender(name: &str) -> [u8; 16] {
    let hash = |start: u64| {
        name.bytes().fold(start, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    };
    let mut sender = [0; 16];
    sender[..8].copy_from_slice(&hash(0xcbf2_9ce4_8422_2325).to_le_bytes());
    sender[8..].copy_from_slice(&hash(u64::from_le_bytes(*b"spilling")).to_le_bytes());
    sender
}

/// The order of what two queues of a log hold.
pub(super) fn order(name: &str, main: &FileChannel, kept: &FileChannel, log: &OpenedLog) -> Order {
    let position = main.last_of(sender(name)).map(|origin| origin.position).unwrap_or_default();
    let (main, kept) = (main.untaken_in(log).0, kept.untaken_in(log).0);
    arrange(Order::default(), &decode(&position), &main, &kept, 0..0)
}

/// What the queues of a log hold, and their next numbers: the overflow and what was kept.
pub(super) type Held = [(Vec<Range<u64>>, u64); 2];

/// The order of `runs`, which a log held so `before`, of what it holds `now`, behind what is in
/// `order` already. Memory is as it was.
pub(super) fn order_anew(order: Order, runs: &[(Store, u64)], before: &Held, now: &Held) -> Order {
    let [main, kept] = before;
    let in_memory = runs.iter().filter(|run| run.0 == Store::Memory);
    let memory = kept.1..kept.1 + in_memory.map(|run| run.1).sum::<u64>();
    let pairs = pairs(runs, main, kept, usize::MAX);
    arrange(order, &pairs, &now[0].0, &now[1].0, memory)
}

/// Writes `batches` down, the events of memory in `runs`, and tells `unwritten` of each. While the disk
/// is full, or the log has stopped and is opened again, it goes on trying: whoever calls this knows how
/// long there is. An error says why no more of them can be written.
pub(super) async fn write(
    name: &str,
    main: &FileChannel,
    kept: &FileChannel,
    runs: &[(Store, u64)],
    batches: Vec<Batch>,
    unwritten: &Unwritten,
) -> Result<(), String> {
    let mut left: Vec<(u64, Batch)> = (1..).zip(batches).collect();
    let last = left.len() as u64;
    let sender = sender(name);
    let epoch = main.last_of(sender).map_or(0, |origin| origin.epoch + 1);
    let (in_main, in_kept) = (main.untaken(), kept.untaken());
    let pairs = pairs(runs, &in_main, &in_kept, MOST_PAIRS);
    let mut waits = false;
    while !left.is_empty() {
        let position = Bytes::from(encode(&renumbered(&pairs, in_kept.1, &kept.untaken())));
        let (mut commits, mut back, mut why) = (Vec::new(), Vec::new(), Vec::new());
        // One after the other: what comes later must not find the room that an earlier one lacked, as
        // the log takes the batches of a sender in their order only. One sync serves them all.
        for (sequence, batch) in left {
            let room = match why.is_empty() {
                true => kept.begin_put(batch.size()).await.map_err(|error| why.push(error)).ok(),
                false => None,
            };
            let Some(put) = room else {
                back.push((sequence, batch));
                continue;
            };
            let events = batch.len();
            let position = if sequence == last { position.clone() } else { Bytes::new() };
            let origin = Origin { sender, epoch, sequence, position };
            let commit = put.commit(batch.with_origin(Some(origin)));
            commits.push(async move {
                let refused = commit.await.err();
                if refused.is_none() {
                    unwritten.written(events);
                }
                refused.map(|Refused { batch, error }| ((sequence, batch), error))
            });
        }
        let (refused, errors): (Vec<_>, Vec<_>) =
            join_all(commits).await.into_iter().flatten().unzip();
        why.extend(errors);
        if let Some(error) = why.iter().find(|error| !passes(error)) {
            return Err(error.to_string());
        }
        left = refused;
        left.append(&mut back);
        if let Some(error) = why.first() {
            if !std::mem::replace(&mut waits, true) {
                warn!(component = %format_args!("channel {name}"), %error, "events in memory wait until they can be written down");
            }
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Whether what was refused so may be taken later.
fn passes(error: &ChannelError) -> bool {
    use ChannelError::{DiskFull, Failed, Full};
    matches!(error, DiskFull { .. } | Failed { .. } | Full { .. })
}

/// Events of the kept queue below the first number come before those of the overflow from the
/// second on.
type Pair = (u64, u64);

/// Tells the order in pairs, as if the events in memory were already in the kept queue.
fn pairs(
    runs: &[(Store, u64)],
    (main, next_main): &(Vec<Range<u64>>, u64),
    (kept, next_kept): &(Vec<Range<u64>>, u64),
    most: usize,
) -> Vec<Pair> {
    let (mut passed, mut old, mut new) = (0, 0, 0);
    let mut pairs: Vec<Pair> = Vec::new();
    for (store, events) in runs {
        let below = match store {
            Store::Overflow => {
                passed += events;
                continue;
            }
            Store::Kept => {
                old += events;
                nth(kept, old - 1).map_or(*next_kept, |number| number + 1)
            }
            Store::Memory => {
                new += events;
                next_kept + new
            }
        };
        let from = nth(main, passed).unwrap_or(*next_main);
        // More changes between the places than there is room for: what is left comes together.
        let all = pairs.len() == most;
        match pairs.last_mut() {
            Some(last) if last.1 == from || all => *last = (below, from),
            _ => pairs.push((below, from)),
        }
    }
    pairs
}

/// The pairs of events that were to be numbered from `first` on, by the numbers that they have got in
/// the kept queue or will get now: failed puts may have cost some.
fn renumbered(pairs: &[Pair], first: u64, (kept, next): &(Vec<Range<u64>>, u64)) -> Vec<Pair> {
    let new: Vec<_> =
        kept.iter().map(|range| range.start.max(first)..range.end.max(first)).collect();
    let written = count(&new, 0..u64::MAX);
    let number = |below: u64| match below.checked_sub(first + 1) {
        None => below,
        Some(index) => nth(&new, index).unwrap_or_else(|| next + index - written) + 1,
    };
    pairs.iter().map(|(below, from)| (number(*below), *from)).collect()
}

fn nth(ranges: &[Range<u64>], index: u64) -> Option<u64> {
    let mut left = index;
    for range in ranges {
        let count = range.end - range.start;
        if left < count {
            return Some(range.start + left);
        }
        left -= count;
    }
    None
}

/// How many numbers of `ranges` there are in `window`.
fn count(ranges: &[Range<u64>], window: Range<u64>) -> u64 {
    let part = |range: &Range<u64>| {
        range.end.min(window.end).saturating_sub(range.start.max(window.start))
    };
    ranges.iter().map(part).sum()
}

/// The order that `pairs` tell, of the events that are still there, behind what is in `order`.
/// Numbers in `memory` are not in the kept queue yet.
fn arrange(
    mut order: Order,
    pairs: &[Pair],
    main: &[Range<u64>],
    kept: &[Range<u64>],
    memory: Range<u64>,
) -> Order {
    let in_memory = std::slice::from_ref(&memory);
    let mut push = |store, events| {
        if events > 0 {
            order.push(store, events);
        }
    };
    let (mut from_main, mut from_kept) = (0, 0);
    for (below, from) in pairs.iter().copied().chain([(u64::MAX, u64::MAX)]) {
        push(Store::Overflow, count(main, from_main..from));
        push(Store::Kept, count(kept, from_kept..below));
        push(Store::Memory, count(in_memory, from_kept..below));
        (from_main, from_kept) = (from_main.max(from), from_kept.max(below));
    }
    order
}

fn encode(pairs: &[Pair]) -> Vec<u8> {
    pairs
        .iter()
        .flat_map(|(below, from)| [below.to_le_bytes(), from.to_le_bytes()])
        .flatten()
        .collect()
}

fn decode(position: &[u8]) -> Vec<Pair> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let pair = |bytes: &[u8; 16]| (number(&bytes[..8]), number(&bytes[8..]));
    position.as_chunks::<16>().0.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::Store::{Kept, Memory, Overflow};
    use super::*;

    fn one(range: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(range).collect()
    }

    /// What is in memory at a stop is in the kept queue at the next start, and in its place.
    fn check(
        runs: &[(Store, u64)],
        main: &(Vec<Range<u64>>, u64),
        kept: &(Vec<Range<u64>>, u64),
        taken_since: [Range<u64>; 2],
        want: &[(Store, u64)],
    ) {
        let told = decode(&encode(&pairs(runs, main, kept, MOST_PAIRS)));
        let memory: u64 = runs.iter().filter(|run| run.0 == Memory).map(|run| run.1).sum();
        let mut grown = kept.0.clone();
        grown.push(kept.1..kept.1 + memory);
        let without = |ranges: &[Range<u64>], taken: &Range<u64>| -> Vec<Range<u64>> {
            let parts = |range: &Range<u64>| {
                [range.start..range.end.min(taken.start), range.start.max(taken.end)..range.end]
            };
            ranges.iter().flat_map(parts).filter(|range| range.start < range.end).collect()
        };
        let [main_taken, kept_taken] = &taken_since;
        let (main, kept) = (without(&main.0, main_taken), without(&grown, kept_taken));
        let order = arrange(Order::default(), &told, &main, &kept, 0..0);
        assert_eq!(order.runs().collect::<Vec<_>>(), want, "{runs:?}");
    }

    #[test]
    fn the_order_of_a_stop_is_that_of_the_next_start() {
        let none = || (vec![], 7);
        let nothing = || [0..0, 0..0];
        check(&[(Memory, 3)], &none(), &none(), nothing(), &[(Kept, 3)]);
        check(
            &[(Memory, 3), (Overflow, 4), (Memory, 2)],
            &(one(10..14), 14),
            &none(),
            nothing(),
            &[(Kept, 3), (Overflow, 4), (Kept, 2)],
        );
        check(
            &[(Overflow, 2), (Memory, 1), (Overflow, 3)],
            &(vec![10..11, 13..17], 20),
            &none(),
            nothing(),
            &[(Overflow, 2), (Kept, 1), (Overflow, 3)],
        );
        check(
            &[(Kept, 2), (Overflow, 1), (Kept, 1), (Memory, 2), (Overflow, 1)],
            &(one(0..2), 2),
            &(vec![4..5, 6..8], 9),
            nothing(),
            &[(Kept, 2), (Overflow, 1), (Kept, 3), (Overflow, 1)],
        );
    }

    #[test]
    fn it_stays_true_after_a_crash() {
        check(
            &[(Memory, 3), (Overflow, 4), (Memory, 2)],
            &(one(10..14), 14),
            &(vec![], 0),
            [10..12, 0..3],
            &[(Overflow, 2), (Kept, 2)],
        );
        check(
            &[(Memory, 3), (Overflow, 4), (Memory, 2)],
            &(one(10..14), 14),
            &(vec![], 0),
            [0..0, 0..2],
            &[(Kept, 1), (Overflow, 4), (Kept, 2)],
        );
    }

    #[test]
    fn more_changes_than_can_be_told_lose_nothing() {
        let runs: Vec<_> = (0..1000).flat_map(|_| [(Memory, 1), (Overflow, 1)]).collect();
        let told = encode(&pairs(&runs, &(one(0..1000), 1000), &(vec![], 0), MOST_PAIRS));
        assert_eq!(told.len(), 4096);
        let order = arrange(Order::default(), &decode(&told), &one(0..1000), &one(0..1000), 0..0);
        let runs: Vec<_> = order.runs().collect();
        let all = |store| runs.iter().filter(|run| run.0 == store).map(|run| run.1).sum::<u64>();
        assert_eq!((all(Kept), all(Overflow)), (1000, 1000));
        assert_eq!(runs[..4], [(Kept, 1), (Overflow, 1), (Kept, 1), (Overflow, 1)]);
    }

    #[test]
    fn numbers_that_failed_puts_have_cost_are_passed_over() {
        let all = [(4, 1), (10, 7), (12, 8), (14, 9)];
        let check = |kept: Vec<Range<u64>>, next, want: [u64; 4]| {
            let told = renumbered(&all, 10, &(kept, next));
            assert_eq!(told.iter().map(|pair| pair.0).collect::<Vec<_>>(), want);
            assert!(told.iter().map(|pair| pair.1).eq(all.iter().map(|pair| pair.1)));
        };
        check(vec![], 10, [4, 10, 12, 14]);
        check(one(0..10), 10, [4, 10, 12, 14]);
        check(one(0..10), 13, [4, 10, 15, 17]);
        check(vec![0..10, 11..14], 14, [4, 10, 13, 15]);
        check(vec![0..10, 11..12], 15, [4, 10, 16, 18]);
    }

    #[test]
    fn bytes_that_are_no_order_are_none() {
        assert_eq!(decode(b"too short"), []);
        let odd = arrange(Order::default(), &[(5, 9), (3, 2)], &one(0..10), &one(0..10), 0..0);
        assert_eq!(odd.runs().map(|run| run.1).sum::<u64>(), 20);
    }
}
