//! What of `core` needs fakes to be tested.

mod outlet;
mod pipeline;
