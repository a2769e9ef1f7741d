//! Channels, one file each.

pub mod file;
pub mod memory;
pub mod pseudo_memory;
pub mod spillable;
