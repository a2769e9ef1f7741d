//! Interceptor `host`: the agent's address or full name into a header.
//!
//! Flume's class: `org.apache.flume.interceptor.HostInterceptor`. Resolved once, when opened; a
//! host that does not know itself sets no header, as in Flume.

use serde::Deserialize;
use splashdam_core::{Batch, Component, Context, Facts, Interceptor, OpenError, Text};
use tracing::warn;

/// Says where an event came by.
pub struct Host {
    header: Text,
    /// Unset where the host does not know itself.
    host: Option<Text>,
    preserve_existing: bool,
}

/// Keys of the host interceptor.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// The header's name.
    pub host_header: String,
    /// The address if true, the full host name if false.
    #[serde(rename = "useIP")]
    pub use_ip: bool,
    /// Whether an event that has the header keeps its value.
    pub preserve_existing: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { host_header: "host".into(), use_ip: true, preserve_existing: false }
    }
}

impl Component for Host {
    const TYPE: &'static str = "host";
    const ALIASES: &'static [&'static str] = &[
        "org.apache.flume.interceptor.HostInterceptor$Builder",
        "org.apache.flume.interceptor.HostInterceptor",
    ];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let host = match config.use_ip {
            true => cx.world.host_address(),
            false => cx.world.canonical_host_name(),
        };
        if host.is_none() {
            warn!(component = %cx.name, header = config.host_header, "this host does not know its own name or address; the host interceptor sets no header");
        }
        Ok(Host {
            header: config.host_header.into(),
            host: host.map(Text::from),
            preserve_existing: config.preserve_existing,
        })
    }

    fn facts(config: &Config) -> Facts {
        Facts { sets_headers: vec![config.host_header.clone()], ..Facts::default() }
    }
}

impl Interceptor for Host {
    fn intercept(&self, batch: &mut Batch) {
        let Some(host) = &self.host else { return };
        batch.edit(|event| {
            if !self.preserve_existing || !event.headers.contains(&self.header) {
                event.headers.insert(&self.header, host);
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
        contract::interceptor::<Host>("").await;
        contract::interceptor::<Host>("useIP = false\npreserveExisting = true").await;
    }

    #[tokio::test]
    async fn sets_address_or_name() {
        let check = async |keys: &str, name: &str, before: &str, want: &str| {
            let config = Section::parse(keys).read::<Config>().into_result().unwrap();
            let host = Host::open(config, context(Role::Source)).await.unwrap();
            let mut event = Event::new("x");
            if !before.is_empty() {
                event.headers.insert(name, before);
            }
            let mut batch = Batch::from(vec![event]);
            host.intercept(&mut batch);
            assert_eq!(&**batch.events()[0].headers.get(name).unwrap(), want, "{keys}");
        };
        check("", "host", "", "192.0.2.7").await;
        check("useIP = false", "host", "", "mill.example.org").await;
        check("", "host", "other", "192.0.2.7").await;
        check("preserveExisting = true", "host", "other", "other").await;
        check("hostHeader = h", "h", "", "192.0.2.7").await;
    }

    #[test]
    fn sets_nothing_where_the_host_does_not_know_itself() {
        let host = Host { header: "host".into(), host: None, preserve_existing: false };
        let mut batch = Batch::from(vec![Event::new("x")]);
        host.intercept(&mut batch);
        assert!(batch.events()[0].headers.is_empty());
    }
}
