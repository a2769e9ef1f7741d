//! An event agent that speaks Apache Flume.

mod logging;
mod world;

fn main() {}
