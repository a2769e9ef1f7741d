//! Interceptor `remove_header`: takes headers off, by name, list or pattern.
//!
//! Flume's class: `org.apache.flume.interceptor.RemoveHeaderInterceptor`. Without any of the keys
//! nothing is removed.

use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{Batch, Component, Context, Interceptor, OpenError};

use crate::java_regex::JavaRegex;

/// Removes headers.
pub struct RemoveHeader {
    names: Vec<String>,
    matching: Option<JavaRegex>,
}

/// Keys of the remove_header interceptor.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// A header's name.
    pub with_name: Option<String>,
    /// Names of headers.
    pub from_list: Option<String>,
    /// A pattern of Java between the names of `fromList`; by default a comma with blanks around.
    pub from_list_separator: Option<JavaRegex>,
    /// A pattern of Java that a whole name matches.
    pub matching: Option<JavaRegex>,
}

impl Config {
    fn names(&self) -> Vec<String> {
        let list = self.from_list.as_deref().map(|list| match &self.from_list_separator {
            Some(separator) => separator.split(list),
            None => list.split(',').map(|name| name.trim_matches(BLANKS).to_owned()).collect(),
        });
        self.with_name.iter().cloned().chain(list.into_iter().flatten()).collect()
    }
}

/// Java's `\s`.
const BLANKS: &[char] = &[' ', '\t', '\n', '\x0B', '\x0C', '\r'];

impl Component for RemoveHeader {
    const TYPE: &'static str = "remove_header";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.interceptor.RemoveHeaderInterceptor$Builder",
        "org.apache.flume.interceptor.RemoveHeaderInterceptor",
    ];
    type Config = Config;

    async fn open(config: Config, _: Context) -> Result<Self, OpenError> {
        Ok(RemoveHeader { names: config.names(), matching: config.matching })
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        if !config.names().is_empty() || config.matching.is_some() {
            return Vec::new();
        }
        let nothing = "interceptor `remove_header` removes nothing";
        vec![
            Diagnostic::warning("no-effect", nothing)
                .at(section.span())
                .help("set `withName`, `fromList` or `matching`"),
        ]
    }
}

impl Interceptor for RemoveHeader {
    fn intercept(&self, batch: &mut Batch) {
        batch.edit(|event| event.headers.retain(|name, _| !self.removes(name)));
    }
}

impl RemoveHeader {
    fn removes(&self, name: &str) -> bool {
        // A pattern that gives up on a name does not name it.
        let matches = |regex: &JavaRegex| regex.is_full_match(name.as_bytes()).unwrap_or(false);
        self.names.iter().any(|n| n == name) || self.matching.as_ref().is_some_and(matches)
    }
}

#[cfg(test)]
mod tests {
    use splashdam_core::{Event, Role};
    use splashdam_testkit::{context, contract};

    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::interceptor::<RemoveHeader>("").await;
        contract::interceptor::<RemoveHeader>("withName = host\nmatching = t.*").await;
    }

    #[tokio::test]
    async fn removes_by_name_list_and_pattern() {
        let check = async |keys: &str, left: &[&str]| {
            let config = Section::parse(keys).read::<Config>().into_result().unwrap();
            let remove = RemoveHeader::open(config, context(Role::Source)).await.unwrap();
            let mut event = Event::new("x");
            for name in ["a", "b", "ab", "c d"] {
                event.headers.insert(name, "1");
            }
            let mut batch = Batch::from(vec![event]);
            remove.intercept(&mut batch);
            let names: Vec<_> =
                batch.events()[0].headers.iter().map(|(n, _)| n.to_string()).collect();
            assert_eq!(names, left, "{keys}");
        };
        check("", &["a", "b", "ab", "c d"]).await;
        check("withName = a", &["b", "ab", "c d"]).await;
        check("withName = A", &["a", "b", "ab", "c d"]).await;
        check("fromList = a , b,ab", &["c d"]).await;
        check("fromList = a c d\nfromListSeparator = \\\\s+", &["b", "ab", "c d"]).await;
        check("fromList = a;c d;x\nfromListSeparator = ;", &["b", "ab"]).await;
        check("matching = a.?", &["b", "c d"]).await;
        check("matching = a", &["b", "ab", "c d"]).await;
        check("withName = a\nfromList = b\nmatching = c.*", &["ab"]).await;
    }

    #[test]
    fn says_when_nothing_is_to_be_removed() {
        let check = |keys: &str, findings: usize| {
            let section = Section::parse(keys);
            let config = section.read::<Config>().into_result().unwrap();
            assert_eq!(RemoveHeader::check(&config, &section).len(), findings, "{keys}");
        };
        check("", 1);
        check("withName = a", 0);
        check("matching = a", 0);
    }
}
