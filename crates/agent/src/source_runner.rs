//! A source's life: wait for its channels, join its outlet, open it, let it run.

use std::sync::Arc;

use splashdam_config::Section;
use splashdam_core::{
    Cause, Context, DynInterceptor, DynSource, Entry, Ledger, OpenError, Outlet, Selector, Stop,
};

use crate::channel_slot::ChannelSlot;
use crate::supervisor::Life;

/// What a source needs to be opened, and opened again.
pub struct SourceLife {
    /// Its line in the list of sources.
    pub entry: &'static Entry<dyn DynSource>,
    /// Its keys.
    pub section: Section,
    /// Its context.
    pub context: Context,
    /// Its channels, in the order in which they were written.
    pub channels: Vec<ChannelSlot>,
    /// Its selector.
    pub selector: (&'static Entry<dyn Selector>, Section),
    /// Its interceptors, in order.
    pub interceptors: Vec<(&'static Entry<dyn DynInterceptor>, Section)>,
    /// Ends the wait for channels.
    pub stop: Stop,
    /// Where its ways are counted.
    pub ledger: Ledger,
}

impl SourceLife {
    /// Tells this configuration from others: where what is read ends up, and in which batches.
    fn digest(&self) -> u64 {
        let mut digest = Digest(0xcbf2_9ce4_8422_2325);
        digest.add(&self.section);
        digest.text(self.selector.0.name);
        digest.add(&self.selector.1);
        for (entry, section) in &self.interceptors {
            digest.text(entry.name);
            digest.add(section);
        }
        self.channels.iter().for_each(|slot| digest.text(&slot.name));
        digest.0
    }
}

/// FNV-1a (Fowler, Noll, Vo), which is the same in every build.
struct Digest(u64);

impl Digest {
    fn text(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// Keys and values, in whatever order they are written.
    fn add(&mut self, section: &Section) {
        let mut entries: Vec<_> =
            section.entries().iter().map(|entry| (entry.key(), entry.value())).collect();
        entries.sort_unstable();
        self.text(section.value().unwrap_or_default());
        for (key, value) in entries {
            self.text(key);
            self.text(value);
        }
        self.text("");
    }
}

impl Life for SourceLife {
    type Opened = (Box<dyn DynSource>, Outlet);

    async fn open(&mut self) -> Result<Self::Opened, OpenError> {
        let mut channels = Vec::with_capacity(self.channels.len());
        for slot in &self.channels {
            let open = slot.open(&self.stop).await;
            let unavailable =
                || OpenError::unavailable(format!("channel {} is not open", slot.name));
            channels.push(open.ok_or_else(unavailable)?);
        }
        let mut context = self.context.clone();
        context.choices = channels.iter().map(|c| c.name.clone()).collect::<Vec<Arc<str>>>().into();
        let (entry, section) = &self.selector;
        let selector = entry.open(section.clone(), context.clone()).await?;
        let mut interceptors = Vec::with_capacity(self.interceptors.len());
        for (entry, section) in &self.interceptors {
            interceptors.push(entry.open(section.clone(), context.clone()).await?);
        }
        let source = self.entry.open(self.section.clone(), context).await?;
        let metrics = self.context.counters.source();
        let name = Arc::from(self.context.title());
        let into = channels.iter().map(|channel| &*channel.name);
        let tally = self.ledger.source(&self.context.name, into);
        let outlet = Outlet::tallied(name, interceptors, selector, channels, metrics, tally);
        Ok((source, outlet.configured(self.digest())))
    }

    async fn run(&mut self, (source, outlet): Self::Opened, stop: Stop) -> Result<(), Cause> {
        let ran = source.run(outlet.clone(), stop).await;
        outlet.close().await;
        ran.map_err(|error| error.0)
    }
}
