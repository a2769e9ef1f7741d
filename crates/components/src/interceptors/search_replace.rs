//! Interceptor `search_replace`: replaces what a pattern finds in the body.
//!
//! Flume's class: `org.apache.flume.interceptor.SearchAndReplaceInterceptor`. Flume decodes and
//! encodes each body, which alters bytes that are not valid in the charset even where nothing is
//! found; here a body without a match stays as it is. With a match such bytes become U+FFFD, or
//! `?` where the charset has no U+FFFD, as in Flume.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{Batch, Component, Context, Event, Interceptor, OpenError, Trouble};
use tracing::warn;

use crate::charset::{Charset, OnMalformed};
use crate::java_regex::{GaveUp, JavaRegex, JavaReplacement, Replacement};

/// Edits bodies.
pub struct SearchReplace {
    pattern: JavaRegex,
    replacement: Replacement,
    charset: Charset,
    trouble: Mutex<Trouble>,
    cx: Context,
}

/// Keys of the search_replace interceptor.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// A pattern of Java; every match is replaced.
    pub search_pattern: JavaRegex,
    /// What stands in for a match, with Java's `$1`, `${name}` and `\$`. Nothing by default.
    #[serde(default)]
    pub replace_string: JavaReplacement,
    /// The charset of bodies.
    #[serde(default)]
    pub charset: Charset,
}

impl Component for SearchReplace {
    const TYPE: &'static str = "search_replace";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.interceptor.SearchAndReplaceInterceptor$Builder",
        "org.apache.flume.interceptor.SearchAndReplaceInterceptor",
    ];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let replacement = config.replace_string.resolve(&config.search_pattern);
        Ok(SearchReplace {
            replacement: replacement.map_err(|error| OpenError::config(error.to_string()))?,
            pattern: config.search_pattern,
            charset: config.charset,
            trouble: Mutex::default(),
            cx,
        })
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let resolved = config.replace_string.resolve(&config.search_pattern);
        let wrong = resolved.err().map(|error| {
            Diagnostic::error("bad-value", format!("`replaceString`: {error}"))
                .at(section.value_span("replaceString"))
                .help("number groups by their opening brackets, from 1; 0 is the whole match")
        });
        wrong.into_iter().collect()
    }
}

impl Interceptor for SearchReplace {
    fn intercept(&self, batch: &mut Batch) {
        batch.edit(|event| match self.replaced(event) {
            Ok(Some(body)) => event.body = body,
            Ok(None) => {}
            Err(error) => self.note(error),
        });
    }
}

impl SearchReplace {
    fn replaced(&self, event: &Event) -> Result<Option<Bytes>, GaveUp> {
        if self.charset.is_utf8() {
            let replaced = self.pattern.replace_all(&event.body, &self.replacement)?;
            return Ok(replaced.map(Bytes::from));
        }
        let (charset, mark) = self.charset.resolve(&event.body);
        let text = charset.decode(&event.body[mark..], OnMalformed::Replace).unwrap_or_default();
        let replaced = self.pattern.replace_all(text.as_bytes(), &self.replacement)?;
        Ok(replaced.map(|text| Bytes::from(self.charset.encode(&text))))
    }

    fn note(&self, error: GaveUp) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.happened(self.cx.world.instant(), "gave up").is_some() {
            warn!(component = %self.cx.name, %error, "interceptor search_replace leaves an event as it is");
        }
    }
}

#[cfg(test)]
mod tests {
    use splashdam_core::Role;
    use splashdam_testkit::{context, contract};

    use super::*;

    async fn open(keys: &str) -> SearchReplace {
        let config = Section::parse(keys).read::<Config>().into_result().unwrap();
        SearchReplace::open(config, context(Role::Source)).await.unwrap()
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::interceptor::<SearchReplace>("searchPattern = e\nreplaceString = <$0>").await;
        contract::interceptor::<SearchReplace>("searchPattern = .\ncharset = UTF-16LE").await;
    }

    #[tokio::test]
    async fn replaces_in_the_body() {
        let check = async |keys: &str, body: &[u8], want: &[u8]| {
            let interceptor = open(keys).await;
            let mut batch = Batch::from(vec![Event::new(body.to_vec())]);
            interceptor.intercept(&mut batch);
            assert_eq!(&batch.events()[0].body[..], want, "{keys}");
        };
        check("searchPattern = ^[A-Za-z0-9_]+", b"user1 x user2", b" x user2").await;
        check("searchPattern = (\\\\d)(\\\\d)\nreplaceString = $2$1", b"12 34 5", b"21 43 5").await;
        check("searchPattern = (?<n>a)\nreplaceString = [${n}\\\\$]", b"aba", b"[a$]b[a$]").await;
        // Invalid bytes: untouched without a match, U+FFFD with one.
        check("searchPattern = x\nreplaceString = y", b"a\xffb", b"a\xffb").await;
        check("searchPattern = b\nreplaceString = y", b"a\xffb", b"a\xef\xbf\xbdy").await;
        check("searchPattern = \u{e4}\nreplaceString = ae", "\u{e4}".as_bytes(), b"ae").await;
        check(
            "searchPattern = \u{e4}\nreplaceString = \u{f6}\u{20ac}\ncharset = iso-8859-1",
            b"\xe4\xff",
            b"\xf6?\xff",
        )
        .await;
        check("searchPattern = b\nreplaceString = \u{e4}\ncharset = US-ASCII", b"ab\xff", b"a??")
            .await;
        check(
            "searchPattern = b\nreplaceString = \u{1f332}\ncharset = UTF-16BE",
            b"\0a\0b",
            b"\0a\xd8\x3c\xdf\x32",
        )
        .await;
        check(
            "searchPattern = b\nreplaceString = c\ncharset = UTF-16",
            b"\xff\xfeb\0",
            b"\xfe\xff\0c",
        )
        .await;
        check(
            "searchPattern = \u{3042}\nreplaceString = \u{3044}\ncharset = Shift_JIS",
            b"\x82\xa0",
            b"\x82\xa2",
        )
        .await;
        check("searchPattern = \u{20ac}\nreplaceString = E\ncharset = windows-1252", b"\x80", b"E")
            .await;
    }

    #[tokio::test]
    async fn an_untouched_body_is_not_copied() {
        let interceptor = open("searchPattern = x").await;
        let body = Bytes::from(vec![b'a'; 100]);
        let mut batch = Batch::from(vec![Event::new(body.clone())]);
        interceptor.intercept(&mut batch);
        assert_eq!(batch.events()[0].body.as_ptr(), body.as_ptr());
    }

    #[tokio::test]
    async fn bad_keys_are_found() {
        let findings = |keys: &str| {
            let section = Section::parse(keys);
            let reading = section.read::<Config>();
            let mut findings = reading.findings;
            if let Some(config) = reading.value {
                findings.extend(SearchReplace::check(&config, &section));
            }
            findings.iter().map(|f| f.message.clone()).collect::<Vec<_>>().join("\n")
        };
        assert!(findings("").contains("`searchPattern`"));
        assert!(findings("searchPattern = a\nreplaceString = $1").contains("no group 1"));
        assert!(findings("searchPattern = a\nreplaceString = $").contains("`$`"));
        assert!(findings("searchPattern = a\ncharset = EBCDIC-1").contains("EBCDIC-1"));
        assert_eq!(findings("searchPattern = (a)\nreplaceString = $1"), "");
        let config = Section::parse("searchPattern = a\nreplaceString = $1").read().into_result();
        let opened = SearchReplace::open(config.unwrap(), context(Role::Source)).await;
        assert!(matches!(opened, Err(OpenError::Config(_))));
    }
}
