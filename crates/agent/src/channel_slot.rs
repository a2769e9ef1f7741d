//! A channel's place in the topology: empty until the channel is open, watched by who needs it.

use std::sync::Arc;

use splashdam_core::metrics::ChannelMetrics;
use splashdam_core::{Channel, OutletChannel, Stop};
use tokio::sync::watch;

/// Where a channel is found once it is open.
#[derive(Clone)]
pub struct ChannelSlot {
    /// The channel's name.
    pub name: Arc<str>,
    /// Its counters.
    pub metrics: Arc<ChannelMetrics>,
    filled: watch::Receiver<Option<Arc<dyn Channel>>>,
}

/// Fills a [`ChannelSlot`].
pub struct SlotFiller(watch::Sender<Option<Arc<dyn Channel>>>);

impl ChannelSlot {
    /// An empty slot and what fills it.
    pub fn new(name: Arc<str>, metrics: Arc<ChannelMetrics>) -> (SlotFiller, ChannelSlot) {
        let (tx, filled) = watch::channel(None);
        (SlotFiller(tx), ChannelSlot { name, metrics, filled })
    }

    /// The channel, if it is open.
    pub fn now(&self) -> Option<Arc<dyn Channel>> {
        self.filled.borrow().clone()
    }

    /// Waits for the channel; `None` when `stop` comes first or the channel will never open.
    /// Cancel-safe.
    pub async fn open(&self, stop: &Stop) -> Option<OutletChannel> {
        let mut filled = self.filled.clone();
        let channel = stop.or(filled.wait_for(Option::is_some)).await?.ok()?.clone()?;
        Some(OutletChannel { name: self.name.clone(), channel, metrics: self.metrics.clone() })
    }
}

impl SlotFiller {
    /// Hands the open channel to everybody.
    pub fn fill(&self, channel: Arc<dyn Channel>) {
        self.0.send_replace(Some(channel));
    }

    /// Takes the closed channel away, so that nobody keeps it alive.
    pub fn empty(&self) {
        self.0.send_replace(None);
    }
}
