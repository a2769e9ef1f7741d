//! Interceptor `regex_extractor`: groups of the first match in the body into headers.
//!
//! Flume's class: `org.apache.flume.interceptor.RegexExtractorInterceptor`. The n-th group goes
//! through the n-th serializer; groups beyond the serializers are ignored. Where Flume puts a null
//! (a group that took no part) or throws, and so blocks its source for ever (a time that does not
//! fit its pattern), the header is left as it was; the latter is said once.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use jiff::tz::TimeZone;
use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Batch, Component, Context, Event, Facts, Interceptor, OpenError, Text, Trouble,
};
use tracing::warn;

use crate::java_regex::{Captures, JavaRegex};
use crate::joda::JodaPattern;

/// Reads headers out of bodies.
pub struct RegexExtractor {
    regex: JavaRegex,
    serializers: Vec<Serializer>,
    zone: TimeZone,
    trouble: Mutex<Trouble>,
    cx: Context,
}

/// Keys of the regex_extractor interceptor.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// A pattern of Java with a group for each header, looked for anywhere in the body.
    pub regex: JavaRegex,
    /// Names of serializers, one for each group in order. Below it, for each `<s>` of them:
    /// `<s>.name`, the header; `<s>.type`, `DEFAULT` for the text as it is or
    /// `org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer` (or `millis`) for
    /// a time; `<s>.pattern`, the time's pattern in the syntax of Joda-Time, in the agent's zone.
    pub serializers: Section,
}

/// Keys below `serializers.<s>.`.
#[derive(Deserialize)]
struct SerializerConfig {
    /// The header's name.
    name: String,
    #[serde(rename = "type", default)]
    kind: Kind,
    #[serde(default)]
    pattern: Option<JodaPattern>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "any case")]
enum Kind {
    #[default]
    #[serde(
        rename = "DEFAULT",
        alias = "org.apache.flume.interceptor.RegexExtractorInterceptorPassThroughSerializer"
    )]
    PassThrough,
    #[serde(
        rename = "millis",
        alias = "org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer"
    )]
    Millis,
}

/// How a group becomes a header.
struct Serializer {
    header: Text,
    /// Set for a time.
    pattern: Option<JodaPattern>,
}

impl Config {
    fn serializers(&self) -> (Vec<Serializer>, Vec<Diagnostic>) {
        let (mut serializers, mut findings) = (Vec::new(), Vec::new());
        let section = &self.serializers;
        let names: Vec<&str> = section.value().unwrap_or_default().split_whitespace().collect();
        if names.is_empty() {
            findings.push(
                Diagnostic::error("missing-key", "`serializers` names no serializer")
                    .at(section.span())
                    .help("name one for each group of `regex`, with blanks between"),
            );
            return (serializers, findings);
        }
        for name in &names {
            let below = section.section(name);
            if below.is_empty() {
                findings.push(
                    Diagnostic::error(
                        "missing-key",
                        format!("serializer `{name}` has no name for its header"),
                    )
                    .at(section.located_value().map(splashdam_config::Located::span))
                    .help(format!("add a line that sets `serializers.{name}.name`")),
                );
                continue;
            }
            let subject = format!("serializer `{name}`");
            let reading = below.reader().subject(subject).read::<SerializerConfig>();
            findings.extend(reading.findings);
            let Some(read) = reading.value else { continue };
            match (read.kind, read.pattern) {
                (Kind::Millis, None) => findings.push(
                    Diagnostic::error(
                        "missing-key",
                        format!("serializer `{name}` needs the key `pattern`"),
                    )
                    .at(below.span())
                    .help("add a date pattern, as in `yyyy-MM-dd HH:mm:ss`"),
                ),
                (kind, pattern) => serializers.push(Serializer {
                    header: read.name.into(),
                    pattern: pattern.filter(|_| kind == Kind::Millis),
                }),
            }
        }
        findings.extend(section.children().iter().filter(|c| !names.contains(&c.name())).map(
            |c| {
                Diagnostic::warning(
                    "unknown-key",
                    format!("no serializer is called `{}`", c.name()),
                )
                .at(c.span())
                .help("list it in `serializers`")
            },
        ));
        (serializers, findings)
    }
}

impl Component for RegexExtractor {
    const TYPE: &'static str = "regex_extractor";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.interceptor.RegexExtractorInterceptor$Builder",
        "org.apache.flume.interceptor.RegexExtractorInterceptor",
    ];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let (serializers, findings) = config.serializers();
        if findings.iter().any(Diagnostic::is_error) {
            return Err(OpenError::Config(findings));
        }
        let zone = crate::time_zone::local(&*cx.world);
        Ok(RegexExtractor { regex: config.regex, serializers, zone, trouble: Mutex::default(), cx })
    }

    fn facts(config: &Config) -> Facts {
        let names = config.serializers().0.into_iter().map(|s| s.header.to_string());
        Facts { sets_headers: names.take(config.regex.groups()).collect(), ..Facts::default() }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let (serializers, mut findings) = config.serializers();
        let groups = config.regex.groups();
        if serializers.len() > groups {
            let message = format!(
                "{} serializers for {groups} groups of `regex`; the last set nothing",
                serializers.len()
            );
            findings.push(
                Diagnostic::warning("no-effect", message)
                    .at(section.value_span("regex"))
                    .help("put each part to be kept into brackets"),
            );
        }
        findings
    }
}

impl Interceptor for RegexExtractor {
    fn intercept(&self, batch: &mut Batch) {
        let now = self.cx.world.now_millis();
        let this_year = jiff::Timestamp::from_millisecond(now)
            .map_or(1970, |now| now.to_zoned(self.zone.clone()).year());
        batch.edit(|event| self.extract(event, this_year));
    }
}

impl RegexExtractor {
    fn extract(&self, event: &mut Event, this_year: i16) {
        // A clone shares the bytes; it stands aside while headers change.
        let body = event.body.clone();
        let captures = match self.regex.captures(&body) {
            Ok(Some(captures)) => captures,
            Ok(None) => return,
            Err(error) => return self.note(&error.to_string()),
        };
        for (index, serializer) in self.serializers.iter().enumerate() {
            let Some(text) = captures.group(index + 1) else { continue };
            let value = match &serializer.pattern {
                None => group_text(&captures, index + 1, text, &body),
                Some(pattern) => match pattern.millis(text, &self.zone, this_year) {
                    Some(millis) => Text::from(millis.to_string()),
                    None => {
                        self.note(&format!(
                            "a time does not fit the pattern `{}` of header `{}`",
                            pattern.as_str(),
                            serializer.header
                        ));
                        continue;
                    }
                },
            };
            event.headers.insert(&serializer.header, value);
        }
    }

    fn note(&self, what: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.happened(self.cx.world.instant(), what).is_some() {
            warn!(component = %self.cx.name, reason = what, "interceptor regex_extractor leaves headers unset");
        }
    }
}

/// A slice of the body, where that is possible.
fn group_text(captures: &Captures<'_>, group: usize, text: &str, body: &Bytes) -> Text {
    let range = captures.groups.get(group).cloned().flatten().filter(|_| captures.in_input());
    let slice = range.and_then(|range| Text::from_utf8(body.slice(range)).ok());
    slice.unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use splashdam_core::Role;
    use splashdam_testkit::{context, contract};

    use super::*;

    const KEYS: &str = "regex = (\\\\d+):(\\\\w+)?\nserializers = s1 s2\nserializers.s1.name = one\nserializers.s2.name = two\n";

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::interceptor::<RegexExtractor>(KEYS).await;
    }

    async fn open(keys: &str) -> RegexExtractor {
        let config = Section::parse(keys).read::<Config>().into_result().unwrap();
        let opened = RegexExtractor::open(config, context(Role::Source)).await.unwrap();
        RegexExtractor { zone: TimeZone::get("Europe/Berlin").unwrap(), ..opened }
    }

    async fn check(keys: &str, body: &[u8], want: &[(&str, &str)]) {
        let extractor = open(keys).await;
        let mut event = Event::new(body.to_vec());
        event.headers.insert("two", "old");
        let mut batch = Batch::from(vec![event]);
        extractor.intercept(&mut batch);
        let headers = &batch.events()[0].headers;
        let got: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(got, want, "{keys}");
    }

    #[tokio::test]
    async fn groups_become_headers() {
        check(KEYS, b"x 12:ab 34:cd", &[("two", "ab"), ("one", "12")]).await;
        check(KEYS, b"12:", &[("two", "old"), ("one", "12")]).await;
        check(KEYS, b"none", &[("two", "old")]).await;
        let one = "regex = (a)(b)\nserializers = s\nserializers.s.name = one";
        check(one, b"\xff ab", &[("two", "old"), ("one", "a")]).await;
        let bad =
            "regex = (.)b\nserializers = s\nserializers.s.name = one\nserializers.s.type = default";
        check(bad, b"\xffb", &[("two", "old"), ("one", "\u{fffd}")]).await;
    }

    #[tokio::test]
    async fn times_become_milliseconds() {
        for kind in
            ["millis", "org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer"]
        {
            let keys = format!(
                "regex = ^(\\\\S+ \\\\S+) (\\\\w+)\nserializers = t two\nserializers.t.type = {kind}\nserializers.t.name = timestamp\nserializers.t.pattern = yyyy-MM-dd HH:mm:ss\nserializers.two.name = two"
            );
            let stamp = [("two", "WARN"), ("timestamp", "1704161045000")];
            check(&keys, b"2024-01-02 03:04:05 WARN x", &stamp).await;
            // Flume throws here; the rest of the headers is set all the same.
            check(&keys, b"2024-13-02 03:04:05 WARN x", &[("two", "WARN")]).await;
        }
    }

    #[tokio::test]
    async fn a_header_is_a_slice_of_the_body() {
        let extractor = open(KEYS).await;
        let mut batch = Batch::from(vec![Event::new("12:ab")]);
        extractor.intercept(&mut batch);
        let event = &batch.events()[0];
        let header = event.headers.get("two").unwrap().as_bytes();
        assert_eq!(header.as_ptr(), event.body.slice(3..).as_ptr());
    }

    #[test]
    fn bad_keys_are_found() {
        let check = |keys: &str, want: &str| {
            let section = Section::parse(keys);
            let reading = section.read::<Config>();
            let mut findings = reading.findings;
            if let Some(config) = reading.value {
                findings.extend(RegexExtractor::check(&config, &section));
            }
            let got: Vec<_> = findings.iter().map(|f| f.message.as_str()).collect();
            assert!(
                got.join("\n").contains(want) && got.len() == usize::from(!want.is_empty()),
                "{keys}: {got:?}"
            );
        };
        check(KEYS, "");
        check("regex = (a)\nserializers = s", "serializer `s` has no name");
        check("regex = (a)\nserializers = s\nserializers.s.type = DEFAULT", "needs the key `name`");
        check("regex = (a)\nserializers.s.name = x", "names no serializer");
        check(
            "regex = (a)\nserializers = s\nserializers.s.name = x\nserializers.s.type = milis",
            "`milis`",
        );
        check(
            "regex = (a)\nserializers = s\nserializers.s.name = x\nserializers.s.type = millis",
            "`pattern`",
        );
        check(
            "regex = (a)\nserializers = s\nserializers.s.name = x\nserializers.s.type = millis\nserializers.s.pattern = bb",
            "`bb`",
        );
        check("regex = a\nserializers = s\nserializers.s.name = x", "1 serializers for 0 groups");
        check(
            "regex = (a)\nserializers = s\nserializers.s.name = x\nserializers.t.name = y",
            "`t`",
        );
        check("regex = (a\nserializers = s\nserializers.s.name = x", "group without an end");
    }
}
