//! Every source, channel, sink and the rest, one file each, and the lists of them.
//!
//! What an agent can do is what the lists say: no macro, no link-time magic. Types are matched in
//! any case, by alias or by Flume's class name.

pub mod channels;
pub mod charset;
pub mod config_filters;
pub mod deserializers;
pub mod interceptors;
mod java_map;
pub mod java_regex;
pub mod jceks;
pub mod joda;
pub mod processors;
pub mod selectors;
pub mod serializers;
pub mod sinks;
pub mod sources;
mod time_zone;

use splashdam_config::ConfigFilter;
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
    config_filters: CONFIG_FILTERS,
};

/// The sources, in order of the alphabet, as are all lists here.
pub static SOURCES: &[Entry<dyn DynSource>] = &[
    Entry::source::<sources::exec::Exec>(),
    Entry::source::<sources::netcat::Netcat>(),
    Entry::source::<sources::seq::Seq>(),
    Entry::source::<sources::spooldir::SpoolDir>(),
    Entry::source::<sources::stress::Stress>(),
    Entry::source::<sources::taildir::Taildir>(),
];

/// The channels.
pub static CHANNELS: &[Entry<dyn Channel>] = &[
    Entry::channel::<channels::memory::Memory>(),
    Entry::channel::<channels::pseudo_memory::PseudoMemory>(),
];

/// The sinks.
pub static SINKS: &[Entry<dyn DynSink>] = &[
    Entry::sink::<sinks::file_roll::FileRoll>(),
    Entry::sink::<sinks::logger::Logger>(),
    Entry::sink::<sinks::null::Null>(),
];

/// The interceptors.
pub static INTERCEPTORS: &[Entry<dyn Interceptor>] = &[
    Entry::interceptor::<interceptors::Host>(),
    Entry::interceptor::<interceptors::RegexExtractor>(),
    Entry::interceptor::<interceptors::RegexFilter>(),
    Entry::interceptor::<interceptors::RemoveHeader>(),
    Entry::interceptor::<interceptors::SearchReplace>(),
    Entry::interceptor::<interceptors::Static>(),
    Entry::interceptor::<interceptors::Timestamp>(),
    Entry::interceptor::<interceptors::UuidHeader>(),
];

/// The channel selectors.
pub static SELECTORS: &[Entry<dyn Selector>] = &[
    Entry::selector::<selectors::LoadBalancing>(),
    Entry::selector::<selectors::Multiplexing>(),
    Entry::selector::<selectors::Replicating>(),
];

/// The sink processors.
pub static PROCESSORS: &[Entry<dyn SinkProcessor>] = &[
    Entry::processor::<processors::Default>(),
    Entry::processor::<processors::Failover>(),
    Entry::processor::<processors::LoadBalance>(),
];

/// The stream serializers.
pub static SERIALIZERS: &[Entry<dyn Serializer>] = &[
    Entry::serializer::<serializers::avro_body::AvroBody>(),
    Entry::serializer::<serializers::avro_event::AvroEvent>(),
    Entry::serializer::<serializers::header_and_text::HeaderAndText>(),
    Entry::serializer::<serializers::text::Text>(),
];

/// The config filters.
pub static CONFIG_FILTERS: &[Entry<dyn ConfigFilter>] = &[
    Entry::config_filter::<config_filters::env::Environment>(),
    Entry::config_filter::<config_filters::external::ExternalProcess>(),
    Entry::config_filter::<config_filters::hadoop::HadoopCredentials>(),
];
