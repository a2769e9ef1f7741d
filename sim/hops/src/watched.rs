//! A file channel that tells whoever moves its log by hand when there may be something to do.

use std::sync::Arc;

use splashdam_components::channels::file::FileChannel;
use splashdam_core::pipeline::Lane;
use splashdam_core::{
    Batch, BoxFuture, Channel, ChannelError, JointId, Level, Lifetime, Origin, Put, Refused, Size,
    Take,
};
use tokio::sync::Notify;

pub(crate) struct Watched {
    inner: FileChannel,
    posted: Arc<Notify>,
}

struct WatchedPut {
    inner: Box<dyn Put>,
    posted: Arc<Notify>,
}

struct WatchedTake {
    inner: Box<dyn Take>,
    posted: Arc<Notify>,
}

impl Watched {
    pub(crate) fn new(inner: FileChannel, posted: Arc<Notify>) -> Self {
        Watched { inner, posted }
    }

    fn put(&self, inner: Box<dyn Put>) -> Box<dyn Put> {
        Box::new(WatchedPut { inner, posted: self.posted.clone() })
    }
}

impl Put for WatchedPut {
    fn in_lane(&mut self, lane: Lane) {
        self.inner.in_lane(lane);
    }

    fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), Refused>> {
        self.posted.notify_one();
        self.inner.commit(batch)
    }
}

impl Take for WatchedTake {
    fn batch(&self) -> &Batch {
        self.inner.batch()
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), ChannelError>> {
        self.posted.notify_one();
        self.inner.commit()
    }
}

impl Channel for Watched {
    fn begin_put(&self, size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        Box::pin(async move { Ok(self.put(self.inner.begin_put(size).await?)) })
    }

    fn begin_take(&self, limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        // It may want to read what is on disk only.
        self.posted.notify_one();
        Box::pin(async move {
            let inner = self.inner.begin_take(limit).await?;
            Ok(Box::new(WatchedTake { inner, posted: self.posted.clone() }) as Box<dyn Take>)
        })
    }

    fn joint(&self) -> Option<JointId> {
        self.inner.joint()
    }

    fn begin_joint_put(
        &self,
        names: Vec<Arc<str>>,
        size: Size,
    ) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        Box::pin(async move { Ok(self.put(self.inner.begin_joint_put(names, size).await?)) })
    }

    fn keeps_origins(&self) -> bool {
        self.inner.keeps_origins()
    }

    fn remembers_origins(&self) -> bool {
        self.inner.remembers_origins()
    }

    fn newest_epoch(&self, sender: [u8; 16]) -> u64 {
        self.inner.newest_epoch(sender)
    }

    fn last_of(&self, sender: [u8; 16]) -> Option<Origin> {
        self.inner.last_of(sender)
    }

    fn settled(&self, sender: [u8; 16]) -> BoxFuture<'_, ()> {
        self.inner.settled(sender)
    }

    fn level(&self) -> Level {
        self.inner.level()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        self.inner.close()
    }

    fn lifetime(&self) -> Option<Lifetime> {
        self.inner.lifetime()
    }

    fn volatile(&self) -> bool {
        self.inner.volatile()
    }
}
