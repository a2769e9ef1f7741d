//! Deserializers: a file of the spooling directory into events.
//!
//! They are named by Flume's alias or by the class of their builder, and their keys stand below
//! `deserializer.`. They block, and run where blocking is allowed.

pub mod line;

use std::fs::File;
use std::io;

use splashdam_config::{Diagnostic, Reading, Section};
use splashdam_core::Batch;

use crate::charset::{Charset, OnMalformed};

/// Bytes of a batch after which it ends, however few events it has.
pub const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Reads one file from front to back.
pub trait Deserializer: Send {
    /// The next events, at most `most`; none at the end of the file. An error keeps its place:
    /// what comes before it has been returned, and reading again fails again.
    fn read(&mut self, most: usize) -> Result<Batch, ReadError>;

    /// Bytes of the file in front of what comes next: where to begin again when all that was
    /// returned is safe.
    fn position(&self) -> u64;
}

/// A file to be read.
#[derive(Debug)]
pub struct Input {
    /// The file.
    pub file: File,
    /// Where to begin, as [`Deserializer::position`] told.
    pub position: u64,
    /// What its text is written in.
    pub charset: Charset,
    /// What becomes of bytes that mean nothing in that charset.
    pub on_malformed: OnMalformed,
}

/// A file could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system says why.
    #[error("cannot be read at byte {at}: {source}")]
    Io {
        /// Bytes in front of the place.
        at: u64,
        /// What the system says.
        source: io::Error,
    },
    /// Its bytes mean nothing.
    #[error("byte {at} is not valid {charset}")]
    Malformed {
        /// Bytes in front of the place.
        at: u64,
        /// What it was read as.
        charset: Charset,
    },
}

/// A deserializer as configured.
#[derive(Clone, Debug)]
pub enum Choice {
    /// A line is an event.
    Line(line::Config),
}

const LINE: &[&str] = &[
    "LINE",
    "org.apache.flume.serialization.LineDeserializer$Builder",
    "org.apache.flume.serialization.LineDeserializer",
];
/// Flume's others, which are told apart from names that nobody knows.
const NOT_YET: &[&str] = &[
    "AVRO",
    "org.apache.flume.serialization.AvroEventDeserializer$Builder",
    "org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder",
];

impl Choice {
    /// Reads what a `deserializer` key and those below it say; `LINE` without any.
    pub fn look(section: &Section) -> Reading<Choice> {
        let written = section.value().unwrap_or("LINE");
        let is = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(written));
        if is(LINE) {
            let Reading { value, findings } =
                section.reader().subject("deserializer `LINE`").read::<line::Config>();
            return Reading { value: value.map(Choice::Line), findings };
        }
        let message = if is(NOT_YET) {
            format!("deserializer `{written}` is not available yet")
        } else {
            format!("there is no deserializer `{written}`")
        };
        let finding = Diagnostic::error("unknown-deserializer", message)
            .at(section.span())
            .help("use LINE, which makes an event of each line");
        Reading { value: None, findings: vec![finding] }
    }

    /// Begins to read a file.
    ///
    /// # Errors
    /// What the system says when the first bytes are looked at.
    pub fn open(&self, input: Input) -> io::Result<Box<dyn Deserializer>> {
        match self {
            Choice::Line(config) => Ok(Box::new(line::Line::open(config, input)?)),
        }
    }
}
