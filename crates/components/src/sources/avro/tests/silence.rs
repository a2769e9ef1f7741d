//! Clients that say nothing.

use splashdam_core::{BoxFuture, ChannelError, Level, Put, Refused as PutRefused, Take};
use tokio::time::Instant;

use super::*;

/// A channel whose commits take three seconds.
pub(super) struct Late(pub(super) Collector);

impl Channel for Late {
    fn begin_put(&self, size: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
        Box::pin(
            async move { Ok(Box::new(LatePut(self.0.begin_put(size).await?)) as Box<dyn Put>) },
        )
    }
    fn begin_take(&self, limit: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
        self.0.begin_take(limit)
    }
    fn keeps_origins(&self) -> bool {
        true
    }
    fn level(&self) -> Level {
        Level::default()
    }
    fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
        self.0.close()
    }
}

struct LatePut(Box<dyn Put>);

impl Put for LatePut {
    fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), PutRefused>> {
        Box::pin(async move {
            sleep(Duration::from_secs(3)).await;
            self.0.commit(batch).await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_answer_may_be_silent() {
    for claimed in [None, Some(claim(0, &[10..20]))] {
        let collector = Collector::new();
        let (source, address) = source("idleTimeout = 2").await;
        let running = run_source_into(source, outlet_to(vec![Arc::new(Late(collector.clone()))]));
        let mut client = Client::connect(address).await;
        client.call(1, true, claimed.as_ref(), &numbered(&[10..20])).await;
        let called = Instant::now();
        assert_eq!(client.answer(true).await, (1, Answer::Ok));
        assert_eq!(called.elapsed().as_secs(), 3);
        assert_eq!(collector.events().len(), 10);
        client.closed().await;
        assert_eq!(called.elapsed().as_secs(), 5, "it said nothing more");
        running.stop().await.unwrap();
    }
}
