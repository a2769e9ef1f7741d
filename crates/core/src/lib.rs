//! What every part of an agent shares: events and batches, the roles of components, the outlet
//! that carries a source's batches into its channels, errors, metrics and the context through
//! which time, randomness and the host reach a component.
//!
//! Read in this order: an [`Event`] is the datum, a [`Batch`] is what is committed whole or not at
//! all, [`Channel`] holds batches between a [`Source`] and a [`Sink`], and [`Outlet`] is the way in.

mod batch;
mod channel;
mod claim;
mod component;
mod context;
mod error;
mod event;
mod interceptor;
pub mod ledger;
pub mod metrics;
mod outlet;
pub mod pipeline;
mod processor;
mod selector;
mod serializer;
mod shared;
mod sink;
mod source;
mod trouble;

pub use batch::{Batch, Origin, Place, Size};
pub use channel::{
    Channel, JointId, LEAST_TAKE_WAIT, Level, Lifetime, Put, PutTxn, Refused, Take, TakeTxn,
};
pub use claim::{Claim, Claimed, Hold, LogTerms, Transport};
pub use component::{BoxFuture, Component, Entry, Facts, Lists, Looked, Probed, find, known_types};
pub use context::{Clock, Context, Random, Role, World};
pub use error::{
    Cause, ChannelError, DeliverError, Malformed, OpenError, PutError, SourceError, Then,
};
pub use event::{Event, Headers, NotUtf8, Text};
pub use interceptor::{DynInterceptor, Interception, Interceptor, RemoteInterceptor, Undone};
pub use ledger::Ledger;
pub use outlet::{Outlet, OutletChannel};
pub use pipeline::Pipeline;
pub use processor::{SinkId, SinkProcessor, Went};
pub use selector::{ChannelSet, Route, Selector};
pub use serializer::{SerializeError, Serializer, Start};
pub use shared::Shared;
pub use sink::{Delivered, DynSink, Rejected, Sink};
pub use source::{DynSource, Source, Stop, StopHandle};
pub use trouble::Trouble;
