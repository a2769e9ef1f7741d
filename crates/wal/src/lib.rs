//! A transactional queue on segment files, of records that encode themselves.
//!
//! `docs/wal-format.md` draws every byte and argues every crash; `docs/durability.md` has the rules.

pub mod storage;

pub mod frame;
pub mod ranges;
pub mod record;
pub mod segment;
pub mod member;
pub mod error;
