//! What the sources of syslog share: their keys, how messages become events, and connections.

pub(super) mod connection;
mod format;
mod names;

use std::net::SocketAddr;

use bytes::Bytes;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::Deserializer;
use splashdam_core::{Context, Event, OpenError, Text, World};
use splashdam_wire::syslog::cut::{Cutter, Framing as Frames, LineEnd, Rest};
use splashdam_wire::syslog::{INVALID, Keep, Moment, STATUS, flume, multiport, rfc};

use crate::charset::{Charset, OnMalformed};
use crate::ip_filter::java_address;
use crate::time_zone;
pub(super) use format::FormatKeys;
use names::Names;

/// Keys that all sources of syslog have.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Messages {
    /// Who says how messages are read: `flume` gives the headers and bodies that this source of
    /// Flume's gives, `rfc` those of RFC 5424 and RFC 3164, with the program, the process, the kind
    /// of message and structured data in headers. Not a key of Flume.
    #[serde(default)]
    pub mode: Mode,
    /// Parts of the message that stay in the body: `none`, `all`, or any of `priority`, `version`,
    /// `timestamp` and `hostname`.
    #[serde(rename = "keepFields", default)]
    pub keep_fields: KeepFields,
    /// Name of the header that gets the sender's address. No header, when it is not set.
    #[serde(rename = "clientIPHeader")]
    pub client_ip_header: Option<String>,
    /// Name of the header that gets the sender's host name, or its address if it has no name. No
    /// header, and no question to the name service, when it is not set.
    #[serde(rename = "clientHostnameHeader")]
    pub client_hostname_header: Option<String>,
}

/// Who says how messages are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Flume.
    #[default]
    Flume,
    /// RFC 5424 and RFC 3164.
    Rfc,
}

/// Which parts of a message stay in the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepFields(pub Keep);

/// How messages follow each other on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// Each ends at LF.
    Newline,
    /// Each begins with its length.
    OctetCounted,
    /// Told by the first byte of each message.
    Auto,
}

/// How messages become events, in one dialect.
#[derive(Clone, Debug)]
pub(super) enum Dialect {
    /// Flume's `SyslogUtils`.
    Flume(flume::Reader),
    /// Flume's `SyslogParser`, in a charset.
    Multiport(Keep, Charset),
    /// The RFCs.
    Rfc(Keep),
}

/// What a message became.
#[derive(Debug)]
pub(super) enum Told {
    /// An event.
    Event(Event),
    /// An event that says that the message was none; counted as a failure, as Flume does for `multiport_syslogtcp`.
    Invalid(Event),
    /// The same, which is not counted: Flume does not for `syslogtcp` and `syslogudp`.
    Odd(Event),
    /// Nothing.
    Nothing,
}

/// The time zone and the clock that times are read by.
pub(super) struct Times {
    world: std::sync::Arc<dyn World>,
    zone: TimeZone,
}

/// Headers that say who sent a message.
pub(super) struct Senders {
    ip_header: Option<Text>,
    name_header: Option<Text>,
    names: Names,
}

/// The values of these headers for one sender.
pub(super) type SenderHeaders = Vec<(Text, Text)>;

impl<'de> Deserialize<'de> for KeepFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(KeepFields(Keep::named(&String::deserialize(deserializer)?)))
    }
}

impl Messages {
    /// Names of headers that these keys add.
    pub(super) fn headers(&self) -> impl Iterator<Item = String> {
        self.client_ip_header.iter().chain(&self.client_hostname_header).cloned()
    }

    /// Names of all headers that messages may get, as far as they are known.
    pub(super) fn sets_headers(&self, known: &[&str]) -> Vec<String> {
        let all = match self.mode {
            Mode::Flume => known,
            // Structured data has names of its own.
            Mode::Rfc => &["*"],
        };
        all.iter().map(|name| (*name).to_owned()).chain(self.headers()).collect()
    }

    /// The dialect of `syslogtcp` and `syslogudp`.
    pub(super) fn dialect(&self, format: &FormatKeys) -> Result<Dialect, OpenError> {
        let keep = self.keep_fields.0;
        Ok(match self.mode {
            Mode::Flume => Dialect::Flume(flume::Reader::new(keep, format.format()?)),
            Mode::Rfc => Dialect::Rfc(keep),
        })
    }

    /// The dialect of `multiport_syslogtcp`.
    pub(super) fn multiport_dialect(&self, charset: Charset) -> Dialect {
        match self.mode {
            Mode::Flume => Dialect::Multiport(self.keep_fields.0, charset),
            Mode::Rfc => Dialect::Rfc(self.keep_fields.0),
        }
    }

    /// What cuts messages out of a stream.
    pub(super) fn cutter(&self, framing: Option<Framing>, limit: Option<usize>) -> Cutter {
        let framing = match (framing, self.mode) {
            (Some(Framing::Newline), _) | (None, Mode::Flume) => Frames::Newline,
            (Some(Framing::OctetCounted), _) => Frames::OctetCounted,
            (Some(Framing::Auto), _) | (None, Mode::Rfc) => Frames::Auto,
        };
        let rest = match self.mode {
            Mode::Flume => Rest::NextMessage,
            Mode::Rfc => Rest::Skipped,
        };
        Cutter::new(framing, self.limit(limit), rest)
    }

    /// Bytes of a message at the most.
    pub(super) fn limit(&self, limit: Option<usize>) -> usize {
        limit.unwrap_or(match self.mode {
            Mode::Flume => 2500,
            Mode::Rfc => 65_536,
        })
    }

    pub(super) fn senders(&self) -> Senders {
        let header = |name: &Option<String>| name.as_deref().map(Text::from);
        Senders {
            ip_header: header(&self.client_ip_header),
            name_header: header(&self.client_hostname_header),
            names: Names::new(),
        }
    }
}

/// The line end of a charset.
pub(super) fn line_end(charset: Charset) -> LineEnd {
    match (charset.unit_bytes(), charset.name()) {
        (2, "UTF-16LE") => LineEnd::Utf16Le,
        (2, _) => LineEnd::Utf16Be,
        _ => LineEnd::Byte,
    }
}

impl Dialect {
    /// What a message becomes.
    pub(super) fn read(&mut self, message: &Bytes, incomplete: bool, times: &Times) -> Told {
        let at = times.now();
        match self {
            Dialect::Flume(reader) => match reader.read(message, incomplete, at) {
                Ok(event) => judged(event),
                Err(flume::NoPriority) => Told::Nothing,
            },
            Dialect::Multiport(keep, charset) => {
                let text = match charset.decode(message, OnMalformed::Fail) {
                    Ok(std::borrow::Cow::Borrowed(_)) => message.clone(),
                    Ok(std::borrow::Cow::Owned(text)) => Bytes::from(text),
                    Err(_) => return Told::Invalid(multiport::invalid(message.clone())),
                };
                match multiport::read(&text, *keep, incomplete, at) {
                    Ok(event) => Told::Event(encoded(event, *charset)),
                    Err(_) => Told::Invalid(multiport::invalid(message.clone())),
                }
            }
            Dialect::Rfc(keep) => judged(rfc::read(message, *keep, incomplete, at)),
        }
    }
}

/// Goes by what its reader says of the message.
fn judged(event: Event) -> Told {
    match event.headers.get(&STATUS) == Some(&INVALID) {
        true => Told::Odd(event),
        false => Told::Event(event),
    }
}

/// The body back in the charset that it came in.
fn encoded(mut event: Event, charset: Charset) -> Event {
    if !charset.is_utf8() {
        let text = std::str::from_utf8(&event.body).unwrap_or_default();
        event.body = charset.encode(text).into();
    }
    event
}

impl Times {
    pub(super) fn new(cx: &Context) -> Self {
        Times { world: cx.world.clone(), zone: time_zone::local(&*cx.world) }
    }

    fn now(&self) -> Moment<'_> {
        Moment { now_millis: self.world.now_millis(), zone: &self.zone }
    }
}

impl Senders {
    /// What is to be said of a sender.
    pub(super) async fn headers(&self, peer: SocketAddr) -> SenderHeaders {
        let mut headers = SenderHeaders::new();
        if let Some(name) = &self.ip_header {
            headers.push((name.clone(), java_address(peer).into()));
        }
        if let Some(name) = &self.name_header {
            headers.push((name.clone(), self.names.name(peer).await));
        }
        headers
    }

    /// Adds what is to be said of a sender, as far as it is known: nothing is waited for.
    pub(super) fn add_so_far(&self, peer: SocketAddr, event: &mut Event) {
        if let Some(name) = &self.ip_header {
            event.headers.insert(name, java_address(peer));
        }
        if let Some(name) = &self.name_header {
            event.headers.insert(name, self.names.name_so_far(peer));
        }
    }

    /// Whether anything is to be said.
    pub(super) const fn is_empty(&self) -> bool {
        self.ip_header.is_none() && self.name_header.is_none()
    }
}

/// Adds headers to an event.
pub(super) fn add_headers(event: &mut Event, headers: &SenderHeaders) {
    for (name, value) in headers {
        event.headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
