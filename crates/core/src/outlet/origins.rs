//! What an outlet's channels know of senders: whether they store where batches come from, and how
//! far all of them have what a sender put.

use super::Outlet;
use crate::{ChannelSet, Origin, Route};

impl Outlet {
    /// The name for channels of a sender that calls itself so. What one of several logs has of a
    /// sender says nothing of the others once events may go other ways, so there it is another one
    /// whenever the source is configured otherwise.
    pub fn name_of(&self, mut sender: [u8; 16]) -> [u8; 16] {
        if !self.stores_once() {
            let digest = self.0.digest.to_le_bytes();
            sender.iter_mut().zip(digest).for_each(|(byte, other)| *byte ^= other);
        }
        sender
    }

    /// Whether all channels that may be required store where batches come from, and what one of them
    /// has of a sender says something of the others. Where it is not so, channels are not told
    /// either: batches are stored at least once.
    pub fn keeps_origins(&self) -> bool {
        let mut required = self.required().iter();
        required.all(|channel| self.0.channels[channel].channel.keeps_origins()) && self.repeats()
    }

    /// Whether a batch that is put again under its origin goes where it went before, or into the one
    /// log that knows whether it has all of it. A log of several would else take the events of
    /// another part of the batch for those that it has.
    pub(super) fn repeats(&self) -> bool {
        let varies =
            |header: &str| self.0.interceptors.iter().any(|one| one.place().varies(header));
        self.0.selector.uniform().is_some()
            || self.0.selector.repeats(&varies)
            || self.one_log(self.required())
    }

    /// Whether these channels share one log.
    fn one_log(&self, channels: ChannelSet) -> bool {
        let mut joints = channels.iter().map(|channel| self.0.channels[channel].channel.joint());
        let first = joints.next().flatten();
        first.is_some() && joints.all(|joint| joint == first)
    }

    /// Where this sender stands for all required channels: the origin of its last batch that all of
    /// them have. `None` if one of them has none or does not keep origins. Where the selector
    /// decides for each event, every channel is asked.
    pub fn last_of(&self, sender: [u8; 16]) -> Option<Origin> {
        let mut lowest: Option<Origin> = None;
        for channel in self.required().iter() {
            let last = self.0.channels[channel].channel.last_of(sender)?;
            if lowest.as_ref().is_none_or(|lowest| last.order() < lowest.order()) {
                lowest = Some(last);
            }
        }
        lowest
    }

    /// The newest epoch of this sender that any required channel knows of, be it of batches that
    /// failed; 0 if there is none. Channels of several logs may stand apart, and each takes what is
    /// not behind its own: who goes on from [`Outlet::last_of`] does so in an epoch greater than
    /// this, or the one that is further ahead takes new batches for old ones.
    pub fn newest_epoch(&self, sender: [u8; 16]) -> u64 {
        let required = self.required();
        let epochs = required.iter().map(|channel| {
            let channel = &self.0.channels[channel].channel;
            channel.newest_epoch(sender)
        });
        epochs.max().unwrap_or(0)
    }

    /// Whether a batch goes into one log, or one channel in memory, that remembers its origin,
    /// whatever is in it. What that has of a sender is then true of all required channels, and it
    /// has all of a batch or nothing.
    pub fn stores_once(&self) -> bool {
        let Some(Route { required, .. }) = self.0.selector.uniform() else { return false };
        if let (1, Some(only)) = (required.len(), required.iter().next()) {
            return self.0.channels[only].channel.remembers_origins();
        }
        self.keeps_origins() && self.one_log(required)
    }

    /// Waits until none of this sender's batches is on its way into a channel any more. Who begins
    /// anew, perhaps after a life that was cut off, waits before asking [`Outlet::last_of`].
    /// Cancel-safe.
    pub async fn settled(&self, sender: [u8; 16]) {
        for channel in self.required().iter() {
            self.0.channels[channel].channel.settled(sender).await;
        }
    }

    /// The channels that may be required: all where the selector decides for each event.
    fn required(&self) -> ChannelSet {
        let all = ChannelSet::first(self.0.channels.len());
        self.0.selector.uniform().map_or(all, |route| route.required)
    }
}
