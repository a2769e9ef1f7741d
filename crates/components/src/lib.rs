//! Every source, channel, sink and the rest, one file each, and the lists of them.
//!
//! What an agent can do is what the lists say: no macro, no link-time magic. Types are matched in
//! any case, by alias or by Flume's class name.

pub mod channels;
pub mod sources;

use splashdam_core::{
    Channel, DynSink, DynSource, Entry, Interceptor, Lists, Selector, Serializer, SinkProcessor,
};

/// All lists.
pub static LISTS: Lists = Lists {
    sources: SOURCES,
    channels: CHANNELS,
    sinks: SINKS,
    interceptors: INTERCEPTORS,
    selectors: SELECTORS,
    processors: PROCESSORS,
    serializers: SERIALIZERS,
};

/// The sources, in order of the alphabet, as are all lists here.
pub static SOURCES: &[Entry<dyn DynSource>] = &[Entry::source::<sources::taildir::Taildir>()];

/// The channels.
pub static CHANNELS: &[Entry<dyn Channel>] = &[Entry::channel::<channels::memory::Memory>()];

/// The sinks.
pub static SINKS: &[Entry<dyn DynSink>] = &[];

/// The interceptors.
pub static INTERCEPTORS: &[Entry<dyn Interceptor>] = &[];

/// The channel selectors.
pub static SELECTORS: &[Entry<dyn Selector>] = &[];

/// The sink processors.
pub static PROCESSORS: &[Entry<dyn SinkProcessor>] = &[];

/// The stream serializers.
pub static SERIALIZERS: &[Entry<dyn Serializer>] = &[];
