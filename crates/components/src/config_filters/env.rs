//! Config filter `env`: environment variables.
//!
//! Flume's class: `org.apache.flume.configfilter.EnvironmentVariableConfigFilter`.

use std::sync::Arc;

use serde::Deserialize;
use splashdam_config::ConfigFilter;
use splashdam_core::{Component, Context, OpenError, World};

/// The filter has no keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {}

/// The filter.
pub struct Environment {
    world: Arc<dyn World>,
}

impl Component for Environment {
    const TYPE: &'static str = "env";
    const ALIASES: &'static [&'static str] =
        &["org.apache.flume.configfilter.EnvironmentVariableConfigFilter"];
    type Config = Config;

    async fn open(_config: Config, cx: Context) -> Result<Self, OpenError> {
        Ok(Environment { world: cx.world })
    }
}

impl ConfigFilter for Environment {
    fn lookup(&self, key: &str) -> Result<Option<String>, String> {
        Ok(self.world.variable(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use splashdam_core::Role;
    use splashdam_testkit::FakeWorld;
    use splashdam_testkit::fakes::context_in;

    #[tokio::test]
    async fn answers_with_variables() {
        let world = FakeWorld::default().with_variable("A", "1").with_variable("E", "");
        let cx = context_in(Role::Source, Arc::new(world));
        let filter = Environment::open(Config::default(), cx).await.unwrap();
        for (key, want) in [("A", Some("1")), ("E", Some("")), ("a", None), ("B", None)] {
            assert_eq!(filter.lookup(key), Ok(want.map(str::to_owned)), "{key}");
        }
    }
}
