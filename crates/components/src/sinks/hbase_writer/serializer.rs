//! How an event becomes changes of rows: a trait, and the list of what implements it.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use splashdam_config::{Diagnostic, Located, Section};
use splashdam_core::{Context, Event, OpenError};

use super::regex::{self, Regex};
use super::simple::{self, Simple};

/// Columns of the sink's family, with what goes into them.
pub(crate) type Columns<T> = Vec<(Bytes, T)>;

/// What a batch of events comes to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Actions {
    /// Rows that are set.
    pub(crate) puts: Vec<(Bytes, Columns<Bytes>)>,
    /// Rows that are added to.
    pub(crate) increments: Vec<(Bytes, Columns<i64>)>,
}

/// Turns events into changes of rows. For a new one: a file beside this, and a line in [`KINDS`].
pub(crate) trait RowSerializer: Send {
    /// Appends what an event comes to, which may be nothing.
    ///
    /// # Errors
    /// What is wrong with the event. The batch is not written, now or later, until the event is
    /// gone or the configuration has changed.
    fn write(&mut self, event: &Event, actions: &mut Actions) -> Result<(), String>;
}

/// One line of the list of serializers.
struct Kind {
    /// Ours, then Flume's classes, each for one of the sinks there and for all of them here.
    names: &'static [&'static str],
    check: fn(&Section) -> Vec<Diagnostic>,
    open: fn(&Section, &Context) -> Result<Box<dyn RowSerializer>, OpenError>,
}

const KINDS: &[Kind] = &[
    Kind {
        names: &[
            "regex",
            "org.apache.flume.sink.hbase.RegexHbaseEventSerializer",
            "org.apache.flume.sink.hbase2.RegexHBase2EventSerializer",
        ],
        check: |section| findings::<regex::Config>(section, Regex::check),
        open: |section, cx| Ok(Box::new(Regex::new(read::<regex::Config>(section)?, cx)?)),
    },
    Kind {
        names: &[
            "simple",
            "org.apache.flume.sink.hbase.SimpleHbaseEventSerializer",
            "org.apache.flume.sink.hbase2.SimpleHBase2EventSerializer",
            "org.apache.flume.sink.hbase.SimpleAsyncHbaseEventSerializer",
        ],
        check: |section| findings::<simple::Config>(section, |_| Vec::new()),
        open: |section, cx| Ok(Box::new(Simple::new(read::<simple::Config>(section)?, cx))),
    },
];

/// What a sink writes when it names no serializer.
const DEFAULT: &str = "simple";

/// Opens the serializer that a sink's section names; its keys are those below.
pub(super) fn open(section: &Section, cx: &Context) -> Result<Box<dyn RowSerializer>, OpenError> {
    match named(section) {
        Some(kind) => (kind.open)(section, cx),
        None => Err(OpenError::Config(vec![unknown(section)])),
    }
}

/// What is wrong with such a section.
pub(crate) fn check(section: &Section) -> Vec<Diagnostic> {
    named(section).map_or_else(|| vec![unknown(section)], |kind| (kind.check)(section))
}

fn named(section: &Section) -> Option<&'static Kind> {
    let written = section.value().unwrap_or(DEFAULT);
    KINDS.iter().find(|kind| kind.names.iter().any(|name| name.eq_ignore_ascii_case(written)))
}

fn unknown(section: &Section) -> Diagnostic {
    let written = section.value().unwrap_or(DEFAULT);
    Diagnostic::error("unknown-type", format!("there is no HBase serializer `{written}`"))
        .at(section.located_value().map(Located::span))
        .help("known are `simple` and `regex`, and Flume's classes for them; Java classes of one's own cannot be run")
}

fn read<C: DeserializeOwned>(section: &Section) -> Result<C, OpenError> {
    section.read::<C>().into_result().map_err(OpenError::Config)
}

fn findings<C: DeserializeOwned>(
    section: &Section,
    further: fn(&C) -> Vec<Diagnostic>,
) -> Vec<Diagnostic> {
    let reading = section.read::<C>();
    let mut findings = reading.findings;
    findings.extend(reading.value.iter().flat_map(further));
    findings
}
