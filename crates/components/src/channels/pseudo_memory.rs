//! Channel `org.apache.flume.channel.PseudoTxnMemoryChannel`: the memory channel under the keys of
//! Flume's test channel.
//!
//! Flume's has no transactions: a rollback loses what was taken, and a put into a full channel
//! waits for ever. Ours is the memory channel in all but its keys, so it loses nothing on a
//! rollback, and a put into a full channel is refused after `keep-alive` and tried again by its
//! source. Its bytes are limited as those of the memory channel are by default.

use serde::Deserialize;
use splashdam_config::{Lenient, Section};
use splashdam_core::{
    BoxFuture, Channel, ChannelError, Component, Context, Facts, Level, OpenError, Put, Size, Take,
};

use super::memory::{self, Memory};

/// Keys of the pseudo-transactional memory channel.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Events it holds.
    pub capacity: Lenient<i64>,
    /// Seconds to wait for an event at a take, a second at least, and here for room at a put.
    #[serde(rename = "keep-alive")]
    pub keep_alive: Lenient<i64>,
}

const CAPACITY: i64 = 50;
const KEEP_ALIVE: i64 = 3;

impl Default for Config {
    fn default() -> Self {
        Config { capacity: Lenient(Some(CAPACITY)), keep_alive: Lenient(Some(KEEP_ALIVE)) }
    }
}

impl Config {
    /// The same as a configuration of the memory channel, where a transaction may be as large as
    /// the channel.
    fn as_memory(&self) -> memory::Config {
        let capacity = Lenient(self.capacity.0.filter(|n| *n > 0).or(Some(CAPACITY)));
        let keep_alive = Lenient(self.keep_alive.0.filter(|n| *n >= 0).or(Some(KEEP_ALIVE)));
        memory::Config {
            capacity,
            transaction_capacity: capacity,
            keep_alive,
            ..memory::Config::default()
        }
    }
}

/// The channel.
pub struct PseudoMemory(Memory);

impl Component for PseudoMemory {
    const TYPE: &'static str = "org.apache.flume.channel.PseudoTxnMemoryChannel";
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        Memory::open(config.as_memory(), cx).await.map(PseudoMemory)
    }

    fn facts(config: &Config) -> Facts {
        let facts = Memory::facts(&config.as_memory());
        // Flume's declares no transaction capacity, so batches are not measured against it.
        Facts { transaction_events: None, memory_key: None, ..facts }
    }
}

impl Channel for PseudoMemory {
    fn begin_put(&self, size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        self.0.begin_put(size)
    }

    fn begin_take(&self, limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        self.0.begin_take(limit)
    }

    fn level(&self) -> Level {
        self.0.level()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        self.0.close()
    }

    fn reconfigure(&self, section: &Section) -> bool {
        section.read::<Config>().value.is_some_and(|config| self.0.resize(&config.as_memory()))
    }

    fn volatile(&self) -> bool {
        self.0.volatile()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use splashdam_core::Role;
    use splashdam_testkit::{context, contract};

    async fn open(keys: &str) -> PseudoMemory {
        let config = Section::parse(keys).read::<Config>().into_result().unwrap();
        PseudoMemory::open(config, context(Role::Channel)).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_contract() {
        // The suite wants transactions smaller than the channel, which its keys cannot ask for.
        contract::channel(async |capacity: usize, transaction: usize| {
            let config = memory::Config {
                capacity: Lenient(i64::try_from(capacity).ok()),
                transaction_capacity: Lenient(i64::try_from(transaction).ok()),
                keep_alive: Lenient(Some(1)),
                ..memory::Config::default()
            };
            let memory = Memory::open(config, context(Role::Channel)).await.unwrap();
            Arc::new(PseudoMemory(memory)) as Arc<dyn Channel>
        })
        .await;
    }

    #[tokio::test]
    async fn keys_are_those_of_flume() {
        for (keys, events) in [
            ("", 50),
            ("capacity = 7", 7),
            ("capacity = 0", 50),
            ("capacity = x\nkeep-alive = x", 50),
        ] {
            let channel = open(keys).await;
            assert_eq!(channel.level().capacity.events, events, "{keys}");
        }
        let facts = PseudoMemory::facts(&Config::default());
        assert_eq!((facts.capacity_events, facts.transaction_events), (Some(50), None));
        let unknown = Section::parse("transactionCapacity = 5").read::<Config>();
        assert_eq!(unknown.findings.len(), 1);
    }

    #[tokio::test]
    async fn a_reload_resizes_it() {
        let channel = open("capacity = 4").await;
        assert!(channel.reconfigure(&Section::parse("capacity = 9")));
        assert_eq!(channel.level().capacity.events, 9);
    }
}
