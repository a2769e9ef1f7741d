//! What to say of a type that no list holds.

use splashdam_config::{Diagnostic, Span, nearest};
use splashdam_core::{Entry, Lists};

/// A role that has a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Source,
    Channel,
    Sink,
    Interceptor,
    Selector,
    Processor,
}

impl Kind {
    const ALL: [Kind; 6] = [
        Kind::Source,
        Kind::Channel,
        Kind::Sink,
        Kind::Interceptor,
        Kind::Selector,
        Kind::Processor,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Source => "source",
            Kind::Channel => "channel",
            Kind::Sink => "sink",
            Kind::Interceptor => "interceptor",
            Kind::Selector => "channel selector",
            Kind::Processor => "sink processor",
        }
    }

    /// Whether Flume starts nothing at all for want of such a class.
    pub(super) fn is_fatal(self) -> bool {
        matches!(self, Kind::Source | Kind::Channel | Kind::Sink)
    }

    /// Name and further names of each entry of this role's list.
    fn names(self, lists: &Lists) -> Vec<(&'static str, &'static [&'static str])> {
        fn of<T: ?Sized>(list: &[Entry<T>]) -> Vec<(&'static str, &'static [&'static str])> {
            list.iter().map(|entry| (entry.name, entry.aliases)).collect()
        }
        match self {
            Kind::Source => of(lists.sources),
            Kind::Channel => of(lists.channels),
            Kind::Sink => of(lists.sinks),
            Kind::Interceptor => of(lists.interceptors),
            Kind::Selector => of(lists.selectors),
            Kind::Processor => of(lists.processors),
        }
    }
}

/// Types of Flume 1.11, and some that earlier versions had: role, alias, and the class below
/// `org.apache.flume.`. A list is always asked first, so nothing leaves this table once it is
/// built.
#[rustfmt::skip]
const FLUMES: &[(Kind, &str, &str)] = &[
    (Kind::Source, "avro", "source.AvroSource"),
    (Kind::Source, "thrift", "source.ThriftSource"),
    (Kind::Source, "exec", "source.ExecSource"),
    (Kind::Source, "http", "source.http.HTTPSource"),
    (Kind::Source, "jms", "source.jms.JMSSource"),
    (Kind::Source, "multiport_syslogtcp", "source.MultiportSyslogTCPSource"),
    (Kind::Source, "netcat", "source.NetcatSource"),
    (Kind::Source, "netcatudp", "source.NetcatUdpSource"),
    (Kind::Source, "seq", "source.SequenceGeneratorSource"),
    (Kind::Source, "spooldir", "source.SpoolDirectorySource"),
    (Kind::Source, "syslogtcp", "source.SyslogTcpSource"),
    (Kind::Source, "syslogudp", "source.SyslogUDPSource"),
    (Kind::Source, "TAILDIR", "source.taildir.TaildirSource"),
    (Kind::Source, "kafka", "source.kafka.KafkaSource"),
    (Kind::Source, "stress", "source.StressSource"),
    (Kind::Source, "scribe", "source.scribe.ScribeSource"),
    (Kind::Source, "twitter", "source.twitter.TwitterSource"),
    (Kind::Source, "avroLegacy", "source.avroLegacy.AvroLegacySource"),
    (Kind::Source, "thriftLegacy", "source.thriftLegacy.ThriftLegacySource"),
    (Kind::Channel, "memory", "channel.MemoryChannel"),
    (Kind::Channel, "file", "channel.file.FileChannel"),
    (Kind::Channel, "spillablememory", "channel.SpillableMemoryChannel"),
    (Kind::Channel, "jdbc", "channel.jdbc.JdbcChannel"),
    (Kind::Channel, "kafka", "channel.kafka.KafkaChannel"),
    (Kind::Sink, "null", "sink.NullSink"),
    (Kind::Sink, "logger", "sink.LoggerSink"),
    (Kind::Sink, "file_roll", "sink.RollingFileSink"),
    (Kind::Sink, "hdfs", "sink.hdfs.HDFSEventSink"),
    (Kind::Sink, "irc", "sink.irc.IRCSink"),
    (Kind::Sink, "avro", "sink.AvroSink"),
    (Kind::Sink, "thrift", "sink.ThriftSink"),
    (Kind::Sink, "elasticsearch", "sink.elasticsearch.ElasticSearchSink"),
    (Kind::Sink, "hbase", "sink.hbase.HBaseSink"),
    (Kind::Sink, "asynchbase", "sink.hbase.AsyncHBaseSink"),
    (Kind::Sink, "hbase2", "sink.hbase2.HBase2Sink"),
    (Kind::Sink, "morphline_solr", "sink.solr.morphline.MorphlineSolrSink"),
    (Kind::Sink, "hive", "sink.hive.HiveSink"),
    (Kind::Sink, "http", "sink.http.HttpSink"),
    (Kind::Sink, "kafka", "sink.kafka.KafkaSink"),
    (Kind::Sink, "kudu", "sink.kudu.KuduSink"),
    (Kind::Sink, "dataset", "sink.kite.DatasetSink"),
    (Kind::Interceptor, "morphline", "sink.solr.morphline.MorphlineInterceptor$Builder"),
    (Kind::Selector, "load_balancing", "channel.LoadBalancingChannelSelector"),
];

/// Types of Flume that are not served and are not going to be: why, and what to use instead.
const INSTEAD: &[(Kind, &str, &str, &str)] = &[
    (
        Kind::Source,
        "twitter",
        "the interface that it read from was closed",
        "use `exec` with a client of today's interface, or let it post to `http`",
    ),
    (
        Kind::Channel,
        "jdbc",
        "its database is driven by Java",
        "use `file`, which keeps events on disk in a log of its own; drain the old channel with Flume first",
    ),
    (
        Kind::Sink,
        "elasticsearch",
        "Flume itself has had no such class since 1.10",
        "use `http` with the address of a program that indexes, or `file_roll` and a shipper",
    ),
    (
        Kind::Sink,
        "dataset",
        "Flume itself has had no such class since 1.10",
        "use `file_roll` with the serializer `avro_event`, and load its files",
    ),
];

/// What to use instead of a Java class of one's own.
fn instead_of_java(kind: Kind) -> &'static str {
    match kind {
        Kind::Source => {
            "use `external` with a program of your own, or `exec` with one that prints events"
        }
        Kind::Channel => "use `file`, or `memory` where events may be lost",
        Kind::Sink => {
            "use `external` with a program of your own, or `file_roll` and a program that reads its files"
        }
        Kind::Interceptor => {
            "use `external` with a program of your own, or `search_replace`, `regex_extractor` and `regex_filter` where they will do"
        }
        Kind::Selector => "use `multiplexing` by a header that an interceptor sets",
        Kind::Processor => "use `failover` or `load_balance`",
    }
}

/// The alias of Flume's type that is written as `written`.
fn flumes(kind: Kind, written: &str) -> Option<&'static str> {
    let class = written.strip_prefix("org.apache.flume.").unwrap_or_default();
    let same = |(of, alias, below): &&(Kind, &str, &str)| {
        *of == kind && (alias.eq_ignore_ascii_case(written) || below.eq_ignore_ascii_case(class))
    };
    FLUMES.iter().find(same).map(|(_, alias, _)| *alias)
}

/// The finding for a type that `kind`'s list does not hold.
pub(super) fn unknown(lists: &Lists, kind: Kind, written: &str, at: Option<Span>) -> Diagnostic {
    let word = kind.word();
    if let Some(alias) = flumes(kind, written) {
        let same = |row: &&(Kind, &str, &str, &str)| row.0 == kind && row.1 == alias;
        if let Some((.., why, instead)) = INSTEAD.iter().find(same) {
            let message = format!("{word} type `{written}` is not served");
            let finding = Diagnostic::error("type-not-served", message).at(at).label(*why);
            return finding.help(*instead);
        }
        let message = format!("this version has no {word} of type `{written}` yet");
        return Diagnostic::error("type-not-built", message)
            .at(at)
            .label("one of Flume's, but not in this version")
            .help(known(lists, kind));
    }
    let finding =
        Diagnostic::error("unknown-type", format!("there is no {word} type `{written}`")).at(at);
    let of_other = |other: &Kind| {
        let same = |name: &str| name.eq_ignore_ascii_case(written);
        let listed = |(name, more): &(&str, &[&str])| same(name) || more.iter().any(|n| same(n));
        *other != kind
            && (flumes(*other, written).is_some() || other.names(lists).iter().any(listed))
    };
    if let Some(other) = Kind::ALL.into_iter().find(of_other) {
        return finding.label(format!("this is a {} type", other.word())).help(known(lists, kind));
    }
    if let Some(meant) = meant(lists, kind, written) {
        return finding.help(format!("did you mean `{meant}`?"));
    }
    if written.starts_with("org.apache.flume.") {
        return finding.help(known(lists, kind)).label("no class of Flume 1.11");
    }
    if written.contains('.') {
        let help = format!("{}; {}", instead_of_java(kind), known(lists, kind));
        return finding
            .help(help)
            .label("taken for a Java class that is no part of Flume")
            .with_note(
                "splashdam runs no Java: it knows Flume's own types, by alias or class name",
            );
    }
    finding.help(known(lists, kind))
}

/// The name of this role that `written` is most like.
fn meant(lists: &Lists, kind: Kind, written: &str) -> Option<&'static str> {
    let mut names = Vec::new();
    for (name, more) in kind.names(lists) {
        names.push(name);
        names.extend(more);
    }
    names.extend(FLUMES.iter().filter(|(of, ..)| *of == kind).map(|(_, alias, _)| *alias));
    // Quotes and blanks that were pasted with it are reported where they stand.
    let plain: String = written.chars().filter(char::is_ascii_graphic).collect();
    let plain = plain.trim_matches(['"', '\'']);
    let same = |name: &&&str| name.eq_ignore_ascii_case(plain);
    names.iter().find(same).copied().or_else(|| nearest(plain, names.iter().copied()))
}

/// The types there are, as a sentence.
fn known(lists: &Lists, kind: Kind) -> String {
    let names: Vec<String> =
        kind.names(lists).iter().map(|(name, _)| format!("`{name}`")).collect();
    if names.is_empty() {
        return format!("this build has no {} at all", kind.word());
    }
    format!("the {} types are {}", kind.word(), names.join(", "))
}

/// The types of Flume's whose keys all start with `prefix`, as `hdfs.` those of the HDFS sink.
pub(super) fn prefixed(prefix: &str) -> Option<&'static str> {
    ["hdfs", "hive", "kafka", "kite"].into_iter().find(|name| *name == prefix)
}
