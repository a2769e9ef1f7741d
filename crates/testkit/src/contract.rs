//! One suite for each role. A suite panics where the contract is broken.

mod channel;
mod pipeline;
mod sink;
mod source;

pub use channel::{ChannelUnderTest, channel};
pub use pipeline::{interceptor, processor, selector, serializer};
pub use sink::{open_sink, sink};
pub use source::{Running, open_source, run_source, run_source_into, source_stops};
