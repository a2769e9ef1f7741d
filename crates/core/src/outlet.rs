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

use crate::batch::Routes;
use crate::metrics::{ChannelMetrics, SourceMetrics};
use crate::{
    Batch, Channel, ChannelError, ChannelSet, Event, Interceptor, PutError, PutTxn, Refused, Route,
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
        let fresh = !batch.progress.intercepted;
        let events = if fresh { batch.len() } else { batch.progress.received };
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
        self.intercept(&mut batch);
        if batch.is_empty() {
            return Ok(());
        }
        let routes = self.0.routes(&batch);
        let unrouted = routes.unrouted(batch.len());
        let done = match &routes {
            Routes::One(route) => self.put_one_way(batch, *route).await,
            Routes::Each(routes) => self.put_parted(batch, routes).await,
        };
        match done {
            Ok(()) => {
                self.0.metrics.events_unrouted.add(unrouted);
                Ok(())
            }
            Err(mut error) => {
                let progress = &mut error.batch.progress;
                progress.routes = (!progress.committed.is_empty()).then_some(routes);
                Err(error)
            }
        }
    }

    fn intercept(&self, batch: &mut Batch) {
        if std::mem::replace(&mut batch.progress.intercepted, true) {
            return;
        }
        let (before, bytes) = (batch.len(), batch.size().bytes);
        batch.progress.received = before;
        for interceptor in &self.0.interceptors {
            interceptor.intercept(batch);
        }
        assert!(batch.len() <= before, "an interceptor added events");
        self.0.metrics.events_filtered.add(before - batch.len());
        batch.let_go(before, bytes);
    }

    /// All events go one way.
    async fn put_one_way(&self, batch: Batch, route: Route) -> Result<(), PutError> {
        let mut required = route.required.without(batch.progress.committed).iter();
        match (required.next(), required.next(), route.optional.is_empty()) {
            (None, _, true) => Ok(()),
            (Some(only), None, true) => self.put_one(only, batch).await,
            _ => self.put_whole(batch, route).await,
        }
    }

    /// The common case: one channel takes all, so nothing is cloned.
    async fn put_one(&self, channel: usize, mut batch: Batch) -> Result<(), PutError> {
        let to = &self.0.channels[channel];
        let progress = std::mem::take(&mut batch.progress);
        let refused = match PutTxn::begin(&*to.channel, &to.metrics, batch.size()).await {
            Ok(txn) => match txn.commit(batch).await {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            },
            Err(error) => Refused { batch, error },
        };
        let mut batch = refused.batch;
        batch.progress = progress;
        Err(PutError { batch, failures: vec![refused.error] })
    }

    /// Several channels take all of it.
    async fn put_whole(&self, mut batch: Batch, route: Route) -> Result<(), PutError> {
        let progress = std::mem::take(&mut batch.progress);
        let share = |channel| Share { channel, batch: batch.clone() };
        let required = route.required.without(progress.committed).iter().map(share).collect();
        let optional = route.optional.iter().map(share).collect();
        batch.progress = progress;
        self.put_shares(batch, required, optional).await
    }

    /// Events part: each channel gets its own, in order.
    async fn put_parted(&self, batch: Batch, routes: &[Route]) -> Result<(), PutError> {
        let mut required: Vec<Batch> = vec![Batch::default(); self.0.channels.len()];
        let mut optional = required.clone();
        for (event, route) in batch.events().iter().zip(routes) {
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
            let shares = shares.map(|(channel, mut part)| {
                part.let_go(batch.len(), batch.size().bytes);
                Share { channel, batch: part }
            });
            shares.collect()
        };
        let (required, optional) = (shares(required), shares(optional));
        self.put_shares(batch, required, optional).await
    }

    async fn put_shares(
        &self,
        mut batch: Batch,
        mut required: Vec<Share>,
        optional: Vec<Share>,
    ) -> Result<(), PutError> {
        // One after the other and by name, so that two sources that feed the same channels never
        // hold what the other one waits for.
        required.sort_by(|a, b| self.name(a).cmp(self.name(b)));
        let (mut open, mut failures) = (Vec::with_capacity(required.len()), Vec::new());
        for share in required {
            let to = &self.0.channels[share.channel];
            match PutTxn::begin(&*to.channel, &to.metrics, share.batch.size()).await {
                Ok(txn) => open.push((txn, share)),
                // Dropping the open puts gives their room back.
                Err(error) => return Err(PutError { batch, failures: vec![error] }),
            }
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

    fn name(&self, share: &Share) -> &str {
        &self.0.channels[share.channel].name
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
            self.0.note_optional(offered);
        }
    }
}

impl Inner {
    /// Asks the selector once for each event, and not at all for what it routed before.
    fn routes(&self, batch: &Batch) -> Routes {
        if let Some(routes) = &batch.progress.routes {
            return routes.clone();
        }
        if let Some(route) = self.selector.uniform() {
            return Routes::One(route);
        }
        let mut events = batch.events().iter().map(|event| self.selector.route(event));
        let first = events.next().unwrap_or_default();
        for (alike, route) in (1..).zip(events.by_ref()) {
            if route != first {
                let routes = std::iter::repeat_n(first, alike).chain([route]).chain(events);
                return Routes::Each(routes.collect());
            }
        }
        Routes::One(first)
    }

    fn note_optional(&self, offered: Result<(), ChannelError>) {
        let mut trouble = self.optional_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match offered {
            Ok(()) => {
                if let Some(lasted) = trouble.ended(Instant::now()) {
                    info!(component = %self.source, ?lasted, "the optional channels take batches again");
                }
            }
            Err(error) => {
                self.metrics.optional_failures.add(1);
                if trouble.happened(Instant::now(), &error.to_string()).is_some() {
                    warn!(component = %self.source, %error, "an optional channel refused a batch; its events are not in that channel");
                }
            }
        }
    }
}

impl Routes {
    /// How many of `events` events go nowhere.
    fn unrouted(&self, events: usize) -> usize {
        let nowhere = |route: &Route| route.required.union(route.optional).is_empty();
        match self {
            Routes::One(route) if nowhere(route) => events,
            Routes::One(_) => 0,
            Routes::Each(routes) => routes.iter().filter(|route| nowhere(route)).count(),
        }
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("source", &self.0.source).finish_non_exhaustive()
    }
}
