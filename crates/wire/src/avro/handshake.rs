//! The handshake that opens each connection of Avro's RPC, in both roles.
//!
//! A protocol is known by the MD5 of its text. The first request of a connection says which
//! protocol the client speaks and which one it thinks the server does; the answer says whether the
//! server knows the client's, and what its own is where the client was wrong. Until that is settled
//! requests carry a handshake; afterwards none.
//!
//! Both sides may add a map of bytes, which Java keeps and ignores. Ours say with it who they are:
//! the client that it would like to know, the server what it does beyond Flume ([`Peer`]).

use bytes::Bytes;
use serde_json::Value;
use splashdam_core::Malformed;

use super::datum::{Reader, put_bytes, put_number};

/// The MD5 of a protocol's text.
pub type Hash = [u8; 16];

/// What Flume 1.10 and 1.11 know their protocol by: its text as their compiler wrote it, licence included.
pub const FLUME_HASH: Hash = [
    0x86, 0xaa, 0xda, 0xe2, 0xc4, 0x54, 0x74, 0xc0, 0xfe, 0x93, 0xff, 0xd0, 0xf2, 0x35, 0x0a, 0x65,
];

/// The MD5 of [`PROTOCOL`].
pub const OUR_HASH: Hash = [
    0x30, 0xda, 0x54, 0x05, 0x9d, 0xf7, 0x2d, 0x95, 0x84, 0xb8, 0x67, 0xd5, 0x20, 0x2e, 0x20, 0x69,
];

/// Flume's protocol without its comments.
pub const PROTOCOL: &str = concat!(
    r#"{"protocol":"AvroSourceProtocol","namespace":"org.apache.flume.source.avro","types":["#,
    r#"{"type":"enum","name":"Status","symbols":["OK","FAILED","UNKNOWN"]},"#,
    r#"{"type":"record","name":"AvroFlumeEvent","fields":["#,
    r#"{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}],"#,
    r#""messages":{"append":{"request":[{"name":"event","type":"AvroFlumeEvent"}],"response":"Status"},"#,
    r#""appendBatch":{"request":[{"name":"events","type":{"type":"array","items":"AvroFlumeEvent"}}],"response":"Status"}}}"#,
);

/// A protocol as a server of it knows it.
#[derive(Debug)]
pub struct Spoken {
    /// Its text; Java takes it as what `hash` belongs to.
    pub text: &'static str,
    /// What servers know it by.
    pub hash: Hash,
    /// Further hashes that clients know it by.
    pub also: &'static [Hash],
    /// Says why another text is not one of the same calls.
    pub accepts: fn(&[u8]) -> Result<(), String>,
}

/// Flume's own.
pub const FLUME: Spoken =
    Spoken { text: PROTOCOL, hash: FLUME_HASH, also: &[OUR_HASH], accepts: speaks_flume };

/// The longest protocol text that is read.
const MOST_PROTOCOL_BYTES: usize = 64 * 1024;

/// The name under which our peers speak of themselves.
const META: &[u8] = b"splashdam";

/// What a server of ours does beyond Flume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Calls of a connection take effect in the order in which they were sent, and none behind one
    /// that was refused, so that several may be under way.
    pub in_order: bool,
    /// Batches whose call says where they come from are stored once.
    pub stores_once: bool,
}

/// What a client says first.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Its protocol's hash.
    pub client_hash: Hash,
    /// Its protocol's text, when it was asked for it.
    pub client_protocol: Option<Bytes>,
    /// What it takes the server's protocol for.
    pub server_hash: Hash,
    /// Whether it is one of ours.
    pub ours: bool,
}

/// Whether both sides know each other's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// They do.
    Both,
    /// The server knows the client's; it tells its own.
    Client,
    /// The server needs the client's text; the call was not executed.
    None,
}

/// What a server answers.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// Whether the call was executed, and what else is known.
    pub matched: Match,
    /// The server's hash, where it differs from what the client took it for.
    pub server_hash: Option<Hash>,
    /// What the server is, if it is one of ours.
    pub peer: Option<Peer>,
}

impl Request {
    /// What our client says to a server whose hash is supposed to be `server_hash`: the text right
    /// away, as one round trip is then enough with any server.
    pub fn put_ours(server_hash: Hash, out: &mut Vec<u8>) {
        out.extend_from_slice(&OUR_HASH);
        put_number(1, out);
        put_bytes(PROTOCOL.as_bytes(), out);
        out.extend_from_slice(&server_hash);
        put_number(1, out);
        put_meta(&[1], out);
    }

    /// Reads a request.
    pub fn read(input: &mut Reader<'_>) -> Result<Request, Malformed> {
        let client_hash = input.fixed()?;
        let client_protocol = match input.choice(2)? {
            0 => None,
            _ => Some(input.bytes()?),
        };
        if client_protocol.as_ref().is_some_and(|text| text.len() > MOST_PROTOCOL_BYTES) {
            return Err(input.malformed("a protocol longer than any"));
        }
        let server_hash = input.fixed()?;
        let ours = read_meta(input)?.is_some();
        Ok(Request { client_hash, client_protocol, server_hash, ours })
    }

    /// The answer of a server of `spoken` that is `peer` and knows the clients' protocols for which
    /// `known` says so; also the hash to be known from now on.
    ///
    /// # Errors
    /// Says why the client's protocol is not that one.
    pub fn answer(
        &self,
        spoken: &Spoken,
        peer: Peer,
        known: impl FnOnce(&Hash) -> bool,
    ) -> Result<(Response, Option<Hash>), String> {
        let mut new = None;
        let resolved = self.client_hash == spoken.hash
            || spoken.also.contains(&self.client_hash)
            || match &self.client_protocol {
                Some(text) => {
                    (spoken.accepts)(text)?;
                    new = Some(self.client_hash);
                    true
                }
                None => known(&self.client_hash),
            };
        let matched = match (resolved, self.server_hash == spoken.hash) {
            (false, _) => Match::None,
            (true, true) => Match::Both,
            (true, false) => Match::Client,
        };
        let server_hash = (matched != Match::Both).then_some(spoken.hash);
        Ok((Response { matched, server_hash, peer: self.ours.then_some(peer) }, new))
    }
}

impl Response {
    /// Appends it, as a server of `spoken` says it.
    pub fn put(&self, spoken: &Spoken, out: &mut Vec<u8>) {
        put_number(self.matched as usize, out);
        match self.server_hash {
            None => out.extend_from_slice(&[0, 0]),
            Some(hash) => {
                put_number(1, out);
                put_bytes(spoken.text.as_bytes(), out);
                put_number(1, out);
                out.extend_from_slice(&hash);
            }
        }
        match self.peer {
            None => put_number(0, out),
            Some(peer) => {
                put_number(1, out);
                put_meta(&[u8::from(peer.in_order) | u8::from(peer.stores_once) << 1], out);
            }
        }
    }

    /// Reads an answer.
    pub fn read(input: &mut Reader<'_>) -> Result<Response, Malformed> {
        let matched = match input.choice(3)? {
            0 => Match::Both,
            1 => Match::Client,
            _ => Match::None,
        };
        if input.choice(2)? == 1 {
            input.bytes()?;
        }
        let server_hash = match input.choice(2)? {
            0 => None,
            _ => Some(input.fixed()?),
        };
        let peer = read_meta(input)?.and_then(|meta| meta.first().copied());
        let peer = peer.map(|bits| Peer { in_order: bits & 1 > 0, stores_once: bits & 2 > 0 });
        Ok(Response { matched, server_hash, peer })
    }
}

fn put_meta(value: &[u8], out: &mut Vec<u8>) {
    put_number(1, out);
    put_bytes(META, out);
    put_bytes(value, out);
    put_number(0, out);
}

/// What ours say of themselves in a union of null and a map of bytes.
fn read_meta(input: &mut Reader<'_>) -> Result<Option<Bytes>, Malformed> {
    let mut ours = None;
    if input.choice(2)? == 1 {
        input.entries(|name, value| {
            if name == META {
                ours = Some(value);
            }
        })?;
    }
    Ok(ours)
}

/// Checks that the events of a protocol's calls are read as Flume's: whatever else it has, both
/// calls take the record of headers and body, under whatever names, and nothing else.
fn speaks_flume(text: &[u8]) -> Result<(), String> {
    let protocol = Protocol::parse(text)?;
    for (call, array) in [("append", false), ("appendBatch", true)] {
        let event = match protocol.parameter(call) {
            Some(given) if array && plain(given) == Some("array") => {
                Some(protocol.resolve(&given["items"]))
            }
            Some(given) if !array => Some(protocol.resolve(given)),
            _ => None,
        };
        if !event.is_some_and(is_event) {
            return Err(format!(
                "the client's protocol has no call {call} that takes what Flume's does"
            ));
        }
    }
    Ok(())
}

/// A client's protocol.
pub(super) struct Protocol(Value);

impl Protocol {
    pub(super) fn parse(text: &[u8]) -> Result<Protocol, String> {
        let parsed = serde_json::from_slice(text);
        parsed.map(Protocol).map_err(|error| format!("the client's protocol is not JSON: {error}"))
    }

    /// The type of a call's only parameter.
    pub(super) fn parameter(&self, call: &str) -> Option<&Value> {
        match self.0["messages"][call]["request"].as_array()?.as_slice() {
            [parameter] => Some(&parameter["type"]),
            _ => None,
        }
    }

    /// What a type's name stands for, whatever its namespace: itself where it is not one of the
    /// protocol's.
    pub(super) fn resolve<'a>(&'a self, given: &'a Value) -> &'a Value {
        fn short(name: &Value) -> Option<&str> {
            name.as_str()?.rsplit('.').next()
        }
        let types = self.0["types"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named = |wanted| types.iter().find(|known| short(&known["name"]) == Some(wanted));
        short(given).and_then(named).unwrap_or(given)
    }
}

/// A type's name, also where it has properties beside it.
pub(super) fn plain(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["type"].as_str())
}

fn is_event(record: &Value) -> bool {
    let fields = record["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let [headers, body] = fields else { return false };
    let map = &headers["type"];
    headers["name"] == "headers"
        && plain(map) == Some("map")
        && plain(&map["values"]) == Some("string")
        && body["name"] == "body"
        && plain(&body["type"]) == Some("bytes")
}

#[cfg(test)]
mod tests;
