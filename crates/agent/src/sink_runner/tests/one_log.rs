//! Channels that have a log in common, as far as a runner sees.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use splashdam_core::{BoxFuture, Channel, JointId, Level, Put, Take};

use super::*;

/// A channel of a log.
struct OneLog {
    inner: Arc<dyn Channel>,
    log: Log,
}

/// What was committed in one with a take, and what fails before that.
#[derive(Clone, Default)]
struct Log(Arc<(AtomicUsize, AtomicUsize)>);

struct OneTake(Box<dyn Take>, Log);

impl OneLog {
    fn of(inner: impl Channel, log: &Log) -> Arc<dyn Channel> {
        Arc::new(OneLog { inner: Arc::new(inner), log: log.clone() })
    }
}

impl Channel for OneLog {
    fn begin_put(&self, size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        self.inner.begin_put(size)
    }

    fn begin_take(&self, limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        Box::pin(async move {
            let take = self.inner.begin_take(limit).await?;
            Ok(Box::new(OneTake(take, self.log.clone())) as Box<dyn Take>)
        })
    }

    fn joint(&self) -> Option<JointId> {
        Some(JointId(7))
    }

    fn level(&self) -> Level {
        self.inner.level()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        self.inner.close()
    }
}

impl Take for OneTake {
    fn batch(&self) -> &Batch {
        self.0.batch()
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), ChannelError>> {
        self.0.commit()
    }

    fn commit_with(
        self: Box<Self>,
        put: Box<dyn Put>,
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), ChannelError>> {
        let OneTake(take, Log(log)) = *self;
        let (committed, failing) = &*log;
        if failing.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            let reason = "a full disk".into();
            let failed = ChannelError::Failed { channel: "c1".into(), reason };
            return Box::pin(std::future::ready(Err(failed)));
        }
        committed.fetch_add(batch.len(), SeqCst);
        take.commit_with(put, batch)
    }
}

#[tokio::test(start_paused = true)]
async fn letters_go_with_their_take_where_the_channels_are_one_log() {
    let check = async |name: &'static str, one: bool, failing: usize, got_by_sink: &[&str]| {
        let (log, dead) = (Log::default(), Collector::new());
        log.0.1.store(failing, SeqCst);
        let acts = vec![Act::Reject; 1 + failing];
        let queue = Queue::holding(events(0, 4));
        let kept = if one { OneLog::of(dead.clone(), &log) } else { Arc::new(dead.clone()) };
        let from = OneLog::of(queue.clone(), &log);
        let group = start_from(vec![(name, &acts, queue, from)], Some(kept));
        sleep(Duration::from_secs(60)).await;
        let metrics = group.drained().await;
        assert_eq!(got(name), got_by_sink, "{name}");
        assert_eq!(bodies(&dead.events()), ["0"], "{name}");
        let counts = (metrics[0].dead_letters.value(), metrics[0].drain_successes.value());
        assert_eq!(counts, (1, 3), "{name}");
        assert_eq!(log.0.0.load(SeqCst), usize::from(one), "{name}");
    };
    check("rejected, one log", true, 0, &["1", "2", "3"]).await;
    check("rejected, two logs", false, 0, &["1", "2", "3"]).await;
    // A commit that fails gives the whole batch back.
    check("rejected, failed once", true, 1, &["1", "1", "2", "3"]).await;
}
