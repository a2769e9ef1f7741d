//! The task that puts what was read and notes positions behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use splashdam_core::pipeline::Patience;
use splashdam_core::{Context, Origin, Outlet, Pipeline, SourceError, Stop};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::filler::{Loan, Parcel, Turn};
use super::positions::{Change, Mark, Positions, Saved};
use super::save;
use super::trail::{self, Trail};
use super::watch::Waker;

/// Ends the thread that reads, also when the task that started it is dropped.
pub(super) struct Leash {
    pub(super) stop: Arc<AtomicBool>,
    pub(super) waker: Waker,
}

impl Leash {
    pub(super) fn pull(&self) {
        self.stop.store(true, Relaxed);
        self.waker.wake();
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.pull();
    }
}

/// The life of the source that begins now, and its trail if the channels store origins. What they
/// know and the position file does not is taken over.
pub(super) async fn begin(
    cx: &Context,
    out: &Outlet,
    positions: &Arc<Positions>,
    saved: &mut Saved,
) -> (Mark, Option<Trail>) {
    let now = cx.world.now_millis();
    if !out.keeps_origins() {
        return (positions.begin(Mark::default(), &[], now), None);
    }
    let (mut stored, mut later) = (Mark::default(), Vec::new());
    let sender = out.name_of(positions.sender());
    out.settled(sender).await;
    if let Some(last) = out.last_of(sender) {
        stored = Mark { epoch: last.epoch, sequence: last.sequence };
        if stored > positions.mark() {
            match trail::files(&last.position) {
                Some(files) => {
                    info!(component = %cx.name, files = files.len(), "going on from positions that the channels stored with the last lines");
                    later = files;
                }
                None => {
                    warn!(component = %cx.name, "the channels hold positions of a layout that is not known here; going on from the position file, which may repeat lines");
                }
            }
        }
    }
    // Of several logs one may be further ahead than what all have.
    let newest = Mark { epoch: out.newest_epoch(sender), sequence: 0 };
    let life = positions.begin(stored.max(newest), &later, now);
    saved.go_on(later);
    let written = {
        let positions = positions.clone();
        spawn_blocking(move || positions.save_now()).await
    };
    match written.map_err(std::io::Error::other).flatten() {
        Ok(()) => (life, Some(Trail::new(sender, life))),
        Err(error) => {
            warn!(component = %cx.name, file = %positions.file().display(), %error, "the position file cannot be written; until the source is started again, lines delivered since its last write would be repeated after a crash");
            (life, None)
        }
    }
}

/// Puts batches in order, some at once, and notes positions behind each.
pub(super) struct Pump<'a> {
    stop: &'a Stop,
    positions: &'a Arc<Positions>,
    life: Mark,
    trail: Option<Trail>,
    pipeline: Pipeline<Step>,
    patience: Patience,
    /// Read, and not on its way yet.
    waiting: VecDeque<(Turn, Arc<Loan>)>,
}

/// What is true once a batch is stored.
pub(super) struct Step {
    changes: Vec<Change>,
    lines: usize,
    bytes: usize,
    mark: Mark,
    _loan: Arc<Loan>,
}

/// Nothing more can be put: because the source stops, or for this reason.
pub(super) type Over = Option<SourceError>;

impl<'a> Pump<'a> {
    pub(super) fn new(
        stop: &'a Stop,
        positions: &'a Arc<Positions>,
        (life, trail): (Mark, Option<Trail>),
        pipeline: Pipeline<Step>,
        patience: Patience,
    ) -> Self {
        Pump { stop, positions, life, trail, pipeline, patience, waiting: VecDeque::new() }
    }

    /// Works until all that is read was put.
    pub(super) async fn run(
        &mut self,
        leash: &Leash,
        mut parcels: mpsc::Receiver<Parcel>,
    ) -> Result<(), SourceError> {
        let stop = self.stop;
        let mut all_read = false;
        loop {
            match self.begin_waiting().await {
                Ok(()) => {}
                Err(over) => return over.map_or(Ok(()), Err),
            }
            if all_read && self.waiting.is_empty() && self.pipeline.is_empty() {
                return Ok(());
            }
            tokio::select! {
                settled = self.settle(), if !self.pipeline.is_empty() => {
                    if let Err(over) = settled {
                        return over.map_or(Ok(()), Err);
                    }
                }
                parcel = parcels.recv(), if self.waiting.is_empty() && !all_read => match parcel {
                    Some(Parcel { turns, loan }) => {
                        let loan = Arc::new(loan);
                        self.waiting.extend(turns.into_iter().map(|turn| (turn, loan.clone())));
                    }
                    None => all_read = true,
                },
                () = stop.wait(), if !leash.stop.load(Relaxed) => leash.pull(),
            }
        }
    }

    /// Begins to put what waits, as far as the pipeline takes it.
    async fn begin_waiting(&mut self) -> Result<(), Over> {
        while let Some((turn, loan)) = self.waiting.pop_front() {
            if self.pipeline.is_full(turn.batch.size()) {
                self.waiting.push_front((turn, loan));
                break;
            }
            let Turn { batch, changes, bytes } = turn;
            let (mark, origin) = self.step(&changes).await?;
            let step = Step { changes, lines: batch.len(), bytes, mark, _loan: loan };
            let unnamed = self.trail.is_some() && origin.is_none();
            self.pipeline.put(batch.with_origin(origin), step);
            if unnamed {
                // The next origin speaks of these lines, too, and the channel does not hold up what
                // comes behind a batch that it knows nothing of.
                self.settle_all().await?;
            }
        }
        Ok(())
    }

    /// The next batch's place in the source's life, and the origin that says so. Without one its
    /// lines may be repeated after a crash: where very many files went on within one batch.
    async fn step(&mut self, changes: &[Change]) -> Result<(Mark, Option<Origin>), Over> {
        let positions = self.positions.clone();
        let Some(trail) = &mut self.trail else { return Ok((self.life, None)) };
        let mark = trail.step(changes, |key, entry| positions.is_news(key, entry));
        if let Some(origin) = trail.origin(positions.saved()) {
            return Ok((mark, Some(origin)));
        }
        // An origin has room for some hundred files: once those before are written down it need
        // not name them.
        self.settle_all().await?;
        // Failing that is seen by who saves all the time.
        let _seen = save(self.positions).await;
        let saved = self.positions.saved();
        Ok((mark, self.trail.as_mut().and_then(|trail| trail.origin(saved))))
    }

    /// Waits until all batches under way are stored.
    async fn settle_all(&mut self) -> Result<(), Over> {
        while !self.pipeline.is_empty() {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits until the oldest batch under way is stored. Cancel-safe.
    async fn settle(&mut self) -> Result<(), Over> {
        match self.pipeline.stored(&mut self.patience, self.stop).await {
            None => {}
            Some(Ok(Step { changes, lines, bytes, mark, .. })) => {
                self.positions.apply(changes, lines, bytes, mark);
            }
            // What could not be put is read again after the stop. Nothing is on its way any more.
            Some(Err(_)) if self.stop.requested() => return Err(None),
            Some(Err(error)) => return Err(Some(SourceError::new(error))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use splashdam_core::{
        Batch, BoxFuture, Channel, ChannelError, Level, Put, Refused, Role, Size, Take,
    };
    use splashdam_testkit::{bodies, context, events, outlet};
    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::super::lines::At;
    use super::super::positions::Entry;
    use super::*;

    /// A channel whose commits wait to be let through.
    #[derive(Clone)]
    struct Slow {
        posted: Arc<std::sync::Mutex<Vec<String>>>,
        through: Arc<Semaphore>,
    }

    impl Channel for Slow {
        fn begin_put(&self, _: Size) -> BoxFuture<'_, Result<Box<dyn Put>, ChannelError>> {
            Box::pin(async { Ok(Box::new(self.clone()) as Box<dyn Put>) })
        }

        fn begin_take(&self, _: Size) -> BoxFuture<'_, Result<Box<dyn Take>, ChannelError>> {
            Box::pin(std::future::pending())
        }

        fn level(&self) -> Level {
            Level::default()
        }

        fn close(&self) -> BoxFuture<'_, Result<(), ChannelError>> {
            Box::pin(async { Ok(()) })
        }
    }

    impl Put for Slow {
        fn commit(self: Box<Self>, batch: Batch) -> BoxFuture<'static, Result<(), Refused>> {
            let named = if batch.origin().is_some() { "named" } else { "unnamed" };
            let texts = bodies(batch.events()).into_iter().map(|body| format!("{body} {named}"));
            self.posted.lock().unwrap().extend(texts);
            Box::pin(async move {
                self.through.acquire().await.unwrap().forget();
                Ok(())
            })
        }
    }

    /// A batch of one line, with which so many files go on.
    fn turn(line: usize, files: u64) -> (Turn, Arc<Loan>) {
        let path: Arc<Path> = Path::new(&format!("/logs/{}", "a".repeat(200))).into();
        let entry = |key| Entry {
            path: path.clone(),
            inode: key,
            device: None,
            birth: None,
            position: 1,
            head: None,
            tail: None,
            at: At::Start,
        };
        let changes = (0..files).map(|key| Change::Set(key, entry(key))).collect();
        (Turn { batch: events(line, 1), changes, bytes: 1 }, Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_put_behind_a_batch_that_has_no_origin_until_it_is_stored() {
        let dir = tempfile::tempdir().unwrap();
        let cx = context(Role::Source);
        let (positions, _) = Positions::open(&dir.path().join("p.json"), &cx).unwrap();
        let positions = Arc::new(positions);
        let life = positions.begin(Mark::default(), &[], 0);
        let slow = Slow { posted: Arc::default(), through: Arc::new(Semaphore::new(0)) };
        let pipeline = Pipeline::new(outlet(slow.clone()), Size { events: 99, bytes: 1 << 20 });
        let second = Duration::from_secs(1);
        let patience = Patience::new("r1".into(), second, second, second);
        let (_handle, stop) = Stop::new();
        let trail = Some(Trail::new([1; 16], life));
        let mut pump = Pump::new(&stop, &positions, (life, trail), pipeline, patience);
        // The origin of the second would speak of more files than it has room for.
        pump.waiting.extend([turn(0, 1), turn(1, 1000), turn(2, 1)]);
        slow.through.add_permits(1);
        let waits = timeout(second, pump.begin_waiting()).await;
        assert!(waits.is_err(), "the second is not stored yet");
        assert_eq!(*slow.posted.lock().unwrap(), ["0 named", "1 unnamed"]);
        slow.through.add_permits(2);
        assert!(pump.begin_waiting().await.is_ok());
        assert_eq!(slow.posted.lock().unwrap()[2..], ["2 named"]);
    }
}
