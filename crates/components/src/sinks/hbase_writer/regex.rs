//! Serializer `regex`: groups of a pattern that matches the whole body, each into a column.
//!
//! Flume's classes: `RegexHbaseEventSerializer`, `RegexHBase2EventSerializer`. As there, an event
//! that does not match is taken and not written, and so is every event when the pattern has another
//! number of groups than there are columns; here a check of the configuration says so.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use splashdam_config::{Diagnostic, Spanned};
use splashdam_core::{Context, Event, OpenError, Random, World};

use super::serializer::{Actions, Columns, EventPlace, Manner, Refusal, RowSerializer};
use crate::charset::{Charset, OnMalformed};
use crate::java_regex::{Captures, JavaRegex};

/// The name that the column of the row key must have, in any case.
const ROW_KEY: &str = "ROW_KEY";
const KEY_LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const KEY_LETTER_COUNT: usize = 10;

/// Keys of the regex serializer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Config {
    /// A pattern of Java that must match the whole body; a dot matches line ends, too.
    pub(super) regex: JavaRegex,
    /// Whether letters match in either case.
    pub(super) regex_ignore_case: bool,
    /// A column for each group, between commas; blanks count.
    pub(super) col_names: Spanned<String>,
    /// Which group is the row key, from 0 on; the column in that place must be called `ROW_KEY`.
    /// Below 0 row keys are made of the time, letters by chance and a count; where writing has to be
    /// repeatable, of where the event lies in its channel.
    pub(super) row_key_index: Spanned<i32>,
    /// Whether each header becomes a column of its own.
    pub(super) deposit_headers: bool,
    /// What bodies are in, and what names of columns, headers and made row keys are written in. What
    /// comes from the body is written in UTF-8.
    pub(super) charset: Charset,
}

impl Default for Config {
    fn default() -> Self {
        // A pattern that is known to be one.
        let regex = JavaRegex::new("(.*)").unwrap_or_else(|_| unreachable!("a plain pattern"));
        Config {
            regex,
            regex_ignore_case: false,
            col_names: Spanned::from("payload".to_owned()),
            row_key_index: Spanned::from(-1),
            deposit_headers: false,
            charset: Charset::default(),
        }
    }
}

impl Config {
    /// As Java splits: empty names at the end are left out.
    fn columns(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.col_names.split(',').collect();
        while names.len() > 1 && names.last().is_some_and(|name| name.is_empty()) {
            names.pop();
        }
        names
    }

    pub(super) fn shares_rows(config: &Option<Config>) -> bool {
        config.as_ref().is_some_and(|config| *config.row_key_index >= 0)
    }

    /// The place of the row key among the columns, or what is wrong with it.
    fn row_key(&self) -> Result<Option<usize>, Box<Diagnostic>> {
        let Ok(index) = usize::try_from(*self.row_key_index) else { return Ok(None) };
        let columns = self.columns();
        match columns.get(index) {
            Some(name) if name.eq_ignore_ascii_case(ROW_KEY) => Ok(Some(index)),
            found => {
                let found = match found {
                    Some(name) => format!("is called `{name}`"),
                    None => format!("is not there, as there are {}", columns.len()),
                };
                let what = format!("column {index}, which `rowKeyIndex` names, {found}");
                let finding = Diagnostic::error("invalid-value", what).at(self.row_key_index.span);
                let help = "call that column `ROW_KEY` in `colNames`; columns count from 0";
                Err(Box::new(finding.help(help)))
            }
        }
    }
}

pub(super) struct Regex {
    pattern: JavaRegex,
    columns: Vec<Bytes>,
    row_key: Option<usize>,
    deposit_headers: bool,
    charset: Charset,
    /// Whether row keys that are made here say where the event lies.
    of_place: bool,
    world: Arc<dyn World>,
    /// In each row key that is made here.
    letters: String,
    made: u64,
}

impl Regex {
    pub(super) fn new(config: Config, manner: Manner, cx: &Context) -> Result<Self, OpenError> {
        let row_key = config.row_key().map_err(|wrong| OpenError::Config(vec![*wrong]))?;
        let flags = if config.regex_ignore_case { "(?is)" } else { "(?s)" };
        let pattern = JavaRegex::new(&format!("{flags}{}", config.regex));
        let pattern = pattern.map_err(|error| OpenError::config(error.to_string()))?;
        let columns = config.columns();
        let columns = columns.iter().map(|name| config.charset.encode(name).into()).collect();
        let random = cx.random();
        Ok(Regex {
            pattern,
            columns,
            row_key,
            deposit_headers: config.deposit_headers,
            charset: config.charset,
            of_place: manner.repeatable,
            world: cx.world.clone(),
            letters: letters(&random),
            made: 0,
        })
    }

    /// What only reading the configuration can tell.
    pub(super) fn check(config: &Config, _: Manner) -> Vec<Diagnostic> {
        let mut findings: Vec<Diagnostic> =
            config.row_key().err().map(|wrong| *wrong).into_iter().collect();
        let (groups, columns) = (config.regex.groups(), config.columns().len());
        if groups != columns {
            let what = format!(
                "the pattern has {groups} groups and `colNames` {columns} columns, so that every event is dropped"
            );
            let finding = Diagnostic::warning("drops-events", what).at(config.col_names.span);
            findings.push(finding.help("name a column for each group"));
        }
        findings
    }

    fn made_key(&mut self, place: Option<EventPlace>) -> Result<Bytes, Refusal> {
        if self.of_place {
            return Ok(self.charset.encode(&EventPlace::key_of(place)?).into());
        }
        let key = format!("{}-{}-{}", self.world.now_millis(), self.letters, self.made);
        self.made += 1;
        Ok(self.charset.encode(&key).into())
    }

    /// The row that the groups make, without headers.
    fn put(
        &mut self,
        groups: &[Option<Bytes>],
        place: Option<EventPlace>,
    ) -> Result<(Bytes, Columns<Bytes>), Refusal> {
        let unset = |place: usize| {
            format!(
                "group {} of the pattern took no part in the match of an event, which leaves its column without a value; give the group an empty alternative",
                place + 1
            )
        };
        let group = |place: usize| groups[place].clone().ok_or_else(|| unset(place));
        let row = match self.row_key {
            Some(place) => group(place)?,
            None => self.made_key(place)?,
        };
        let mut columns = Columns::with_capacity(groups.len());
        for (place, name) in self.columns.iter().enumerate() {
            if self.row_key != Some(place) {
                columns.push((name.clone(), group(place)?));
            }
        }
        Ok((row, columns))
    }
}

impl RowSerializer for Regex {
    fn write(
        &mut self,
        event: &Event,
        place: Option<EventPlace>,
        actions: &mut Actions,
    ) -> Result<(), Refusal> {
        let body = match self.charset.is_utf8() {
            true => event.body.clone(),
            false => {
                let text = self.charset.decode(&event.body, OnMalformed::Replace);
                Bytes::from(text.map_err(|error| error.to_string())?.into_owned())
            }
        };
        let found = self.pattern.full_captures(&body).map_err(|error| error.to_string())?;
        let drops = |why: &str| Refusal::Drops(why.to_owned());
        let found = found.ok_or_else(|| drops("a body that the pattern does not match"))?;
        if found.groups.len() != self.columns.len() + 1 {
            return Err(drops("the pattern has another number of groups than there are columns"));
        }
        let groups = groups(&found, &body);
        let (row, mut columns) = self.put(&groups, place)?;
        if self.deposit_headers {
            let encode = |text: &str| Bytes::from(self.charset.encode(text));
            columns.extend(event.headers.iter().map(|(name, value)| (encode(name), encode(value))));
        }
        actions.puts.push((row, columns));
        Ok(())
    }
}

/// The groups, as slices of the body where that is UTF-8.
pub(super) fn groups(found: &Captures<'_>, body: &Bytes) -> Vec<Option<Bytes>> {
    let groups = found.groups.iter().skip(1).cloned();
    let bytes = |range: std::ops::Range<usize>| match found.in_input() {
        true => body.slice(range),
        false => Bytes::copy_from_slice(&found.text.as_bytes()[range]),
    };
    groups.map(|range| range.map(bytes)).collect()
}

fn letters(random: &Random) -> String {
    let letter = |_| char::from(KEY_LETTERS[random.below(KEY_LETTERS.len())]);
    (0..KEY_LETTER_COUNT).map(letter).collect()
}
