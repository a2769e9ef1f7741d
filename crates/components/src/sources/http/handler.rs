//! How a request becomes events.

use std::num::NonZeroU32;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use splashdam_config::{CommaList, Diagnostic, Reading, Section};
use splashdam_core::{Batch, Event, Headers, Text};
use splashdam_wire::http_json::{self, Refusal};

use super::parameters;
use crate::charset::{Charset, OnMalformed};

/// Events of one request at the most, each with its headers: an event takes more memory than an empty
/// line, and a header is counted for every event, as an interceptor gives each of them its own.
const MOST_ITEMS: usize = 2_000_000;

/// A handler as configured.
#[derive(Clone, Debug)]
pub(super) enum Handler {
    /// Flume's JSON.
    Json,
    /// Flume's own BLOBHandler.
    Whole(WholeConfig),
    /// The one of Flume's morphline module.
    Blob(BlobConfig),
    /// Lines, of text or of JSON.
    Lines,
    /// Lines or JSON, by the content type.
    Auto,
}

/// Keys of `org.apache.flume.source.http.BLOBHandler`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WholeConfig {
    mandatory_parameters: CommaList,
}

/// Keys of `org.apache.flume.sink.solr.morphline.BlobHandler`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct BlobConfig {
    max_blob_length: NonZeroU32,
}

impl Default for BlobConfig {
    fn default() -> Self {
        BlobConfig { max_blob_length: const { NonZeroU32::new(100_000_000).unwrap() } }
    }
}

/// A handler without keys.
#[derive(Clone, Debug, Default, Deserialize)]
struct NoKeys {}

/// What is asked of a handler.
pub(in crate::sources) struct Request {
    pub(in crate::sources) content_type: Option<String>,
    pub(in crate::sources) query: Option<String>,
    pub(in crate::sources) body: Bytes,
}

/// Why a request is refused, and how.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sources) struct Answer {
    pub(in crate::sources) status: StatusCode,
    pub(in crate::sources) why: String,
}

impl Answer {
    pub(in crate::sources) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Answer { status, why: why.into() }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Syntax(_) => StatusCode::BAD_REQUEST,
            Refusal::Unusable(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Refusal::TooMany => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Answer::new(status, refusal.to_string())
    }
}

const JSON: &[&str] = &["org.apache.flume.source.http.JSONHandler", "json"];
const WHOLE: &[&str] = &["org.apache.flume.source.http.BLOBHandler"];
const BLOB: &[&str] = &["org.apache.flume.sink.solr.morphline.BlobHandler", "blob"];

impl Handler {
    /// Reads what a `handler` key and those below it say; JSON without any.
    pub(super) fn look(section: &Section) -> Reading<Handler> {
        let written = section.value().unwrap_or("json");
        let is = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(written));
        let reader = section.reader().subject(format!("handler `{written}`"));
        let plain = |handler: Handler, reading: Reading<NoKeys>| Reading {
            value: reading.value.map(|_| handler),
            findings: reading.findings,
        };
        if is(JSON) {
            return plain(Handler::Json, reader.read());
        }
        if is(&["lines"]) {
            return plain(Handler::Lines, reader.read());
        }
        if is(&["auto"]) {
            return plain(Handler::Auto, reader.read());
        }
        if is(WHOLE) {
            let Reading { value, findings } = reader.read();
            return Reading { value: value.map(Handler::Whole), findings };
        }
        if is(BLOB) {
            let Reading { value, findings } = reader.read();
            return Reading { value: value.map(Handler::Blob), findings };
        }
        let finding =
            Diagnostic::error("unknown-handler", format!("there is no handler `{written}`"))
                .at(section.span())
                .help(
                    "use json, blob, lines or auto, or a class of Flume's; splashdam runs no Java",
                );
        Reading { value: None, findings: vec![finding] }
    }

    /// The bytes of a body after which the rest is let go, if that is what this handler does.
    pub(super) fn cut_after(&self) -> Option<usize> {
        match self {
            Handler::Blob(config) => Some(config.max_blob_length.get() as usize),
            _ => None,
        }
    }

    /// Whether a packed body is unpacked.
    pub(super) fn unpacks(&self) -> bool {
        !matches!(self, Handler::Blob(_) | Handler::Whole(_))
    }

    /// The events of a request.
    pub(super) fn events(&self, request: Request) -> Result<Batch, Answer> {
        let kind = request.content_type.as_deref().map(media_type);
        match self {
            Handler::Json => json(request),
            Handler::Whole(config) => whole(config, request),
            Handler::Blob(_) => blob(request),
            Handler::Auto if !kind.as_deref().is_some_and(is_lines) => json(request),
            Handler::Auto | Handler::Lines => {
                lines(kind.as_deref().is_some_and(is_ndjson), request)
            }
        }
    }
}

fn json(request: Request) -> Result<Batch, Answer> {
    let charset = match charset(request.content_type.as_deref()) {
        None => http_json::Charset::Utf8,
        Some(name) => http_json::Charset::named(&name).ok_or_else(|| {
            let why = "the charset is not supported: JSON may be in UTF-8, UTF-16 or UTF-32";
            Answer::new(StatusCode::INTERNAL_SERVER_ERROR, why)
        })?,
    };
    Ok(http_json::read_events(&charset.decode(request.body), charset)?)
}

fn whole(config: &WholeConfig, request: Request) -> Result<Batch, Answer> {
    let headers = headers(&request)?;
    if let Some(missing) =
        config.mandatory_parameters.iter().find(|name| !headers.contains(name.as_str()))
    {
        let why = format!("the parameter {missing} is mandatory and missing");
        return Err(Answer::new(StatusCode::INTERNAL_SERVER_ERROR, why));
    }
    Ok(vec![Event { headers, body: request.body }].into())
}

fn blob(request: Request) -> Result<Batch, Answer> {
    const FORM: &str = "application/x-www-form-urlencoded";
    let mut headers = Headers::default();
    if let Some(kind) = &request.content_type {
        headers.insert("Content-Type", kind.as_str());
    }
    let is_form = request.content_type.as_deref().map(media_type).as_deref() == Some(FORM);
    let query = request.query.unwrap_or_default();
    let form = if is_form { request.body.clone() } else { Bytes::new() };
    for part in [query.as_bytes(), &form] {
        add(part, &mut headers)?;
    }
    // Who asks Java's servlets for a form's parameters has read its body.
    let body = if is_form { Bytes::new() } else { request.body };
    Ok(vec![Event { headers, body }].into())
}

/// Lines of text as they are, or lines that are JSON. In another charset than UTF-8 they are decoded.
fn lines(are_json: bool, request: Request) -> Result<Batch, Answer> {
    let headers = headers(&request)?;
    let text = match charset(request.content_type.as_deref()) {
        Some(name) => in_utf8(&name, request.body)?,
        None => request.body,
    };
    let most = MOST_ITEMS / (1 + headers.len());
    let mut batch = Batch::default();
    let mut at = 0;
    while at < text.len() {
        let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |found| at + found);
        let line = text.slice(at..end);
        let line = line.strip_suffix(b"\r").map_or(line.clone(), |kept| line.slice_ref(kept));
        let number = batch.len() + 1;
        at = end + 1;
        if are_json && line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if are_json && !http_json::is_json(&line) {
            let why = format!("what should be event {number} is not one line of JSON");
            return Err(Answer::new(StatusCode::BAD_REQUEST, why));
        }
        if number > most {
            let why = format!(
                "more than {MOST_ITEMS} lines and headers of lines in one request; send fewer at once"
            );
            return Err(Answer::new(StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        batch.push(Event { headers: headers.clone(), body: line });
    }
    Ok(batch)
}

fn in_utf8(name: &str, body: Bytes) -> Result<Bytes, Answer> {
    let charset = Charset::named(name)
        .map_err(|error| Answer::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string()))?;
    if charset.is_utf8() {
        return Ok(body);
    }
    let (charset, mark) = charset.resolve(&body);
    // Replacing never fails.
    let text = charset.decode(&body[mark..], OnMalformed::Replace).unwrap_or_default().into_owned();
    Ok(text.into())
}

/// The first value of each parameter of the query.
fn headers(request: &Request) -> Result<Headers, Answer> {
    let mut headers = Headers::default();
    add(request.query.as_deref().unwrap_or_default().as_bytes(), &mut headers)?;
    Ok(headers)
}

fn add(parameters: &[u8], headers: &mut Headers) -> Result<(), Answer> {
    let parameters = parameters::read(parameters)
        .map_err(|malformed| Answer::new(StatusCode::BAD_REQUEST, malformed.to_string()))?;
    let before = std::mem::take(headers);
    let text = |(name, value): (String, String)| (Text::from(name), Text::from(value));
    let before = before.iter().map(|(name, value)| (name.clone(), value.clone()));
    // The first of a name counts, and collecting keeps the last.
    let mut all: Vec<(Text, Text)> = before.chain(parameters.into_iter().map(text)).collect();
    all.reverse();
    *headers = all.into_iter().collect();
    Ok(())
}

/// `text/plain` of `Text/Plain; charset=UTF-8`.
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_lines(kind: &str) -> bool {
    kind == "text/plain" || is_ndjson(kind)
}

fn is_ndjson(kind: &str) -> bool {
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"]
        .contains(&kind)
}

/// The charset that a content type names.
fn charset(content_type: Option<&str>) -> Option<String> {
    let parameters = content_type?.split(';').skip(1);
    let mut pairs = parameters.filter_map(|parameter| parameter.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    let value = value.trim().trim_matches('"').trim();
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler(keys: &str) -> Handler {
        #[derive(Deserialize)]
        struct Keys {
            #[serde(default)]
            handler: Section,
        }
        let keys: Keys = Section::parse(keys).read().into_result().unwrap();
        Handler::look(&keys.handler).into_result().unwrap()
    }

    fn ask(
        keys: &str,
        kind: Option<&str>,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Vec<String>, u16> {
        let request = Request {
            content_type: kind.map(str::to_owned),
            query: query.map(str::to_owned),
            body: Bytes::copy_from_slice(body),
        };
        let shown = |event: &Event| {
            let headers = event.headers.iter().map(|(name, value)| format!("{name}={value}"));
            let mut headers: Vec<_> = headers.collect();
            headers.sort();
            format!("{} {}", headers.join(","), event.body.escape_ascii())
        };
        let batch = handler(keys).events(request).map_err(|answer| answer.status.as_u16())?;
        Ok(batch.events().iter().map(shown).collect())
    }

    #[test]
    fn requests_become_events() {
        let check =
            |keys: &str, kind: &str, query: &str, body: &[u8], want: Result<&[&str], u16>| {
                let kind = Some(kind).filter(|kind| !kind.is_empty());
                let query = Some(query).filter(|query| !query.is_empty());
                let want = want.map(|want| want.iter().map(|&line| line.to_owned()).collect());
                assert_eq!(ask(keys, kind, query, body), want, "{keys} {kind:?} {query:?}");
            };
        let one = br#"[{"headers":{"a":"b"},"body":"x"}]"#.as_slice();
        check("", "", "", one, Ok(&["a=b x"]));
        check("handler = org.apache.flume.source.http.JSONHandler", "", "", one, Ok(&["a=b x"]));
        check("", "application/json; charset=utf-8", "", one, Ok(&["a=b x"]));
        check("", "application/json;charset=\"UTF-8\"", "", one, Ok(&["a=b x"]));
        check("", "application/json; charset=latin1", "", one, Err(500));
        check("", "", "", b"{}", Err(400));
        check("", "", "", b"", Err(500));
        let whole = "handler = org.apache.flume.source.http.BLOBHandler\n";
        check(whole, "", "b=2&a=1&b=3", b"\0\xff", Ok(&["a=1,b=2 \\x00\\xff"]));
        check(whole, "", "", b"", Ok(&[" "]));
        let needs = format!("{whole}handler.mandatoryParameters = a,b");
        check(&needs, "", "b=2&a=1", b"x", Ok(&["a=1,b=2 x"]));
        check(&needs, "", "a=1", b"x", Err(500));
        check(whole, "application/x-www-form-urlencoded", "", b"p=q", Ok(&[" p=q"]));
        let blob = "handler = org.apache.flume.sink.solr.morphline.BlobHandler\n";
        check(blob, "text/csv", "a=1", b"x", Ok(&["Content-Type=text/csv,a=1 x"]));
        check(
            blob,
            "application/x-www-form-urlencoded",
            "a=1",
            b"p=q&a=2",
            Ok(&["Content-Type=application/x-www-form-urlencoded,a=1,p=q "]),
        );
        let lines = "handler = lines";
        check(
            lines,
            "",
            "h=v",
            b"one\ntwo\r\n\nend",
            Ok(&["h=v one", "h=v two", "h=v ", "h=v end"]),
        );
        check(
            lines,
            "application/x-ndjson",
            "",
            b"{\"a\":1}\n\n [2] \r\n",
            Ok(&[r#" {\"a\":1}"#, "  [2] "]),
        );
        check(lines, "application/x-ndjson", "", b"{\"a\":1}\n{", Err(400));
        check(lines, "text/plain; charset=ISO-8859-1", "", b"gr\xfcn\n", Ok(&[" gr\\xc3\\xbcn"]));
        check(lines, "text/plain; charset=UTF-16", "", b"\xff\xfea\0\n\0b\0", Ok(&[" a", " b"]));
        check(lines, "text/plain; charset=klingon", "", b"x", Err(415));
        check(lines, "", "", b"", Ok(&[]));
        check(lines, "", "", &vec![b'\n'; MOST_ITEMS + 1], Err(413));
        check("handler = auto", "text/plain", "", b"[]", Ok(&[" []"]));
        check("handler = auto", "application/x-www-form-urlencoded", "", one, Ok(&["a=b x"]));
        check("handler = auto", "", "", one, Ok(&["a=b x"]));
    }

    #[test]
    fn headers_count_for_each_line() {
        let headers = 9999;
        let query = (0..headers).map(|n| format!("{n:x}")).collect::<Vec<_>>().join("&");
        let most = MOST_ITEMS / (1 + headers);
        let check =
            |keys: &str, kind: &str, line: &[u8], lines: usize, want: Result<usize, u16>| {
                let events = ask_many(keys, kind, &query, &line.repeat(lines));
                assert_eq!(events, want, "{keys} {kind} {lines}");
            };
        for (keys, kind) in
            [("lines", ""), ("auto", "text/plain"), ("auto", "application/x-ndjson")]
        {
            let keys = format!("handler = {keys}");
            check(&keys, kind, b"1\n", most, Ok(most));
            check(&keys, kind, b"1\n", most + 1, Err(413));
        }
    }

    fn ask_many(keys: &str, kind: &str, query: &str, body: &[u8]) -> Result<usize, u16> {
        let request = Request {
            content_type: Some(kind.to_owned()),
            query: Some(query.to_owned()),
            body: Bytes::copy_from_slice(body),
        };
        let batch = handler(keys).events(request).map_err(|answer| answer.status.as_u16())?;
        Ok(batch.len())
    }

    #[test]
    fn handlers_are_named_and_their_keys_known() {
        let check = |keys: &str, want: &[&str]| {
            let looked = splashdam_core::Entry::source::<super::super::Http>()
                .look(&Section::parse(&format!("port = 1\nbind = ::1\n{keys}")));
            let codes: Vec<_> = looked.findings.iter().map(|finding| finding.code).collect();
            assert_eq!(codes, want, "{keys}");
        };
        check("handler = com.example.Handler", &["unknown-handler"]);
        check("handler = JSON", &[]);
        check("handler = lines\nhandler.maxBlobLength = 5", &["unknown-key"]);
        check("handler = blob\nhandler.maxBlobLength = 5", &[]);
        check("handler = blob\nhandler.maxBlobLength = 0", &["bad-value"]);
    }
}
