//! An outlet is a source's way into its channels: intercept, select, reserve, commit.
//!
//! Room is held in every required channel before the first of them commits, so a batch that does
//! not fit somewhere is refused before it was taken anywhere. Should a commit fail all the same
//! after another succeeded, the batch remembers who has it, and a retry goes to the rest only.

mod origins;

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tracing::{info, warn};

use crate::batch::Routes;
use crate::ledger::SourceTally;
use crate::metrics::{ChannelMetrics, SourceMetrics};
use crate::pipeline::Turn;
use crate::{
    Batch, Channel, ChannelError, ChannelSet, DynInterceptor, Event, Interception, JointId,
    PutError, PutTxn, Refused, Route, Selector, Size, Stop, Trouble, Undone,
};

/// A source's way into its channels. Clones share everything; any number of puts may be under way.
#[derive(Clone)]
pub struct Outlet(Arc<Inner>);

struct Inner {
    source: Arc<str>,
    /// What tells this configuration of the source from others.
    digest: u64,
    interceptors: Vec<Box<dyn DynInterceptor>>,
    selector: Box<dyn Selector>,
    channels: Vec<OutletChannel>,
    metrics: Arc<SourceMetrics>,
    tally: SourceTally,
    /// Of each channel, where it is an optional one.
    optional_troubles: Box<[Mutex<Trouble>]>,
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

/// What of a batch goes to some channels: to one, or to several that are put into together.
struct Share {
    channels: ChannelSet,
    batch: Batch,
}

impl Outlet {
    /// Joins a source's parts. Routes of `selector` are indexes into `channels`, which are at
    /// most [`ChannelSet::MAX`].
    pub fn new(
        source: Arc<str>,
        interceptors: Vec<Box<dyn DynInterceptor>>,
        selector: Box<dyn Selector>,
        channels: Vec<OutletChannel>,
        metrics: Arc<SourceMetrics>,
    ) -> Self {
        let into = channels.iter().map(|_| Arc::default()).collect();
        let tally = SourceTally { into, ..SourceTally::default() };
        Outlet::tallied(source, interceptors, selector, channels, metrics, tally)
    }

    /// As [`Outlet::new`], with the counters of the ledger's lines, which are of these channels in this order.
    pub fn tallied(
        source: Arc<str>,
        interceptors: Vec<Box<dyn DynInterceptor>>,
        selector: Box<dyn Selector>,
        channels: Vec<OutletChannel>,
        metrics: Arc<SourceMetrics>,
        tally: SourceTally,
    ) -> Self {
        assert_eq!(tally.into.len(), channels.len(), "each channel has its line");
        assert!(channels.len() <= ChannelSet::MAX, "a source has at most 64 channels");
        let optional_troubles = channels.iter().map(|_| Mutex::default()).collect();
        Outlet(Arc::new(Inner {
            source,
            digest: 0,
            interceptors,
            selector,
            channels,
            metrics,
            tally,
            optional_troubles,
        }))
    }

    /// Of a source whose configuration, with that of its selector and interceptors and the names of
    /// its channels, has this digest. Said before anybody else has the outlet.
    #[must_use]
    pub fn configured(mut self, digest: u64) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.digest = digest;
        }
        self
    }

    /// The source's counters, for what only the source knows.
    pub fn metrics(&self) -> &SourceMetrics {
        &self.0.metrics
    }

    /// Puts a batch into its channels; `Ok` once every required channel has committed it.
    ///
    /// An error gives the batch back, edited by the interceptors that it is through; put again it is
    /// neither edited by these nor committed twice. Not cancel-safe: a dropped future may have committed to some channels.
    pub async fn put(&self, batch: Batch) -> Result<(), PutError> {
        self.put_in_turn(batch, &mut Turn::alone()).await
    }

    /// As [`Outlet::put`]; passes the turn on once everything is posted to the channels.
    pub(crate) async fn put_in_turn(&self, batch: Batch, turn: &mut Turn) -> Result<(), PutError> {
        let metrics = &self.0.metrics;
        let fresh = !batch.progress.intercepted;
        let events = if fresh { batch.len() } else { batch.progress.received };
        if fresh {
            metrics.events_received.add(events);
            metrics.batches_received.add(1);
        }
        let done = self.route(batch, turn).await;
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
        self.append_in_turn(event, &mut Turn::alone()).await
    }

    /// As [`Outlet::append`]; passes the turn on once the event is posted to the channels.
    pub(crate) async fn append_in_turn(
        &self,
        event: Event,
        turn: &mut Turn,
    ) -> Result<(), PutError> {
        let metrics = &self.0.metrics;
        metrics.events_received.add(1);
        metrics.appends_received.add(1);
        let done = self.route(Batch::from(vec![event]), turn).await;
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
            if trouble.happened(Instant::now(), &error.key()).is_some() {
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

    async fn route(&self, mut batch: Batch, turn: &mut Turn) -> Result<(), PutError> {
        if let Err(error) = self.intercept(&mut batch).await {
            return Err(PutError { batch, failures: vec![error] });
        }
        if batch.origin().is_some() && !self.repeats() {
            batch = batch.with_origin(None);
        }
        let (received, left, tally) = (batch.progress.received, batch.len(), &self.0.tally);
        if batch.is_empty() {
            tally.took_over(received, received, 0);
            return Ok(());
        }
        let routes = self.0.routes(&batch);
        let unrouted = routes.unrouted(batch.len());
        let done = match &routes {
            Routes::One(route) => self.put_one_way(batch, *route, turn).await,
            // Boxed, as the rarer ways are: thousands of puts may be under way, each with its future.
            Routes::Each(routes) => Box::pin(self.put_parted(batch, routes, turn)).await,
        };
        match done {
            Ok(()) => {
                self.0.metrics.events_unrouted.add(unrouted);
                tally.took_over(received, received - left, unrouted);
                Ok(())
            }
            Err(mut error) => {
                let batch = &mut error.batch;
                // A channel that failed may have what it was given, and take it for stored when it
                // comes again under its origin.
                let keeps = !batch.progress.committed.is_empty() || batch.origin().is_some();
                batch.progress.routes = keeps.then_some(routes);
                Err(error)
            }
        }
    }

    /// Lets the interceptors work that it is not through yet, in order.
    async fn intercept(&self, batch: &mut Batch) -> Result<(), ChannelError> {
        let interceptors = &self.0.interceptors;
        if !std::mem::replace(&mut batch.progress.intercepted, true) {
            batch.progress.received = batch.len();
        } else if usize::from(batch.progress.through) == interceptors.len() {
            return Ok(());
        }
        let (before, bytes) = (batch.len(), batch.size().bytes);
        for interceptor in interceptors.iter().skip(batch.progress.through.into()) {
            match interceptor.place() {
                Interception::Here(here) => here.intercept(batch),
                Interception::Elsewhere(there) => {
                    there.intercept(batch).await.map_err(|undone| match undone {
                        Undone::Unanswered(reason) => {
                            ChannelError::NotReached { reason: reason.into() }
                        }
                        Undone::Unfit(reason) => ChannelError::Unfit { reason: reason.into() },
                    })?;
                }
            }
            batch.progress.through += 1;
        }
        let received = batch.progress.received;
        assert!(batch.len() <= received, "an interceptor added events");
        self.0.metrics.events_filtered.add(received - batch.len());
        batch.let_go(before, bytes);
        Ok(())
    }

    /// Ends what works for the interceptors; called when the source has ended.
    pub async fn close(&self) {
        for interceptor in &self.0.interceptors {
            if let Interception::Elsewhere(there) = interceptor.place() {
                there.close().await;
            }
        }
    }

    /// All events go one way.
    async fn put_one_way(
        &self,
        batch: Batch,
        route: Route,
        turn: &mut Turn,
    ) -> Result<(), PutError> {
        let required = route.required.without(batch.progress.committed);
        match (required.len(), route.optional.is_empty()) {
            (0, true) => Ok(()),
            (1, true) => self.put_one(required, batch, turn).await,
            _ => match (self.together(required), route.optional.is_empty()) {
                (parts, true) if parts.len() == 1 => self.put_one(required, batch, turn).await,
                (parts, _) => Box::pin(self.put_whole(batch, parts, route.optional, turn)).await,
            },
        }
    }

    /// Parts channels into those that are put into together.
    fn together(&self, channels: ChannelSet) -> Vec<ChannelSet> {
        let mut parts: Vec<(Option<JointId>, ChannelSet)> = Vec::new();
        for channel in channels.iter() {
            let joint = self.0.channels[channel].channel.joint();
            let part = parts.iter_mut().find(|(known, _)| joint.is_some() && *known == joint);
            match part {
                Some((_, part)) => *part = part.with(channel),
                None => parts.push((joint, ChannelSet::default().with(channel))),
            }
        }
        parts.into_iter().map(|(_, part)| part).collect()
    }

    /// Holds room in one channel, or in several together.
    async fn begin(&self, channels: ChannelSet, size: Size) -> Result<PutTxn, ChannelError> {
        let mut all = channels.iter().map(|channel| &self.0.channels[channel]);
        let first = all.next().expect("a share has a channel");
        let others: Vec<_> = all.collect();
        PutTxn::begin_joint(first, &others, size).await
    }

    /// The common case: one channel takes all, so nothing is cloned.
    async fn put_one(
        &self,
        channels: ChannelSet,
        mut batch: Batch,
        turn: &mut Turn,
    ) -> Result<(), PutError> {
        let progress = std::mem::take(&mut batch.progress);
        let events = batch.len();
        let refused = match self.begin(channels, batch.size()).await {
            Ok(txn) => match posted(txn.in_lane(turn.lane()).commit(batch), || turn.pass()).await {
                Ok(()) => {
                    self.0.tally.put(channels, events);
                    return Ok(());
                }
                Err(refused) => refused,
            },
            Err(error) => Refused { batch, error },
        };
        let mut batch = refused.batch;
        batch.progress = progress;
        Err(PutError { batch, failures: vec![refused.error] })
    }

    /// Several channels take all of it.
    async fn put_whole(
        &self,
        mut batch: Batch,
        required: Vec<ChannelSet>,
        optional: ChannelSet,
        turn: &mut Turn,
    ) -> Result<(), PutError> {
        let progress = std::mem::take(&mut batch.progress);
        let share = |channels| Share { channels, batch: batch.clone() };
        let required = required.into_iter().map(share).collect();
        let optional = optional.iter().map(|one| share(ChannelSet::default().with(one))).collect();
        batch.progress = progress;
        self.put_shares(batch, required, optional, turn).await
    }

    /// Events part: each channel gets its own, in order.
    async fn put_parted(
        &self,
        batch: Batch,
        routes: &[Route],
        turn: &mut Turn,
    ) -> Result<(), PutError> {
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
                let part = part.with_origin(batch.origin().cloned());
                Share { channels: ChannelSet::default().with(channel), batch: part }
            });
            shares.collect()
        };
        let (required, optional) = (shares(required), shares(optional));
        self.put_shares(batch, required, optional, turn).await
    }

    async fn put_shares(
        &self,
        mut batch: Batch,
        mut required: Vec<Share>,
        optional: Vec<Share>,
        turn: &mut Turn,
    ) -> Result<(), PutError> {
        // One after the other and by name, so that two sources that feed the same channels never
        // hold what the other one waits for.
        required.sort_by(|a, b| self.name(a).cmp(self.name(b)));
        let mut open = Vec::with_capacity(required.len());
        for share in required {
            match self.begin(share.channels, share.batch.size()).await {
                Ok(txn) => open.push((txn, share)),
                // Dropping the open puts gives their room back.
                Err(error) => return Err(PutError { batch, failures: vec![error] }),
            }
        }
        let mut stages = self.stages(open).into_iter().peekable();
        let lane = turn.lane();
        while let Some(stage) = stages.next() {
            let commits = stage.into_iter().map(async |(txn, Share { channels, batch })| {
                let (events, txn) = (batch.len(), txn.in_lane(lane.clone()));
                let committed = txn.commit(batch).await.map_err(|refused| refused.error);
                (channels, committed.map(|()| self.0.tally.put(channels, events)))
            });
            let mut failures = Vec::new();
            // Optional channels come last, so what follows may overtake this there and there only.
            let is_last = stages.peek().is_none();
            let pass = || {
                if is_last {
                    turn.pass();
                }
            };
            for (channels, committed) in posted(join_all(commits), pass).await {
                match committed {
                    Ok(()) => batch.progress.committed = batch.progress.committed.union(channels),
                    Err(error) => failures.push(error),
                }
            }
            if !failures.is_empty() {
                return Err(PutError { batch, failures });
            }
        }
        self.offer(optional).await;
        Ok(())
    }

    /// What is committed at once, and what after it. An origin says that its batch is stored, so
    /// where a batch was parted between channels that store it together, only the last of its parts
    /// has the origin, and comes when the others are there.
    fn stages(&self, open: Vec<(PutTxn, Share)>) -> Vec<Vec<(PutTxn, Share)>> {
        let joint = |share: &Share| {
            let first = share.channels.iter().next()?;
            self.0.channels[first].channel.joint()
        };
        let (mut first, mut last) = (Vec::new(), Vec::<(PutTxn, Share)>::new());
        for (txn, mut share) in open {
            let with_origin = share.batch.origin().is_some();
            let seen = joint(&share).filter(|_| with_origin);
            match last.iter().position(|(_, other)| seen.is_some() && joint(other) == seen) {
                Some(_) => {
                    share.batch = share.batch.with_origin(None);
                    first.push((txn, share));
                }
                None => last.push((txn, share)),
            }
        }
        if first.is_empty() { vec![last] } else { vec![first, last] }
    }

    fn name(&self, share: &Share) -> &str {
        share.channels.iter().next().map_or("", |first| &self.0.channels[first].name)
    }

    /// Optional channels get theirs after the required ones; what they refuse is counted and lost
    /// to them, as in Flume.
    async fn offer(&self, shares: Vec<Share>) {
        for Share { channels, batch } in shares {
            // A required channel may have stored the origin where this one stores it too, which
            // would then take these events for the same ones.
            let batch = batch.with_origin(None);
            let events = batch.len();
            let offered = match self.begin(channels, batch.size()).await {
                Ok(txn) => txn.commit(batch).await.map_err(|refused| refused.error),
                Err(error) => Err(error),
            };
            if offered.is_ok() {
                self.0.tally.put(channels, events);
            }
            self.0.note_optional(channels, offered);
        }
    }
}

/// Runs `then` as soon as `commit` has begun, which it has once it was polled.
async fn posted<T>(commit: impl Future<Output = T>, then: impl FnOnce()) -> T {
    let mut commit = std::pin::pin!(commit);
    let first = poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx))).await;
    then();
    match first {
        Poll::Ready(done) => done,
        Poll::Pending => commit.await,
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

    fn note_optional(&self, channels: ChannelSet, offered: Result<(), ChannelError>) {
        let Some(first) = channels.iter().next() else { return };
        let trouble = &self.optional_troubles[first];
        let mut trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match offered {
            Ok(()) => {
                if let Some(lasted) = trouble.ended(Instant::now()) {
                    let channel = &*self.channels[first].name;
                    info!(component = %self.source, channel, ?lasted, "an optional channel takes batches again");
                }
            }
            Err(error) => {
                self.metrics.optional_failures.add(1);
                if trouble.happened(Instant::now(), &error.key()).is_some() {
                    warn!(component = %self.source, %error, "an optional channel refused a batch; its events are not in that channel");
                }
            }
        }
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("source", &self.0.source).finish_non_exhaustive()
    }
}
