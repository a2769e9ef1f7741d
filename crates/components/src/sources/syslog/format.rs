//! A format of the user's: a pattern for messages and one for their dates.

use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::OpenError;
use splashdam_wire::syslog::flume::{Format, Found};
use splashdam_wire::syslog::java_date::DatePattern;

use super::Mode;
use crate::java_regex::{JavaRegex, JavaReplacement, Replacement};

/// Keys of a format that is tried before those of the RFCs, in mode `flume` only.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FormatKeys {
    /// A pattern of Java that the whole message has to match. Its groups are, in this order, the
    /// priority, the version, the time, the host and the body.
    pub regex: Option<JavaRegex>,
    /// A pattern of Java for what is to be replaced in the time before it is read.
    pub search: Option<JavaRegex>,
    /// What replaces it, with Java's `$1`.
    pub replace: Option<JavaReplacement>,
    /// How the time is read, as a pattern of Java's `SimpleDateFormat`. Without one no time is.
    #[serde(rename = "dateFormat")]
    pub date_format: Option<String>,
}

/// Their names in the section of a source.
const KEYS: [&str; 4] = ["format.regex", "format.search", "format.replace", "format.dateFormat"];

/// What the keys mean.
struct Checked {
    regex: JavaRegex,
    edit: Option<(JavaRegex, Replacement)>,
    date: Option<DatePattern>,
}

impl FormatKeys {
    /// The format, if there is one.
    pub(in crate::sources) fn format(&self) -> Result<Option<Format>, OpenError> {
        let checked = self.checked().map_err(OpenError::config)?;
        Ok(checked.map(|checked| {
            Format::new(move |line, at| {
                let found = checked.regex.full_captures(line.as_bytes()).ok()??;
                let group = |number: usize| found.groups.get(number).cloned().flatten();
                let timestamp = group(3);
                let written = timestamp.clone().and_then(|range| line.get(range));
                let millis = written
                    .zip(checked.date.as_ref())
                    .and_then(|(written, date)| date.millis(&checked.edited(written), at));
                Some(Found {
                    priority: group(1),
                    version: group(2),
                    timestamp,
                    host: group(4),
                    body: group(5),
                    millis,
                })
            })
        }))
    }

    fn checked(&self) -> Result<Option<Checked>, String> {
        let Some(regex) = &self.regex else { return Ok(None) };
        let edit = match (&self.search, &self.replace) {
            (Some(search), Some(replace)) => {
                let replace = replace.resolve(search).map_err(|error| error.to_string())?;
                Some((search.clone(), replace))
            }
            (Some(_), None) => {
                return Err("`format.search` needs `format.replace`; set it, to nothing if what \
                            is found is to go"
                    .into());
            }
            (None, _) => None,
        };
        let date = self.date_format.as_deref().map(DatePattern::new).transpose();
        let date = date.map_err(|error| error.to_string())?;
        Ok(Some(Checked { regex: regex.clone(), edit, date }))
    }

    /// What is wrong with the keys together, and with the mode.
    pub(in crate::sources) fn findings(&self, mode: Mode, section: &Section) -> Option<Diagnostic> {
        if mode == Mode::Rfc {
            let written = KEYS.iter().find_map(|key| section.value_span(key))?;
            let what = "`format` has no meaning with `mode = rfc`, which reads what the RFCs say";
            let finding = Diagnostic::warning("unused-key", what).at(Some(written));
            return Some(finding.help("leave these keys out, or the mode"));
        }
        let error = self.checked().err()?;
        let at = section.value_span("format.dateFormat");
        let at = at.or_else(|| section.value_span("format.search"));
        Some(Diagnostic::error("invalid-value", error).at(at))
    }
}

impl Checked {
    fn edited(&self, written: &str) -> String {
        let edited = self.edit.as_ref().and_then(|(search, replace)| {
            search.replace_all(written.as_bytes(), replace).ok().flatten()
        });
        edited.unwrap_or_else(|| written.to_owned())
    }
}
