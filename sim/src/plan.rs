//! What is to happen in a run, and how it went.

use splashdam_wal::{Compression, Sabotage};

/// What is to happen.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Directories of the log.
    pub disks: usize,
    /// Queues of the log.
    pub queues: usize,
    /// Operations before the end.
    pub steps: usize,
    /// The act of a disk at which the power fails.
    pub crash_at: Option<u64>,
    /// Acts of a disk that fail with EIO.
    pub faults: Vec<u64>,
    /// Bytes a disk holds.
    pub capacity: usize,
    /// Whether a full disk shows only when something is written.
    pub thin: bool,
    /// Acts of a disk that fail with ENOSPC.
    pub no_space: Vec<u64>,
    /// Whether the queues have room for few events only, and for another number at each start.
    pub bounded: bool,
    /// Whether syncs come only now and then.
    pub unsynced: bool,
    /// The aliases of the keys there are; the last is the active one.
    pub keys: Vec<&'static str>,
    /// How bodies are compressed.
    pub compression: Compression,
    /// Whether some takes put something in exchange.
    pub exchanges: bool,
    /// What the senders are called, which decides where each has its place among the directories.
    pub senders: [u8; 2],
    /// A start that is cut short is so within as many acts.
    pub start_acts: u64,
    /// A planted bug.
    pub sabotage: Option<Sabotage>,
}

impl Plan {
    /// A plain run.
    pub fn new(seed: u64) -> Plan {
        Plan {
            seed,
            disks: 1,
            queues: 2,
            steps: 60,
            crash_at: None,
            faults: Vec::new(),
            capacity: usize::MAX,
            thin: false,
            no_space: Vec::new(),
            bounded: false,
            unsynced: false,
            keys: Vec::new(),
            compression: Compression::None,
            exchanges: false,
            senders: [1, 2],
            start_acts: 14,
            sabotage: None,
        }
    }

    /// Whether any act is to fail.
    pub fn has_faults(&self) -> bool {
        !self.faults.is_empty() || !self.no_space.is_empty()
    }
}

/// How a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acts of the disks before the end of the operations.
    pub acts: u64,
    /// Differs as soon as two runs do.
    pub trace: u64,
    /// Power failures and kills, those during a start included.
    pub crashes: u64,
    /// Puts that were acknowledged.
    pub stored: u64,
    /// Takes that were acknowledged.
    pub taken: u64,
    /// Puts and takes that failed or were refused.
    pub refused: u64,
}
