//! Stream serializers, one file each, for sinks that write files, and how a sink finds its own.

pub mod avro_body;
mod avro_container;
pub mod avro_event;
pub mod header_and_text;
pub mod text;

use splashdam_config::{Diagnostic, Section};
use splashdam_core::{Context, Entry, OpenError, Serializer, find, known_types};

use crate::SERIALIZERS;

/// What a sink writes when it names no serializer.
const DEFAULT: &str = "TEXT";

/// Opens the serializer that a sink's section names, as `sink.serializer = avro_event` does; its
/// keys are those below.
pub(crate) async fn open(section: &Section, cx: Context) -> Result<Box<dyn Serializer>, OpenError> {
    match named(section) {
        Some(entry) => entry.open(section.clone(), cx).await,
        None => Err(OpenError::Config(vec![unknown(section)])),
    }
}

/// What is wrong with such a section: its type, or keys of the serializer.
pub(crate) fn check(section: &Section) -> Vec<Diagnostic> {
    match named(section) {
        Some(entry) => entry.look(section).findings,
        None => vec![unknown(section)],
    }
}

/// What becomes of an event that such a serializer refuses; `None` for one that refuses none.
pub(crate) fn rejects(section: &Section) -> Option<&'static str> {
    named(section)?.look(section).facts?.rejects
}

fn named(section: &Section) -> Option<&'static Entry<dyn Serializer>> {
    find(SERIALIZERS, section.value().unwrap_or(DEFAULT))
}

fn unknown(section: &Section) -> Diagnostic {
    let written = section.value().unwrap_or(DEFAULT);
    let known = known_types(SERIALIZERS).join("`, `");
    Diagnostic::error("unknown-type", format!("there is no serializer `{written}`"))
        .at(section.located_value().map(splashdam_config::Located::span))
        .help(format!("known are `{known}`"))
}
