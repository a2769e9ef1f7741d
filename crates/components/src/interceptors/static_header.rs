//! Interceptor `static`: one header with a fixed value.
//!
//! Flume's class: `org.apache.flume.interceptor.StaticInterceptor`.

use serde::Deserialize;
use splashdam_core::{Batch, Component, Context, Facts, Interceptor, OpenError, Text};

/// Sets a header.
pub struct Static {
    key: Text,
    value: Text,
    preserve_existing: bool,
}

/// Keys of the static interceptor.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// The header's name.
    pub key: String,
    /// The header's value.
    pub value: String,
    /// Whether an event that has the header keeps its value; true here, unlike elsewhere.
    pub preserve_existing: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { key: "key".into(), value: "value".into(), preserve_existing: true }
    }
}

impl Component for Static {
    const TYPE: &'static str = "static";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.interceptor.StaticInterceptor$Builder",
        "org.apache.flume.interceptor.StaticInterceptor",
    ];
    type Config = Config;

    async fn open(config: Config, _: Context) -> Result<Self, OpenError> {
        Ok(Static {
            key: config.key.into(),
            value: config.value.into(),
            preserve_existing: config.preserve_existing,
        })
    }

    fn facts(config: &Config) -> Facts {
        Facts { sets_headers: vec![config.key.clone()], ..Facts::default() }
    }
}

impl Interceptor for Static {
    fn intercept(&self, batch: &mut Batch) {
        batch.edit(|event| {
            if !self.preserve_existing || !event.headers.contains(&self.key) {
                event.headers.insert(&self.key, &self.value);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use splashdam_config::Section;
    use splashdam_core::{Event, Role};
    use splashdam_testkit::{context, contract};

    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::interceptor::<Static>("key = a\nvalue = b").await;
    }

    #[tokio::test]
    async fn sets_one_header() {
        let check = async |keys: &str, name: &str, before: &str, want: &str| {
            let config = Section::parse(keys).read::<Config>().into_result().unwrap();
            let fixed = Static::open(config, context(Role::Source)).await.unwrap();
            let mut event = Event::new("x");
            if !before.is_empty() {
                event.headers.insert(name, before);
            }
            let mut batch = Batch::from(vec![event]);
            fixed.intercept(&mut batch);
            assert_eq!(&**batch.events()[0].headers.get(name).unwrap(), want, "{keys}");
            assert_eq!(batch.events()[0].headers.len(), 1);
        };
        check("", "key", "", "value").await;
        check("key = dc\nvalue = east 1", "dc", "", "east 1").await;
        check("key = dc\nvalue = east", "dc", "west", "west").await;
        check("key = dc\nvalue = east\npreserveExisting = false", "dc", "west", "east").await;
    }
}
