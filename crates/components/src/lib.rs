//! Every source, channel, sink and the rest, one file each, and the lists of them.
//!
//! What an agent can do is what the lists say: no macro, no link-time magic. Types are matched in
//! any case, by alias or by Flume's class name.

mod accepting;
mod avro_file;
pub mod channels;
pub mod charset;
pub mod child;
pub mod config_filters;
pub mod deserializers;
pub mod dialer;
pub mod external;
pub mod interceptors;
pub mod ip_filter;
mod java_map;
pub mod java_regex;
pub mod jceks;
pub mod joda;
mod known;
pub mod name_pattern;
#[cfg(test)]
mod opening_tests;
pub mod processors;
pub mod selectors;
pub mod serializers;
mod simulation;
pub mod sinks;
pub mod sources;
mod time_zone;
pub mod tls;
mod zlib_stream;

#[cfg(feature = "simulation")]
pub use simulation::{Bug, Simulation};

use splashdam_config::ConfigFilter;
use splashdam_core::{
    Channel, DynInterceptor, DynSink, DynSource, Entry, Lists, Selector, Serializer, SinkProcessor,
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
    Entry::source::<sources::avro::Avro>(),
    Entry::source::<sources::avro_legacy::AvroLegacy>(),
    Entry::source::<sources::exec::Exec>(),
    Entry::source::<sources::external::External>(),
    Entry::source::<sources::http::Http>(),
    Entry::source::<sources::jms::Jms>(),
    Entry::source::<sources::multiport_syslog_tcp::MultiportSyslogTcp>(),
    Entry::source::<sources::netcat::Netcat>(),
    Entry::source::<sources::netcatudp::NetcatUdp>(),
    Entry::source::<sources::scribe::Scribe>(),
    Entry::source::<sources::seq::Seq>(),
    Entry::source::<sources::spooldir::SpoolDir>(),
    Entry::source::<sources::stress::Stress>(),
    Entry::source::<sources::syslog_tcp::SyslogTcp>(),
    Entry::source::<sources::syslog_udp::SyslogUdp>(),
    Entry::source::<sources::taildir::Taildir>(),
    Entry::source::<sources::thrift::Thrift>(),
    Entry::source::<sources::thrift_legacy::ThriftLegacy>(),
];

/// The channels.
pub static CHANNELS: &[Entry<dyn Channel>] = &[
    Entry::channel::<channels::file::FileChannel>(),
    Entry::channel::<channels::memory::Memory>(),
    Entry::channel::<channels::pseudo_memory::PseudoMemory>(),
    Entry::channel::<channels::spillable::Spillable>(),
];

/// The sinks.
pub static SINKS: &[Entry<dyn DynSink>] = &[
    Entry::sink::<sinks::asynchbase::AsyncHbase>(),
    Entry::sink::<sinks::avro::Avro>(),
    Entry::sink::<sinks::external::External>(),
    Entry::sink::<sinks::file_roll::FileRoll>(),
    Entry::sink::<sinks::hbase::Hbase>(),
    Entry::sink::<sinks::hbase2::Hbase2>(),
    Entry::sink::<sinks::http::Http>(),
    Entry::sink::<sinks::irc::Irc>(),
    Entry::sink::<sinks::logger::Logger>(),
    Entry::sink::<sinks::null::Null>(),
    Entry::sink::<sinks::syslog::Syslog>(),
    Entry::sink::<sinks::thrift::Thrift>(),
];

/// The interceptors.
pub static INTERCEPTORS: &[Entry<dyn DynInterceptor>] = &[
    Entry::interceptor::<interceptors::External>(),
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

#[cfg(test)]
mod tests {
    use splashdam_config::Section;
    use splashdam_core::find;

    use super::*;

    #[test]
    fn classes_of_flume_find_their_type() {
        fn check<T: ?Sized>(list: &[Entry<T>], types: &[(&str, &str)]) {
            assert_eq!(list.len(), types.len(), "a type is not in this table");
            for (name, class) in types {
                for written in [*name, *class, &class.to_ascii_uppercase()] {
                    let found = find(list, written).map(|entry| entry.name);
                    assert_eq!(found, Some(*name), "{written}");
                }
            }
        }
        check(
            SOURCES,
            &[
                ("avro", "org.apache.flume.source.AvroSource"),
                ("avroLegacy", "org.apache.flume.source.avroLegacy.AvroLegacySource"),
                ("exec", "org.apache.flume.source.ExecSource"),
                ("external", "external"),
                ("http", "org.apache.flume.source.http.HTTPSource"),
                ("jms", "org.apache.flume.source.jms.JMSSource"),
                ("multiport_syslogtcp", "org.apache.flume.source.MultiportSyslogTCPSource"),
                ("netcat", "org.apache.flume.source.NetcatSource"),
                ("netcatudp", "org.apache.flume.source.NetcatUdpSource"),
                ("scribe", "org.apache.flume.source.scribe.ScribeSource"),
                ("seq", "org.apache.flume.source.SequenceGeneratorSource"),
                ("spooldir", "org.apache.flume.source.SpoolDirectorySource"),
                ("stress", "org.apache.flume.source.StressSource"),
                ("syslogtcp", "org.apache.flume.source.SyslogTcpSource"),
                ("syslogudp", "org.apache.flume.source.SyslogUDPSource"),
                ("TAILDIR", "org.apache.flume.source.taildir.TaildirSource"),
                ("thrift", "org.apache.flume.source.ThriftSource"),
                ("thriftLegacy", "org.apache.flume.source.thriftLegacy.ThriftLegacySource"),
            ],
        );
        let pseudo = "org.apache.flume.channel.PseudoTxnMemoryChannel";
        check(
            CHANNELS,
            &[
                ("file", "org.apache.flume.channel.file.FileChannel"),
                ("memory", "org.apache.flume.channel.MemoryChannel"),
                (pseudo, pseudo),
                ("SPILLABLEMEMORY", "org.apache.flume.channel.SpillableMemoryChannel"),
            ],
        );
        check(
            SINKS,
            &[
                ("asynchbase", "org.apache.flume.sink.hbase.AsyncHBaseSink"),
                ("hbase", "org.apache.flume.sink.hbase.HBaseSink"),
                ("hbase2", "org.apache.flume.sink.hbase2.HBase2Sink"),
                ("avro", "org.apache.flume.sink.AvroSink"),
                ("external", "external"),
                ("file_roll", "org.apache.flume.sink.RollingFileSink"),
                ("http", "org.apache.flume.sink.http.HttpSink"),
                ("irc", "org.apache.flume.sink.irc.IRCSink"),
                ("logger", "org.apache.flume.sink.LoggerSink"),
                ("null", "org.apache.flume.sink.NullSink"),
                ("syslog", "syslog"),
                ("thrift", "org.apache.flume.sink.ThriftSink"),
            ],
        );
        let interceptor =
            |of: &str| format!("org.apache.flume.interceptor.{of}Interceptor$Builder");
        let classes = ["Host", "RegexExtractor", "RegexFiltering", "RemoveHeader"];
        let [host, extractor, filter, remove] = classes.map(interceptor);
        let [replace, fixed, time] = ["SearchAndReplace", "Static", "Timestamp"].map(interceptor);
        let uuid = "org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder";
        let uuid_name = find(INTERCEPTORS, uuid).map_or("", |entry| entry.name);
        check(
            INTERCEPTORS,
            &[
                ("external", "external"),
                ("host", &host),
                ("regex_extractor", &extractor),
                ("regex_filter", &filter),
                ("remove_header", &remove),
                ("search_replace", &replace),
                ("static", &fixed),
                ("timestamp", &time),
                (uuid_name, uuid),
            ],
        );
        check(
            SELECTORS,
            &[
                ("load_balancing", "org.apache.flume.channel.LoadBalancingChannelSelector"),
                ("multiplexing", "org.apache.flume.channel.MultiplexingChannelSelector"),
                ("replicating", "org.apache.flume.channel.ReplicatingChannelSelector"),
            ],
        );
        check(
            PROCESSORS,
            &[
                ("default", "org.apache.flume.sink.DefaultSinkProcessor"),
                ("failover", "org.apache.flume.sink.FailoverSinkProcessor"),
                ("load_balance", "org.apache.flume.sink.LoadBalancingSinkProcessor"),
            ],
        );
        let serializer =
            |of: &str| format!("org.apache.flume.serialization.{of}EventSerializer$Builder");
        let [avro, both, text] =
            ["FlumeEventAvro", "HeaderAndBodyText", "BodyText"].map(serializer);
        let body = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";
        let body_name = find(SERIALIZERS, body).map_or("", |entry| entry.name);
        check(
            SERIALIZERS,
            &[
                (body_name, body),
                ("avro_event", &avro),
                ("header_and_text", &both),
                ("text", &text),
            ],
        );
        let filter = |of: &str| format!("org.apache.flume.configfilter.{of}ConfigFilter");
        let classes = ["EnvironmentVariable", "ExternalProcess", "HadoopCredentialStore"];
        let [env, external, hadoop] = classes.map(filter);
        check(CONFIG_FILTERS, &[("env", &env), ("external", &external), ("hadoop", &hadoop)]);
    }

    #[test]
    fn default_batches_are_those_of_flume() {
        fn facts<T: ?Sized>(list: &[Entry<T>], name: &str, keys: &str) -> splashdam_core::Facts {
            let entry = find(list, name).unwrap();
            entry.look(&Section::parse(keys)).facts.unwrap()
        }
        for (name, keys, batch) in [
            ("exec", "command = true", 20),
            ("external", "command = true", 100),
            ("multiport_syslogtcp", "ports = 1", 100),
            ("spooldir", "spoolDir = /x", 100),
            ("TAILDIR", "filegroups = g\nfilegroups.g = /x/y", 100),
            ("seq", "", 1),
            ("stress", "", 1),
        ] {
            assert_eq!(facts(SOURCES, name, keys).batch_events, Some(batch), "{name}");
        }
        for (name, keys, batch) in [
            ("avro", "hostname = h\nport = 1", Some(100)),
            ("external", "command = true", Some(100)),
            ("null", "", Some(100)),
            ("file_roll", "sink.directory = /x", Some(100)),
            ("hbase", "table = t\ncolumnFamily = f", Some(100)),
            ("hbase2", "table = t\ncolumnFamily = f", Some(100)),
            ("asynchbase", "table = t\ncolumnFamily = f", Some(100)),
            ("http", "endpoint = http://h/", Some(1)),
            ("irc", "hostname = h\nnick = n\nchan = c", Some(1)),
            ("logger", "", None),
            ("syslog", "hostname = mill\nport = 1", Some(100)),
            ("thrift", "hostname = mill\nport = 1", Some(100)),
        ] {
            assert_eq!(facts(SINKS, name, keys).batch_events, batch, "{name}");
        }
        let pseudo = "org.apache.flume.channel.PseudoTxnMemoryChannel";
        for (name, most) in [("file", Some(10_000)), ("memory", Some(100)), (pseudo, None)] {
            assert_eq!(facts(CHANNELS, name, "").transaction_events, most, "{name}");
        }
    }

    #[test]
    fn what_is_their_own_is_claimed() {
        use splashdam_core::{Claim, Claimed, Hold};
        fn claims<T: ?Sized>(list: &[Entry<T>], name: &str, keys: &str) -> Vec<String> {
            let looked = find(list, name).unwrap().look(&Section::parse(keys));
            let claims = looked.facts.unwrap_or_else(|| panic!("{name}: {:?}", looked.findings));
            let text = |Claim { key, to, hold }: Claim| {
                let how = match hold {
                    Hold::Alone(severity) => format!("{severity:?}").to_lowercase(),
                    Hold::Log => "log".into(),
                    Hold::OfFlume => "of flume".into(),
                };
                let of = match &to {
                    Claimed::Port { host, .. } => format!(" of {host}"),
                    Claimed::Files { prefix, suffix, .. } => format!(" for {prefix}*{suffix}"),
                    Claimed::File(_) | Claimed::Directory(_) => String::new(),
                };
                format!("{key} {to}{of}, {how}")
            };
            claims.claims.into_iter().map(text).collect()
        }
        for (name, keys, claimed) in [
            ("avro", "bind = a\nport = 1", &["port TCP port 1 of a, error"][..]),
            ("avroLegacy", "host = a\nport = 1", &["port TCP port 1 of a, error"]),
            ("http", "bind = a\nport = 1", &["port TCP port 1 of a, error"]),
            (
                "multiport_syslogtcp",
                "ports = 1 2",
                &["ports TCP port 1 of 0.0.0.0, error", "ports TCP port 2 of 0.0.0.0, error"],
            ),
            ("netcat", "bind = a\nport = 1", &["port TCP port 1 of a, error"]),
            ("netcatudp", "bind = a\nport = 1", &["port UDP port 1 of a, error"]),
            ("scribe", "", &["port TCP port 1499 of 0.0.0.0, error"]),
            (
                "spooldir",
                "spoolDir = /s",
                &["trackerDir /s/.flumespool, error", "spoolDir /s, warning"],
            ),
            (
                "spooldir",
                "spoolDir = /s\ntrackerDir = /t",
                &["trackerDir /t, error", "spoolDir /s, warning"],
            ),
            ("syslogtcp", "host = a\nport = 1", &["port TCP port 1 of a, error"]),
            ("syslogudp", "host = a\nport = 1", &["port UDP port 1 of a, error"]),
            (
                "TAILDIR",
                "filegroups = g\nfilegroups.g = /x/y",
                &["positionFile ~/.flume/taildir_position.json, error"],
            ),
            (
                "TAILDIR",
                "filegroups = g\nfilegroups.g = /x/y\npositionFile = /p",
                &["positionFile /p, error"],
            ),
            ("thrift", "bind = a\nport = 1", &["port TCP port 1 of a, error"]),
            ("thriftLegacy", "host = a\nport = 1", &["port TCP port 1 of a, error"]),
        ] {
            assert_eq!(claims(SOURCES, name, keys), claimed, "{name} {keys}");
        }
        let keys = Section::parse("bind = a\nhost = a\nport = 1\nports = 1\n");
        let listens = |entry: &&Entry<dyn DynSource>| {
            let facts = entry.look(&keys).facts.unwrap_or_default();
            let listens = facts.place.is_some_and(|place| place.starts_with("listens on"));
            assert!(!listens || !facts.claims.is_empty(), "{} claims no port", entry.name);
            listens
        };
        assert_eq!(SOURCES.iter().filter(listens).count(), 11);
        let overflow = "dataDirs = /a,/b/\ncheckpointDir = /c\nbackupCheckpointDir = /d";
        let dual = format!("{overflow}\nuseDualCheckpoints = true");
        let directories = ["dataDirs /a, log", "dataDirs /b, log", "checkpointDir /c, of flume"];
        let backup = [&directories[..], &["backupCheckpointDir /d, of flume"]].concat();
        for (name, keys, claimed) in [
            ("file", "", &["dataDirs ~/.flume/file-channel/data, log"][..]),
            ("file", overflow, &directories),
            ("file", &dual, &backup),
            ("SPILLABLEMEMORY", overflow, &directories),
            ("SPILLABLEMEMORY", "memoryCapacity = 0\ndataDirs = /a", &directories[..1]),
            ("SPILLABLEMEMORY", "overflowCapacity = 0\ndataDirs = /a", &[]),
            ("memory", "", &[]),
        ] {
            assert_eq!(claims(CHANNELS, name, keys), claimed, "{name} {keys}");
        }
        let files = "sink.directory = /f\nsink.pathManager.prefix = p";
        for (keys, claimed) in [
            ("", "sink.directory /f for p*, warning"),
            ("sink.pathManager.extension = e", "sink.directory /f for p*.e, warning"),
            (
                "sink.pathManager.extension = e\nsink.compression = gzip",
                "sink.directory /f for p*.e.gz, warning",
            ),
        ] {
            assert_eq!(claims(SINKS, "file_roll", &format!("{files}\n{keys}")), [claimed]);
        }
    }
}
