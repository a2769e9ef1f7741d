//! Serializer `columns`: a row key and columns as the configuration describes them, typed.
//!
//! Not of Flume's. A column for which an event has nothing is left out; one whose value is not of
//! its type, a row key that lacks a part, and a body that the pattern does not match refuse the
//! event.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, de::Error as _};
use splashdam_config::{Diagnostic, Spanned};
use splashdam_core::{Context, Event, OpenError, Random};

use super::regex::groups;
use super::serializer::{Actions, Columns, EventPlace, Manner, Refusal, RowSerializer};
use super::template::{Filling, Template};
use super::value::ValueType;
use crate::java_regex::JavaRegex;
use crate::time_zone;

/// Keys of the columns serializer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    /// What row keys are made of.
    row_key: Spanned<Template>,
    /// A pattern of Java that must match the whole body, whose groups row key and columns may name;
    /// a dot matches line ends, too.
    #[serde(default)]
    regex: Option<JavaRegex>,
    /// What goes into each column: a template, with the type in parentheses before it where that is
    /// not text, as `(int) %[2]`.
    columns: BTreeMap<String, Spanned<ColumnText>>,
    /// The zone of times in templates; the local one by default.
    #[serde(default)]
    time_zone: Option<String>,
}

/// A column as it is written.
#[derive(Clone, Debug)]
struct ColumnText {
    kind: ValueType,
    template: Template,
}

pub(super) struct Columnar {
    row_key: Template,
    regex: Option<JavaRegex>,
    columns: Vec<(Bytes, ColumnText)>,
    zone: TimeZone,
    random: Random,
}

impl<'de> Deserialize<'de> for ColumnText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let typed = text.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let (kind, template) = match typed {
            Some((name, rest)) => {
                let kind = ValueType::named(name.trim()).ok_or_else(|| {
                    D::Error::custom(format!(
                        "there is no type `{name}`; there are text, short, int, long, float, double and boolean"
                    ))
                })?;
                (kind, rest.trim_start())
            }
            None => (ValueType::Text, text.as_str()),
        };
        let template = Template::parse(template).map_err(D::Error::custom)?;
        Ok(ColumnText { kind, template })
    }
}

impl Config {
    pub(super) fn shares_rows(config: &Option<Config>) -> bool {
        config.as_ref().is_some_and(|config| config.row_key.value.repeats())
    }

    pub(super) fn uses_place(config: &Option<Config>) -> bool {
        config.as_ref().is_some_and(|config| {
            let mut columns = config.columns.values().map(|column| &column.value.template);
            config.row_key.value.uses_place() || columns.any(Template::uses_place)
        })
    }

    /// What only reading the configuration can tell.
    pub(super) fn check(&self, manner: Manner) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        let mut wrong = |what: String, span| {
            findings.push(Diagnostic::error("invalid-value", what).at(span));
        };
        let columns = self.columns.values().map(|column| (&column.value.template, column.span));
        let templates = std::iter::once((&self.row_key.value, self.row_key.span)).chain(columns);
        let groups = self.regex.as_ref().map_or(0, JavaRegex::groups);
        for (template, span) in templates {
            for name in template.wanted() {
                match name.parse::<usize>() {
                    Ok(1..) if name.parse().is_ok_and(|group: usize| group <= groups) => {}
                    Ok(_) => wrong(format!("the pattern has no group {name}, but {groups}"), span),
                    Err(_) => wrong(format!("`%[{name}]` is for the serializer `json`"), span),
                }
            }
            if let Some(why) = template.unrepeatable().filter(|_| manner.repeatable) {
                wrong(format!("`effectivelyOnce` needs the same cells from each try: {why}"), span);
            }
        }
        if self.columns.is_empty() {
            wrong("no column is described: HBase stores no empty row".to_owned(), None);
        }
        if let Some(name) = &self.time_zone
            && time_zone::zone(name).is_none()
        {
            wrong(format!("there is no time zone `{name}`"), None);
        }
        findings
    }
}

impl Columnar {
    pub(super) fn new(config: Config, manner: Manner, cx: &Context) -> Result<Self, OpenError> {
        let findings = config.check(manner);
        if !findings.is_empty() {
            return Err(OpenError::Config(findings));
        }
        let whole = |regex: JavaRegex| JavaRegex::new(&format!("(?s){regex}"));
        let regex = config.regex.map(whole).transpose();
        let columns = config.columns.into_iter();
        Ok(Columnar {
            row_key: config.row_key.value,
            regex: regex.map_err(|error| OpenError::config(error.to_string()))?,
            columns: columns.map(|(name, column)| (name.into(), column.value)).collect(),
            zone: zone(config.time_zone.as_deref(), cx),
            random: cx.random(),
        })
    }
}

/// The zone of that name, else the local one.
pub(super) fn zone(name: Option<&str>, cx: &Context) -> TimeZone {
    name.and_then(time_zone::zone).unwrap_or_else(|| time_zone::local(&*cx.world))
}

impl RowSerializer for Columnar {
    fn write(
        &mut self,
        event: &Event,
        place: Option<EventPlace>,
        actions: &mut Actions,
    ) -> Result<(), Refusal> {
        let body = &event.body;
        let captures = match &self.regex {
            None => None,
            Some(regex) => {
                let captures = regex.full_captures(body).map_err(|error| error.to_string())?;
                Some(captures.ok_or_else(|| "a body that the pattern does not match".to_owned())?)
            }
        };
        let groups = captures.map(|found| groups(&found, body)).unwrap_or_default();
        let found = |name: &str| {
            let group: usize = name.parse().ok()?;
            groups.get(group.checked_sub(1)?)?.clone()
        };
        let filling =
            Filling { event, place, zone: &self.zone, random: &self.random, found: &found };
        let row = self.row_key.fill(&filling)?;
        let mut columns = Columns::with_capacity(self.columns.len());
        for (name, column) in &self.columns {
            // What an event does not have leaves its column out.
            let Ok(text) = column.template.fill(&filling) else { continue };
            let value = column
                .kind
                .encode(text)
                .map_err(|why| format!("column `{}`: {why}", String::from_utf8_lossy(name)))?;
            columns.push((name.clone(), value));
        }
        actions.puts.push((row, columns));
        Ok(())
    }
}
