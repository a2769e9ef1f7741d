//! Serializer `json`: each member of a JSON object in the body into a column of its name.
//!
//! Not of Flume's. Members of objects within are named with dots, as `user.id`; arrays are stored as
//! JSON, as they are written but without blanks; `null` is left out. Numbers and truth values are
//! stored as the text that is written there, unless a type is given. A body that is no object, a value
//! that is not of its type and a row key that lacks a part refuse the event.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use bytes::Bytes;
use jiff::tz::TimeZone;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use splashdam_config::{CommaList, Diagnostic, Spanned};
use splashdam_core::{Context, Event, OpenError, Random};

use super::columns::zone;
use super::serializer::{Actions, Columns, EventPlace, Manner, Refusal, RowSerializer};
use super::template::{Filling, Template};
use super::value::ValueType;
use crate::time_zone;

/// The longest name of a column, and the most of them: a body of deep objects names them with much
/// more bytes than it has.
const NAME_LIMIT_BYTES: usize = 1024;
const MOST_COLUMNS: usize = 10_000;
/// How deep objects may go; each level is read once more for each above it.
const MOST_LEVELS: usize = 128;

/// Keys of the json serializer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    /// What row keys are made of; `%[.name]` is a member.
    row_key: Spanned<Template>,
    /// The members that are stored, between commas; all by default.
    #[serde(default)]
    fields: Option<CommaList>,
    /// Types of members that are not stored as text.
    #[serde(default)]
    types: BTreeMap<String, ValueType>,
    /// Whether each header becomes a column of its own.
    #[serde(default)]
    deposit_headers: bool,
    /// The zone of times in templates; the local one by default.
    #[serde(default)]
    time_zone: Option<String>,
}

pub(super) struct Json {
    row_key: Template,
    fields: Option<BTreeSet<String>>,
    types: BTreeMap<String, ValueType>,
    deposit_headers: bool,
    zone: TimeZone,
    random: Random,
}

impl Config {
    pub(super) fn shares_rows(config: &Option<Config>) -> bool {
        config.as_ref().is_some_and(|config| config.row_key.value.repeats())
    }

    pub(super) fn uses_place(config: &Option<Config>) -> bool {
        config.as_ref().is_some_and(|config| config.row_key.value.uses_place())
    }

    /// What only reading the configuration can tell.
    pub(super) fn check(&self, manner: Manner) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        let mut wrong = |what: String, span| {
            findings.push(Diagnostic::error("invalid-value", what).at(span));
        };
        let Spanned { value: row_key, span } = &self.row_key;
        if let Some(name) = row_key.wanted().find(|name| !name.starts_with('.')) {
            wrong(format!("`%[{name}]` is for serializers with a pattern"), *span);
        }
        if let Some(why) = row_key.unrepeatable().filter(|_| manner.repeatable) {
            wrong(format!("`effectivelyOnce` needs the same cells from each try: {why}"), *span);
        }
        if let Some(name) = &self.time_zone
            && time_zone::zone(name).is_none()
        {
            wrong(format!("there is no time zone `{name}`"), None);
        }
        findings
    }
}

impl Json {
    pub(super) fn new(config: Config, manner: Manner, cx: &Context) -> Result<Self, OpenError> {
        let findings = config.check(manner);
        if !findings.is_empty() {
            return Err(OpenError::Config(findings));
        }
        Ok(Json {
            zone: zone(config.time_zone.as_deref(), cx),
            row_key: config.row_key.value,
            fields: config.fields.map(|CommaList(fields)| fields.into_iter().collect()),
            types: config.types,
            deposit_headers: config.deposit_headers,
            random: cx.random(),
        })
    }

    /// Appends the columns of an object so deep in the body, whose members' names begin with `prefix`.
    fn members(
        &self,
        object: &Members<'_>,
        prefix: &str,
        level: usize,
        columns: &mut Columns<Bytes>,
    ) -> Result<(), String> {
        if level > MOST_LEVELS {
            return Err(format!("a body that is no JSON object of {MOST_LEVELS} levels at most"));
        }
        for (name, value) in &object.0 {
            if prefix.len() + name.len() > NAME_LIMIT_BYTES || columns.len() >= MOST_COLUMNS {
                return Err(format!(
                    "more than {MOST_COLUMNS} members, or names of more than {NAME_LIMIT_BYTES} bytes"
                ));
            }
            let name = format!("{prefix}{name}");
            if let Some(inner) = Members::within(value) {
                let inner = inner.map_err(|why| format!("member `{name}`: {why}"))?;
                self.members(&inner, &format!("{name}."), level + 1, columns)?;
                continue;
            }
            let wanted = self.fields.as_ref().is_none_or(|fields| fields.contains(&name));
            if wanted && !is_null(value) {
                let kind = self.types.get(&name).copied().unwrap_or_default();
                let encoded = text(value).and_then(|text| kind.encode(text));
                let value = encoded.map_err(|why| format!("member `{name}`: {why}"))?;
                columns.push((name.into(), value));
            }
        }
        Ok(())
    }
}

/// The members of an object in their order, with the values as they are written: a number that is
/// read would lose what 64 bits do not hold. Of several with one name the last counts.
struct Members<'b>(Vec<(String, &'b RawValue)>);

impl<'b> Members<'b> {
    /// Those of a value that is an object.
    fn within(value: &'b RawValue) -> Option<Result<Self, serde_json::Error>> {
        value.get().starts_with('{').then(|| serde_json::from_str(value.get()))
    }

    fn get(&self, name: &str) -> Option<&'b RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// The member at a path such as `.a.b`, if it is there and not null.
    fn at(&self, path: &str) -> Option<Bytes> {
        let mut names = path.strip_prefix('.')?.split('.');
        let mut value = self.get(names.next()?)?;
        for name in names {
            value = Members::within(value)?.ok()?.get(name)?;
        }
        if is_null(value) { None } else { text(value).ok() }
    }
}

impl<'de: 'b, 'b> Deserialize<'de> for Members<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReadMembers)
    }
}

struct ReadMembers;

impl<'de> Visitor<'de> for ReadMembers {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members: Vec<(String, &'de RawValue)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            match places.get(&name) {
                Some(&place) => members[place].1 = value,
                None => {
                    places.insert(name.clone(), members.len());
                    members.push((name, value));
                }
            }
        }
        Ok(Members(members))
    }
}

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// A text as it is, anything else as it is written.
fn text(value: &RawValue) -> Result<Bytes, String> {
    let written = value.get();
    if written.starts_with('"') {
        let text: Result<String, _> = serde_json::from_str(written);
        return text.map(Bytes::from).map_err(|error| error.to_string());
    }
    Ok(without_blanks(written))
}

/// JSON without the blanks between its parts.
fn without_blanks(written: &str) -> Bytes {
    let (mut quoted, mut escaped) = (false, false);
    let kept = written.bytes().filter(|byte| {
        if quoted {
            (quoted, escaped) = (escaped || *byte != b'"', !escaped && *byte == b'\\');
            return true;
        }
        quoted = *byte == b'"';
        !byte.is_ascii_whitespace()
    });
    kept.collect::<Vec<u8>>().into()
}

impl RowSerializer for Json {
    fn write(
        &mut self,
        event: &Event,
        place: Option<EventPlace>,
        actions: &mut Actions,
    ) -> Result<(), Refusal> {
        let object: Members<'_> = serde_json::from_slice(&event.body)
            .map_err(|error| format!("a body that is no JSON object: {error}"))?;
        let mut columns = Columns::new();
        self.members(&object, "", 1, &mut columns)?;
        let found = |path: &str| object.at(path);
        let filling =
            Filling { event, place, zone: &self.zone, random: &self.random, found: &found };
        let row = self.row_key.fill(&filling)?;
        if self.deposit_headers {
            let header = |(name, value): (&splashdam_core::Text, &splashdam_core::Text)| {
                (name.as_bytes().clone(), value.as_bytes().clone())
            };
            columns.extend(event.headers.iter().map(header));
        }
        actions.puts.push((row, columns));
        Ok(())
    }
}
