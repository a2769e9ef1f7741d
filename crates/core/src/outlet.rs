//! An outlet is a source's way into its channels: intercept, select, reserve, commit.
//!
//! Room is held in every required channel before the first of them commits, so a batch that does
//! not fit somewhere is refused before it was taken anywhere. Should a commit fail all the same
//! after another succeeded, the batch remembers who has it, and a retry goes to the rest only.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tracing::{info, warn};

use crate::metrics::{ChannelMetrics, SourceMetrics};
use crate::{
    Batch, Channel, ChannelError, ChannelSet, Event, Interceptor, PutError, PutTxn, Route,
    Selector, Stop, Trouble,
};

/// A source's way into its channels. Clones share everything; any number of puts may be under way.
#[derive(Clone)]
pub struct Outlet(Arc<Inner>);

struct Inner {
    source: Arc<str>,
    interceptors: Vec<Box<dyn Interceptor>>,
    selector: Box<dyn Selector>,
    channels: Vec<OutletChannel>,
    metrics: Arc<SourceMetrics>,
    optional_trouble: Mutex<Trouble>,
}

/// A channel as an outlet sees it.
#[derive(Clone)]
pub struct OutletChannel {
    /// The channel's name.
    pub name: Arc<str>,
    /// The channel.
    pub channel: Arc<dyn Channel>,
    /// Its counters.
    pub metrics: Arc<ChannelMetrics>,
}

/// A channel's part of a batch.
struct Share {
    channel: usize,
    batch: Batch,
}

impl Outlet {
    /// Joins a source's parts. Routes of `selector` are indexes into `channels`, which are at
    /// most [`ChannelSet::MAX`].
    pub fn new(
        source: Arc<str>,
        interceptors: Vec<Box<dyn Interceptor>>,
        selector: Box<dyn Selector>,
        channels: Vec<OutletChannel>,
        metrics: Arc<SourceMetrics>,
    ) -> Self {
        assert!(channels.len() <= ChannelSet::MAX, "a source has at most 64 channels");
        Outlet(Arc::new(Inner {
            source,
            interceptors,
            selector,
            channels,
            metrics,
            optional_trouble: Mutex::new(Trouble::new()),
        }))
    }

    /// The source's counters, for what only the source knows.
    pub fn metrics(&self) -> &SourceMetrics {
        &self.0.metrics
    }

    /// Puts a batch into its channels; `Ok` once every required channel has committed it.
    ///
    /// An error gives the batch back, edited by the interceptors; put again it is neither edited
    /// nor committed twice. Not cancel-safe: a dropped future may have committed to some channels.
    pub async fn put(&self, batch: Batch) -> Result<(), PutError> {
        let metrics = &self.0.metrics;
        let (events, fresh) = (batch.len(), !batch.progress.intercepted);
        if fresh {
            metrics.events_received.add(events);
            metrics.batches_received.add(1);
        }
        let done = self.route(batch).await;
        match &done {
            Ok(()) => {
                metrics.events_accepted.add(events);
                metrics.batches_accepted.add(1);
            }
            Err(_) => metrics.channel_write_failures.add(1),
        }
        done
    }

    /// Puts a single event, counted as Flume counts an `append` call; see [`Outlet::put`].
    pub async fn append(&self, event: Event) -> Result<(), PutError> {
        let metrics = &self.0.metrics;
        metrics.events_received.add(1);
        metrics.appends_received.add(1);
        let done = self.route(Batch::from(vec![event])).await;
        match &done {
            Ok(()) => {
                metrics.events_accepted.add(1);
                metrics.appends_accepted.add(1);
            }
            Err(_) => metrics.channel_write_failures.add(1),
        }
        done
    }

    /// Puts a batch again and again, waiting from `first` and doubling up to `most` in between,
    /// until it is taken, a stop is asked for, or no waiting can help. The trouble is logged once
    /// when it starts and once when it ends.
    pub async fn put_patiently(
        &self,
        mut batch: Batch,
        stop: &Stop,
        first: Duration,
        most: Duration,
    ) -> Result<(), PutError> {
        let mut trouble = Trouble::new();
        let mut wait = first.min(most);
        loop {
            let error = match self.put(batch).await {
                Ok(()) => break,
                Err(error) => error,
            };
            if !error.retryable() || stop.requested() {
                return Err(error);
            }
            if trouble.happened(Instant::now(), &error.to_string()).is_some() {
                warn!(component = %self.0.source, %error, "channels refuse a batch; it is kept and tried again");
            }
            if stop.or(tokio::time::sleep(wait)).await.is_none() {
                return Err(error);
            }
            wait = (wait * 2).min(most);
            batch = error.batch;
        }
        if let Some(lasted) = trouble.ended(Instant::now()) {
            info!(component = %self.0.source, ?lasted, "channels take batches again");
        }
        Ok(())
    }

    async fn route(&self, mut batch: Batch) -> Result<(), PutError> {
        // A source whose input and channels are always ready still lets others have the thread.
        tokio::task::consume_budget().await;
        self.intercept(&mut batch);
        if batch.is_empty() {
            return Ok(());
        }
        let open = |route: Route| route.required.without(batch.progress.committed);
        match self.0.common_route(batch.events()) {
            Some(route) => {
                let mut required = open(route).iter();
                match (required.next(), required.next(), route.optional.is_empty()) {
                    (Some(only), None, true) => self.put_one(only, batch).await,
                    _ => self.put_whole(batch, route).await,
                }
            }
            None => self.put_parted(batch).await,
        }
    }

    fn intercept(&self, batch: &mut Batch) {
        if std::mem::replace(&mut batch.progress.intercepted, true) {
            return;
        }
        let before = batch.len();
        for interceptor in &self.0.interceptors {
            interceptor.intercept(batch);
        }
        assert!(batch.len() <= before, "an interceptor added events");
        self.0.metrics.events_filtered.add(before - batch.len());
    }

    /// The common case: one channel takes all, so nothing is cloned.
    async fn put_one(&self, channel: usize, batch: Batch) -> Result<(), PutError> {
        let to = &self.0.channels[channel];
        let progress = batch.progress;
        match PutTxn::begin(&*to.channel, &to.metrics, batch.size()).await {
            Ok(txn) => txn.commit(batch).await.map_err(|refused| {
                let mut batch = refused.batch;
                batch.progress = progress;
                PutError { batch, failures: vec![refused.error] }
            }),
            Err(error) => Err(PutError { batch, failures: vec![error] }),
        }
    }

    /// Several channels take all of it.
    async fn put_whole(&self, batch: Batch, route: Route) -> Result<(), PutError> {
        if route.required.union(route.optional).is_empty() {
            self.0.metrics.events_unrouted.add(batch.len());
            return Ok(());
        }
        let share = |channel| Share { channel, batch: batch.clone() };
        let required = route.required.without(batch.progress.committed).iter().map(share).collect();
        let optional = route.optional.iter().map(share).collect();
        self.put_shares(batch, required, optional).await
    }

    /// Events part: each channel gets its own, in order.
    async fn put_parted(&self, batch: Batch) -> Result<(), PutError> {
        let mut required: Vec<Batch> = vec![Batch::default(); self.0.channels.len()];
        let mut optional = required.clone();
        for event in batch.events() {
            let route = self.0.selector.route(event);
            if route.required.union(route.optional).is_empty() {
                self.0.metrics.events_unrouted.add(1);
            }
            for channel in route.required.without(batch.progress.committed).iter() {
                required[channel].push(event.clone());
            }
            for channel in route.optional.iter() {
                optional[channel].push(event.clone());
            }
        }
        let shares = |parts: Vec<Batch>| {
            let shares = parts.into_iter().enumerate();
            let shares = shares.filter(|(_, batch)| !batch.is_empty());
            shares.map(|(channel, batch)| Share { channel, batch }).collect()
        };
        self.put_shares(batch, shares(required), shares(optional)).await
    }

    async fn put_shares(
        &self,
        mut batch: Batch,
        required: Vec<Share>,
        optional: Vec<Share>,
    ) -> Result<(), PutError> {
        let begun = join_all(required.iter().map(|share| {
            let to = &self.0.channels[share.channel];
            PutTxn::begin(&*to.channel, &to.metrics, share.batch.size())
        }));
        let (mut open, mut failures) = (Vec::new(), Vec::new());
        for (begun, share) in begun.await.into_iter().zip(required) {
            match begun {
                Ok(txn) => open.push((txn, share)),
                Err(error) => failures.push(error),
            }
        }
        if !failures.is_empty() {
            // Dropping the open puts gives their room back.
            return Err(PutError { batch, failures });
        }
        let commits = open.into_iter().map(async |(txn, Share { channel, batch })| {
            (channel, txn.commit(batch).await.map_err(|refused| refused.error))
        });
        for (channel, committed) in join_all(commits).await {
            match committed {
                Ok(()) => batch.progress.committed = batch.progress.committed.with(channel),
                Err(error) => failures.push(error),
            }
        }
        if !failures.is_empty() {
            return Err(PutError { batch, failures });
        }
        self.offer(optional).await;
        Ok(())
    }

    /// Optional channels get theirs after the required ones; what they refuse is counted and lost
    /// to them, as in Flume.
    async fn offer(&self, shares: Vec<Share>) {
        for Share { channel, batch } in shares {
            let to = &self.0.channels[channel];
            let offered = match PutTxn::begin(&*to.channel, &to.metrics, batch.size()).await {
                Ok(txn) => txn.commit(batch).await.map_err(|refused| refused.error),
                Err(error) => Err(error),
            };
            if let Err(error) = offered {
                self.0.note_optional_failure(&error);
            }
        }
    }
}

impl Inner {
    /// The route of all of `events`, when it is one.
    fn common_route(&self, events: &[Event]) -> Option<Route> {
        if let Some(route) = self.selector.uniform() {
            return Some(route);
        }
        let mut routes = events.iter().map(|event| self.selector.route(event));
        let first = routes.next()?;
        routes.all(|route| route == first).then_some(first)
    }

    fn note_optional_failure(&self, error: &ChannelError) {
        self.metrics.optional_failures.add(1);
        let mut trouble = self.optional_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.happened(Instant::now(), &error.to_string()).is_some() {
            warn!(component = %self.source, %error, "an optional channel refused a batch; its events are not in that channel");
        }
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("source", &self.0.source).finish_non_exhaustive()
    }
}
