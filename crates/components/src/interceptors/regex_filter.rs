//! Interceptor `regex_filter`: keeps events whose body a pattern is found in, or all others.
//!
//! Flume's class: `org.apache.flume.interceptor.RegexFilteringInterceptor`. Bodies are UTF-8 here,
//! the platform's charset there. An event whose body is too much for a pattern that backtracks is
//! kept, whatever the pattern is for, and said once.

use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use splashdam_core::{Batch, Component, Context, Event, Interceptor, OpenError, Trouble};
use tracing::warn;

use crate::java_regex::{GaveUp, JavaRegex};

/// Drops events.
pub struct RegexFilter {
    /// Unset where every event matches.
    regex: Option<JavaRegex>,
    exclude_events: bool,
    trouble: Mutex<Trouble>,
    cx: Context,
}

/// Keys of the regex_filter interceptor.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// A pattern of Java, looked for anywhere in the body; by default `.*`, which is everywhere.
    pub regex: Option<JavaRegex>,
    /// Whether events that match are dropped, rather than those that do not.
    pub exclude_events: bool,
}

impl Component for RegexFilter {
    const TYPE: &'static str = "regex_filter";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.interceptor.RegexFilteringInterceptor$Builder",
        "org.apache.flume.interceptor.RegexFilteringInterceptor",
    ];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let regex = config.regex.filter(|regex| regex.as_str() != ".*");
        let exclude_events = config.exclude_events;
        Ok(RegexFilter { regex, exclude_events, trouble: Mutex::default(), cx })
    }
}

impl Interceptor for RegexFilter {
    fn intercept(&self, batch: &mut Batch) {
        batch.retain(|event| self.keeps(event));
    }
}

impl RegexFilter {
    fn keeps(&self, event: &Event) -> bool {
        let found = match &self.regex {
            None => Ok(true),
            Some(regex) => regex.is_match(&event.body),
        };
        found.map_or_else(|error| self.note(error), |found| found != self.exclude_events)
    }

    fn note(&self, error: GaveUp) -> bool {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.happened(self.cx.world.instant(), "gave up").is_some() {
            warn!(component = %self.cx.name, %error, "interceptor regex_filter keeps an event unseen");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use splashdam_config::Section;
    use splashdam_core::Role;
    use splashdam_testkit::{bodies, context, contract};

    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::interceptor::<RegexFilter>("").await;
        contract::interceptor::<RegexFilter>("regex = WARN").await;
        contract::interceptor::<RegexFilter>("regex = (a)\\\\1\nexcludeEvents = true").await;
    }

    #[tokio::test]
    async fn filters() {
        let check = async |keys: &str, want: &[&str]| {
            let config = Section::parse(keys).read::<Config>().into_result().unwrap();
            let filter = RegexFilter::open(config, context(Role::Source)).await.unwrap();
            let mut batch: Batch =
                ["INFO a", "DEBUG b", "", "x DEBUG"].into_iter().map(Event::new).collect();
            filter.intercept(&mut batch);
            assert_eq!(bodies(batch.events()), want, "{keys}");
        };
        check("", &["INFO a", "DEBUG b", "", "x DEBUG"]).await;
        check("excludeEvents = true", &[]).await;
        check("regex = DEBUG", &["DEBUG b", "x DEBUG"]).await;
        check("regex = DEBUG\nexcludeEvents = true", &["INFO a", ""]).await;
        check("regex = ^DEBUG", &["DEBUG b"]).await;
        check("regex = ^$", &[""]).await;
        check("regex = ^(?!.*DEBUG)", &["INFO a", ""]).await;
    }

    #[tokio::test]
    async fn keeps_what_it_cannot_judge() {
        for exclude in ["true", "false"] {
            let keys = format!("regex = (?:(a|aa)+)+\\\\1z\nexcludeEvents = {exclude}");
            let config = Section::parse(&keys).read::<Config>().into_result().unwrap();
            let filter = RegexFilter::open(config, context(Role::Source)).await.unwrap();
            let mut batch = Batch::from(vec![Event::new("a".repeat(200))]);
            filter.intercept(&mut batch);
            assert_eq!(batch.len(), 1);
        }
    }
}
