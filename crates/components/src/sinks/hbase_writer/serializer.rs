//! How an event becomes changes of rows: a trait, and the list of what implements it.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use splashdam_config::{Diagnostic, Located, Section};
use splashdam_core::{Context, Event, OpenError, Place};

use super::columns::{self, Columnar};
use super::json::{self, Json};
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

/// Where an event lies in its channel. No other event of any channel ever lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventPlace {
    queue: [u8; 16],
    /// Counts the events of the channel.
    pub(crate) number: u64,
}

/// An event that a serializer makes nothing of, with what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Where there is no channel of dead letters the batch waits until the event is gone or the
    /// configuration has changed.
    Holds(String),
    /// Where there is none the event is dropped, as in Flume.
    Drops(String),
}

/// Turns events into changes of rows. For a new one: a file beside this, and a line in [`KINDS`].
pub(crate) trait RowSerializer: Send {
    /// Appends what an event comes to, which may be nothing. What it appended before it refuses is
    /// taken back.
    fn write(
        &mut self,
        event: &Event,
        place: Option<EventPlace>,
        actions: &mut Actions,
    ) -> Result<(), Refusal>;
}

/// How a serializer is to work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// An event has to come to the same changes whenever it is written, and to such that change
    /// nothing when they are made again.
    pub(crate) repeatable: bool,
}

/// One line of the list of serializers.
struct Kind {
    /// Ours, then Flume's classes, each for one of the sinks there and for all of them here.
    names: &'static [&'static str],
    check: fn(&Section, Manner) -> Vec<Diagnostic>,
    open: fn(&Section, Manner, &Context) -> Result<Box<dyn RowSerializer>, OpenError>,
    /// Whether rows of the same key come from different events, by choice of the configuration.
    shares_rows: fn(&Section) -> bool,
    /// Whether events must tell where they lie, by choice of the configuration.
    uses_place: fn(&Section) -> bool,
}

const KINDS: &[Kind] = &[
    Kind {
        names: &["columns"],
        check: |section, manner| findings(section, manner, columns::Config::check),
        open: |section, manner, cx| {
            Ok(Box::new(Columnar::new(read::<columns::Config>(section)?, manner, cx)?))
        },
        shares_rows: |section| columns::Config::shares_rows(&section.read().value),
        uses_place: |section| columns::Config::uses_place(&section.read().value),
    },
    Kind {
        names: &["json"],
        check: |section, manner| findings(section, manner, json::Config::check),
        open: |section, manner, cx| {
            Ok(Box::new(Json::new(read::<json::Config>(section)?, manner, cx)?))
        },
        shares_rows: |section| json::Config::shares_rows(&section.read().value),
        uses_place: |section| json::Config::uses_place(&section.read().value),
    },
    Kind {
        names: &[
            "regex",
            "org.apache.flume.sink.hbase.RegexHbaseEventSerializer",
            "org.apache.flume.sink.hbase2.RegexHBase2EventSerializer",
        ],
        check: |section, manner| findings(section, manner, Regex::check),
        open: |section, manner, cx| {
            Ok(Box::new(Regex::new(read::<regex::Config>(section)?, manner, cx)?))
        },
        shares_rows: |section| regex::Config::shares_rows(&section.read().value),
        uses_place: |_| false,
    },
    Kind {
        names: &[
            "simple",
            "org.apache.flume.sink.hbase.SimpleHbaseEventSerializer",
            "org.apache.flume.sink.hbase2.SimpleHBase2EventSerializer",
            "org.apache.flume.sink.hbase.SimpleAsyncHbaseEventSerializer",
        ],
        check: |section, manner| findings(section, manner, simple::Config::check),
        open: |section, manner, cx| {
            Ok(Box::new(Simple::new(read::<simple::Config>(section)?, manner, cx)?))
        },
        shares_rows: |_| false,
        uses_place: |section| simple::Config::uses_place(&section.read().value),
    },
];

/// What a sink writes when it names no serializer.
const DEFAULT: &str = "simple";

impl EventPlace {
    /// The places of a batch's events, in their order; none where its channel does not tell, or
    /// forgets them with the process.
    pub(crate) fn of(place: Option<&Place>) -> impl Iterator<Item = EventPlace> {
        place.filter(|place| place.lasting).into_iter().flat_map(|place| {
            let numbers = place.ranges.iter().cloned().flatten();
            numbers.map(|number| EventPlace { queue: place.queue, number })
        })
    }

    /// As a part of a row key: the queue in 16 hexadecimal digits, a hyphen, and the number in 20
    /// digits.
    pub(crate) fn key(&self) -> String {
        format!("{}-{}", self.queue(), self.sequence())
    }

    /// Half of the queue's identity, enough to tell queues apart.
    pub(crate) fn queue(&self) -> String {
        self.queue[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The number in 20 digits, so that keys sort as events came.
    pub(crate) fn sequence(&self) -> String {
        format!("{:020}", self.number)
    }

    /// The key, or what keeps an event from having one.
    pub(crate) fn key_of(place: Option<EventPlace>) -> Result<String, Refusal> {
        place.map(|place| place.key()).ok_or_else(|| Refusal::Holds(NO_PLACE.into()))
    }
}

/// Why an event has no place.
pub(crate) const NO_PLACE: &str = "the channel does not tell where its events lie; drain a file channel that syncs each transaction";

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Refusal::Holds(why)
    }
}

/// Opens the serializer that a sink's section names; its keys are those below.
pub(super) fn open(
    section: &Section,
    manner: Manner,
    cx: &Context,
) -> Result<Box<dyn RowSerializer>, OpenError> {
    match named(section) {
        Some(kind) => (kind.open)(section, manner, cx),
        None => Err(OpenError::Config(vec![unknown(section)])),
    }
}

/// What is wrong with such a section.
pub(super) fn check(section: &Section, manner: Manner) -> Vec<Diagnostic> {
    named(section).map_or_else(|| vec![unknown(section)], |kind| (kind.check)(section, manner))
}

/// Whether it may write several events into one row.
pub(super) fn shares_rows(section: &Section) -> bool {
    named(section).is_some_and(|kind| (kind.shares_rows)(section))
}

/// Whether it puts where an event lies into what it writes, other than to be repeatable.
pub(super) fn uses_place(section: &Section) -> bool {
    named(section).is_some_and(|kind| (kind.uses_place)(section))
}

fn named(section: &Section) -> Option<&'static Kind> {
    let written = section.value().unwrap_or(DEFAULT);
    KINDS.iter().find(|kind| kind.names.iter().any(|name| name.eq_ignore_ascii_case(written)))
}

fn unknown(section: &Section) -> Diagnostic {
    let written = section.value().unwrap_or(DEFAULT);
    let ours: Vec<String> = KINDS.iter().map(|kind| format!("`{}`", kind.names[0])).collect();
    Diagnostic::error("unknown-type", format!("there is no HBase serializer `{written}`"))
        .at(section.located_value().map(Located::span))
        .help(format!("known are {}, and Flume's classes for the last two; Java classes of one's own cannot be run", ours.join(", ")))
}

fn read<C: DeserializeOwned>(section: &Section) -> Result<C, OpenError> {
    section.read::<C>().into_result().map_err(OpenError::Config)
}

fn findings<C: DeserializeOwned>(
    section: &Section,
    manner: Manner,
    further: fn(&C, Manner) -> Vec<Diagnostic>,
) -> Vec<Diagnostic> {
    let reading = section.read::<C>();
    let mut findings = reading.findings;
    findings.extend(reading.value.iter().flat_map(|config| further(config, manner)));
    findings
}
