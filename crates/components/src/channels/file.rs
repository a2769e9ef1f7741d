//! The file channel; so far, only its way from and to the directories of Flume's.

pub mod flume;
