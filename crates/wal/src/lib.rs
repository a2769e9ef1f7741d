//! A transactional queue on segment files, of records that encode themselves.
//!
//! [`Log::open`] finds what the directories hold; [`Log::reserve`] and [`Room::put`] put a
//! [`Record`] into one or several queues; [`Log::lease`] and [`Lease::commit`] take events out.
//! Nothing here blocks but `open` and `close`: answers come through callbacks, so that an async
//! caller can wait as it likes. `docs/wal-format.md` draws every byte and argues every crash;
//! `docs/durability.md` has the rules.

pub mod storage;

pub mod frame;
mod held_up;
mod homes;
pub mod pack;
pub mod ranges;
pub mod record;
pub mod seal;
pub mod segment;

pub mod member;
pub mod recovery;
pub mod replay;

pub mod directory;
pub mod offline;
pub mod queue;
pub mod reader;

mod committer;
mod error;
mod log;
mod open;
mod options;
mod senders;
mod threads;

pub use committer::Committer;
pub use error::{CommitError, Damage, OpenError};
pub use homes::Lane;
pub use log::{Lease, Log, PutDone, QueueId, Refusal, Room, Stored, TakeDone};
pub use open::{Opened, QueueOptions};
#[cfg(feature = "sabotage")]
pub use options::Sabotage;
pub use options::{Loss, Notice, OnDamage, Options, Shortage, Syncs};
pub use pack::Compression;
pub use queue::{Chunk, Count, Level, Piece};
pub use reader::Reader;
pub use record::{Origin, Parts, Record};
pub use seal::{Key, Keys};
