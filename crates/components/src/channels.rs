//! Channels, one file each.

pub mod memory;
