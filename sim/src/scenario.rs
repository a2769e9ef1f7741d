//! The kinds of runs there are; which one a seed means follows from its number.

use splashdam_wal::Compression;

use crate::plan::Plan;

/// The kinds, in the order of the seeds.
pub const KINDS: [&str; 12] = [
    "one directory, two queues, fan-out",
    "one call fails",
    "two directories",
    "full disk with a reserve",
    "three directories, three queues",
    "capacity that changes at starts",
    "three calls fail",
    "a directory that dies",
    "calls without space, bounded queues",
    "long, two directories, bounded",
    "encrypted and compressed",
    "syncs now and then",
];

/// The kind of a seed, as an index into [`KINDS`].
pub fn kind(seed: u64) -> usize {
    usize::try_from(seed % KINDS.len() as u64).unwrap_or(0)
}

/// The run of a seed.
pub fn plan(seed: u64) -> Plan {
    let turn = seed / KINDS.len() as u64;
    let some = |least: u64, spread: u64| least + turn % spread;
    let steps = usize::try_from(some(40, 7) * 2).unwrap_or(80);
    // With two directories the first two are at home in the same one, the others are not.
    let senders = [[1, 2], [1, 3]][usize::from(turn % 2 == 1)];
    // The second directory's part of a start comes later.
    let start_acts = [14, 50][usize::from(turn % 3 == 1)];
    let exchanges = turn % 4 == 2;
    let plan = Plan { steps, senders, start_acts, exchanges, ..Plan::new(seed) };
    match kind(seed) {
        0 => plan,
        1 => Plan { queues: 1, faults: vec![some(12, 41)], ..plan },
        2 => Plan { disks: 2, ..plan },
        3 => Plan { capacity: 150_000, steps: plan.steps * 2, ..plan },
        4 => Plan { disks: 3, queues: 3, ..plan },
        5 => Plan { bounded: true, ..plan },
        6 => Plan { faults: vec![some(10, 53), some(12, 47), some(60, 31)], ..plan },
        7 => Plan { disks: 2, faults: (some(20, 61)..some(60, 61)).collect(), ..plan },
        8 => Plan { bounded: true, no_space: vec![some(10, 59), some(30, 43)], ..plan },
        9 => Plan { disks: 2, bounded: true, steps: 160, ..plan },
        10 => Plan {
            disks: 1 + usize::from(turn % 2 == 1),
            keys: vec!["one"],
            compression: [Compression::None, Compression::Lz4][usize::from(turn % 4 > 1)],
            ..plan
        },
        _ => Plan { unsynced: true, ..plan },
    }
}
