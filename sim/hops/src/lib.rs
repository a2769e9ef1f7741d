//! Hops, simulated: agents with their channels, sinks and sources, the disks beneath and the network
//! between them, all from one seed, on a clock that only moves when everybody waits.
//!
//! What decides is the real thing: the log, the file channel, the outlet, the Avro and Thrift sources
//! behind their listeners, their sinks above their sockets, the runner of sinks with its processors, the ledger's
//! bookkeeper. In place of the system there are disks that may forget ([`splashdam_sim::disk`]), and
//! a network that delays, cuts, repeats and forgets ([`network`]).
//!
//! A run ([`run`]) is a storm and a calm. In the storm events are put into the first agents, while
//! connections break and agents are killed, lose their power or have faults on their disks. In the
//! calm everybody runs until nothing moves any more. Then: what was acknowledged is there at least
//! once always, and exactly once where that is promised, in order where one sink sends it; and every
//! ledger balances.

pub mod campaign;
pub mod flow;
pub mod network;
pub mod node;
pub mod planted;
pub mod run;
pub mod verdict;
mod watched;
mod world;
