//! Fakes and contract suites, for tests only. A suite asks the same questions of every component
//! of a role; a component's own tests ask what is particular to it.

pub mod contract;
pub mod fakes;
mod lines;

pub use fakes::{Collector, FakeWorld, Queue, bodies, context, events, outlet};
pub use lines::{Lines, Listening};
