//! Benchmarks against real Flume.
fn main() {}
