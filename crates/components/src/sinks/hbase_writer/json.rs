//! Serializer `json`: each member of a JSON object in the body into a column of its name.
//!
//! Not of Flume's. Members of objects within are named with dots, as `user.id`; arrays are stored as
//! JSON, `null` is left out. Numbers and truth values are stored as text, unless a type is given. A
//! body that is no object, a value that is not of its type and a row key that lacks a part refuse
//! the event.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value};
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

    /// Appends the columns of an object whose members' names begin with `prefix`.
    fn members(
        &self,
        object: &Map<String, Value>,
        prefix: &str,
        columns: &mut Columns<Bytes>,
    ) -> Result<(), String> {
        for (name, value) in object {
            if prefix.len() + name.len() > NAME_LIMIT_BYTES || columns.len() >= MOST_COLUMNS {
                return Err(format!(
                    "more than {MOST_COLUMNS} members, or names of more than {NAME_LIMIT_BYTES} bytes"
                ));
            }
            let name = format!("{prefix}{name}");
            match value {
                // The parser bounds how deep they go.
                Value::Object(inner) => self.members(inner, &format!("{name}."), columns)?,
                Value::Null => {}
                _ if self.fields.as_ref().is_some_and(|fields| !fields.contains(&name)) => {}
                value => {
                    let kind = self.types.get(&name).copied().unwrap_or_default();
                    let encoded = kind.encode(text(value));
                    let value = encoded.map_err(|why| format!("member `{name}`: {why}"))?;
                    columns.push((name.into(), value));
                }
            }
        }
        Ok(())
    }
}

/// A text as it is, anything else as JSON.
fn text(value: &Value) -> Bytes {
    match value {
        Value::String(text) => text.clone().into(),
        other => other.to_string().into(),
    }
}

/// The member at a path such as `.a.b`, if it is there and not null.
fn member(object: &Map<String, Value>, path: &str) -> Option<Bytes> {
    let mut names = path.strip_prefix('.')?.split('.');
    let mut value = object.get(names.next()?)?;
    for name in names {
        value = value.as_object()?.get(name)?;
    }
    (!value.is_null()).then(|| text(value))
}

impl RowSerializer for Json {
    fn write(
        &mut self,
        event: &Event,
        place: Option<EventPlace>,
        actions: &mut Actions,
    ) -> Result<(), Refusal> {
        let object: Map<String, Value> = serde_json::from_slice(&event.body)
            .map_err(|error| format!("a body that is no JSON object: {error}"))?;
        let found = |path: &str| member(&object, path);
        let filling =
            Filling { event, place, zone: &self.zone, random: &self.random, found: &found };
        let row = self.row_key.fill(&filling)?;
        let mut columns = Columns::new();
        self.members(&object, "", &mut columns)?;
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
