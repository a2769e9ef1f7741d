//! Interceptor `timestamp`: the time in milliseconds since 1970, as text, into a header.
//!
//! Flume's class: `org.apache.flume.interceptor.TimestampInterceptor`. Flume looks at the clock
//! for each event, we for each batch, so that a batch costs one text.

use serde::Deserialize;
use splashdam_core::{Batch, Component, Context, Facts, Interceptor, OpenError, Text};

/// Sets the time of arrival.
pub struct Timestamp {
    header: Text,
    preserve_existing: bool,
    cx: Context,
}

/// Keys of the timestamp interceptor.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// The header's name.
    pub header_name: String,
    /// Whether an event that has the header keeps its value.
    pub preserve_existing: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { header_name: "timestamp".into(), preserve_existing: false }
    }
}

impl Component for Timestamp {
    const TYPE: &'static str = "timestamp";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.interceptor.TimestampInterceptor$Builder",
        "org.apache.flume.interceptor.TimestampInterceptor",
    ];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let header = Text::from(config.header_name);
        Ok(Timestamp { header, preserve_existing: config.preserve_existing, cx })
    }

    fn facts(config: &Config) -> Facts {
        Facts { sets_headers: vec![config.header_name.clone()], ..Facts::default() }
    }
}

impl Interceptor for Timestamp {
    fn intercept(&self, batch: &mut Batch) {
        let now = Text::from(self.cx.world.now_millis().to_string());
        batch.edit(|event| {
            if !self.preserve_existing || !event.headers.contains(&self.header) {
                event.headers.insert(&self.header, &now);
            }
        });
    }

    fn varies(&self, header: &str) -> bool {
        *self.header == *header
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use splashdam_config::Section;
    use splashdam_core::{Event, Role};
    use splashdam_testkit::contract;
    use splashdam_testkit::fakes::{FakeWorld, context_in};

    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::interceptor::<Timestamp>("").await;
        contract::interceptor::<Timestamp>("headerName = t\npreserveExisting = true").await;
    }

    #[tokio::test]
    async fn sets_the_time() {
        let check = async |keys: &str, name: &str, before: Option<&str>, want: &str| {
            let world = Arc::new(FakeWorld::default());
            world.set_millis(1_234);
            let config = Section::parse(keys).read::<Config>().into_result().unwrap();
            let timestamp = Timestamp::open(config, context_in(Role::Source, world)).await.unwrap();
            let mut event = Event::new("x");
            if let Some(before) = before {
                event.headers.insert(name, before);
            }
            let mut batch = Batch::from(vec![event]);
            timestamp.intercept(&mut batch);
            assert_eq!(&**batch.events()[0].headers.get(name).unwrap(), want, "{keys}");
        };
        check("", "timestamp", None, "1234").await;
        check("", "timestamp", Some("5"), "1234").await;
        check("preserveExisting = true", "timestamp", Some("5"), "5").await;
        check("preserveExisting = TRUE", "timestamp", None, "1234").await;
        check("headerName = at", "at", None, "1234").await;
    }
}
