//! Interceptor `uuid`: a random identifier into a header.
//!
//! Flume's class: `org.apache.flume.sink.solr.morphline.UUIDInterceptor`, which has no alias
//! there; `uuid` is ours. Identifiers are of version 4 and come from the component's generator:
//! they do not repeat, but they are no secret.

use serde::Deserialize;
use splashdam_core::{Batch, Component, Context, Facts, Interceptor, OpenError, Random, Text};
use uuid::{Builder, fmt::Hyphenated};

/// Names events.
pub struct UuidHeader {
    header: Text,
    prefix: String,
    preserve_existing: bool,
    /// Two of 64 bits each, so that identifiers of many agents stay apart.
    halves: [Random; 2],
}

/// Keys of the UUID interceptor.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// The header's name.
    pub header_name: String,
    /// Whether an event that has the header keeps its value.
    pub preserve_existing: bool,
    /// Text before the identifier.
    pub prefix: String,
}

impl Default for Config {
    fn default() -> Self {
        Config { header_name: "id".into(), preserve_existing: true, prefix: String::new() }
    }
}

impl Component for UuidHeader {
    const TYPE: &'static str = "uuid";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder",
        "org.apache.flume.sink.solr.morphline.UUIDInterceptor",
    ];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        Ok(UuidHeader {
            header: config.header_name.into(),
            prefix: config.prefix,
            preserve_existing: config.preserve_existing,
            halves: [cx.random(), cx.random()],
        })
    }

    fn facts(config: &Config) -> Facts {
        Facts { sets_headers: vec![config.header_name.clone()], ..Facts::default() }
    }
}

impl Interceptor for UuidHeader {
    fn intercept(&self, batch: &mut Batch) {
        batch.edit(|event| {
            if !self.preserve_existing || !event.headers.contains(&self.header) {
                event.headers.insert(&self.header, self.identifier());
            }
        });
    }

    fn varies(&self, header: &str) -> bool {
        *self.header == *header
    }
}

impl UuidHeader {
    fn identifier(&self) -> Text {
        let mut bytes = [0; 16];
        for (half, random) in bytes.chunks_exact_mut(8).zip(&self.halves) {
            half.copy_from_slice(&random.next().to_be_bytes());
        }
        let uuid = Builder::from_random_bytes(bytes).into_uuid();
        let mut text = String::with_capacity(self.prefix.len() + Hyphenated::LENGTH);
        text.push_str(&self.prefix);
        text.push_str(uuid.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]));
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use splashdam_config::Section;
    use splashdam_core::{Event, Role};
    use splashdam_testkit::{context, contract};

    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::interceptor::<UuidHeader>("").await;
        contract::interceptor::<UuidHeader>("prefix = x-\npreserveExisting = false").await;
    }

    #[tokio::test]
    async fn identifiers_differ_and_are_random_uuids() {
        let config = Section::parse("prefix = a-").read::<Config>().into_result().unwrap();
        let interceptor = UuidHeader::open(config, context(Role::Source)).await.unwrap();
        let mut batch: Batch = (0..1000).map(|_| Event::new("x")).collect();
        interceptor.intercept(&mut batch);
        let ids: HashSet<String> = batch
            .events()
            .iter()
            .map(|event| event.headers.get("id").unwrap().to_string())
            .collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            let uuid = uuid::Uuid::parse_str(id.strip_prefix("a-").unwrap()).unwrap();
            assert_eq!(uuid.get_version_num(), 4);
        }
    }

    #[tokio::test]
    async fn keeps_an_identifier_unless_told_otherwise() {
        for (keys, name, kept) in [
            ("", "id", true),
            ("preserveExisting = false", "id", false),
            ("headerName = uuid", "uuid", true),
            ("headerName = uuid\npreserveExisting = false", "uuid", false),
        ] {
            let config = Section::parse(keys).read::<Config>().into_result().unwrap();
            let interceptor = UuidHeader::open(config, context(Role::Source)).await.unwrap();
            let mut event = Event::new("x");
            event.headers.insert(name, "mine");
            let mut batch = Batch::from(vec![event]);
            interceptor.intercept(&mut batch);
            assert_eq!(&**batch.events()[0].headers.get(name).unwrap() == "mine", kept, "{keys}");
            assert_eq!(batch.events()[0].headers.len(), 1, "{keys}");
        }
    }
}
