//! Channels, one file each.

pub mod memory;
pub mod pseudo_memory;
