//! Deserializers: a file of the spooling directory into events.
//!
//! They are named by Flume's alias or by the class of their builder, and their keys stand below
//! `deserializer.`. They block, and run where blocking is allowed.

pub mod avro;
pub mod blob;
mod content;
pub mod line;

use std::borrow::Cow;
use std::io;

use splashdam_config::{Diagnostic, Reading, Section};
use splashdam_core::Batch;

use crate::charset::{Charset, OnMalformed};
pub use content::Content;

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
pub struct Input {
    /// What is in it.
    pub content: Content,
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
    /// It is not what it seemed to be.
    #[error("is damaged at byte {at}: {what}")]
    Damaged {
        /// Bytes in front of the place.
        at: u64,
        /// What is wrong there.
        what: Cow<'static, str>,
    },
}

impl ReadError {
    /// What an error while reading is: what the system says, or what the bytes are.
    fn reading(at: u64, source: io::Error) -> ReadError {
        if is_damage(&source) {
            ReadError::Damaged { at, what: source.to_string().into() }
        } else {
            ReadError::Io { at, source }
        }
    }
}

/// Whether an error is about a file's bytes, so that reading them again gives it again.
pub fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// A deserializer as configured.
#[derive(Clone, Debug)]
pub enum Choice {
    /// A line is an event.
    Line(line::Config),
    /// A datum of a container file is an event.
    Avro(avro::Config),
    /// A file is an event.
    Blob(blob::Config),
}

const LINE: &[&str] = &[
    "LINE",
    "org.apache.flume.serialization.LineDeserializer$Builder",
    "org.apache.flume.serialization.LineDeserializer",
];
const AVRO: &[&str] = &[
    "AVRO",
    "org.apache.flume.serialization.AvroEventDeserializer$Builder",
    "org.apache.flume.serialization.AvroEventDeserializer",
];
const BLOB: &[&str] = &[
    "BLOB",
    "org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder",
    "org.apache.flume.sink.solr.morphline.BlobDeserializer",
];

impl Choice {
    /// Reads what a `deserializer` key and those below it say; `LINE` without any.
    pub fn look(section: &Section) -> Reading<Choice> {
        let written = section.value().unwrap_or("LINE");
        let is = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(written));
        let reader = section.reader();
        if is(LINE) {
            let Reading { value, findings } = reader.subject("deserializer `LINE`").read();
            return Reading { value: value.map(Choice::Line), findings };
        }
        if is(AVRO) {
            let Reading { value, findings } = reader.subject("deserializer `AVRO`").read();
            return Reading { value: value.map(Choice::Avro), findings };
        }
        if is(BLOB) {
            let Reading { value, findings } = reader.subject("deserializer `BLOB`").read();
            return Reading { value: value.map(Choice::Blob), findings };
        }
        let message = format!("there is no deserializer `{written}`");
        let finding = Diagnostic::error("unknown-deserializer", message)
            .at(section.span())
            .help("use LINE, AVRO or BLOB: an event of each line, each datum, or the whole file");
        Reading { value: None, findings: vec![finding] }
    }

    /// Begins to read a file.
    ///
    /// # Errors
    /// What the system says when the first bytes are looked at.
    pub fn open(&self, input: Input) -> io::Result<Box<dyn Deserializer>> {
        match self {
            Choice::Line(config) => Ok(Box::new(line::Line::open(config, input)?)),
            Choice::Avro(config) => Ok(Box::new(avro::Avro::open(config, input)?)),
            Choice::Blob(config) => Ok(Box::new(blob::Blob::open(config, input)?)),
        }
    }
}
