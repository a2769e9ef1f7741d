use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use splashdam_core::metrics::{ChannelMetrics, Counters};
use splashdam_core::{Component, Rejected, Role, Sink, StopHandle};
use splashdam_testkit::{Collector, Lines, Queue, bodies, context, events};
use tokio::task::JoinHandle;

use super::*;
use crate::status::{Board, Status};

mod one_log;

/// What the scripted sinks of the running test do, and what they got, by the sink's name.
static SCRIPTS: Mutex<Vec<Script>> = Mutex::new(Vec::new());

#[derive(Clone, Copy, Debug)]
enum Act {
    Take,
    Fail(Then),
    Panic,
    RefuseOpen,
    Pause,
    /// Fails over after three seconds.
    FailLate,
    /// Takes all but the first event.
    Reject,
}

struct Script {
    name: &'static str,
    acts: VecDeque<Act>,
    got: Vec<String>,
    closed: u32,
}

struct Scripted {
    name: &'static str,
    most: usize,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    script: String,
    /// Batches in one delivery.
    batches: usize,
}

fn with<T>(name: &str, f: impl FnOnce(&mut Script) -> T) -> T {
    let mut scripts = SCRIPTS.lock().unwrap_or_else(PoisonError::into_inner);
    f(scripts.iter_mut().find(|s| s.name == name).expect("a script"))
}

impl Component for Scripted {
    const TYPE: &'static str = "scripted";
    type Config = Config;
    async fn open(config: Config, _: Context) -> Result<Self, OpenError> {
        let name = with(&config.script, |script| {
            if matches!(script.acts.front(), Some(Act::RefuseOpen)) {
                script.acts.pop_front();
                return None;
            }
            Some(script.name)
        });
        let most = 2 * config.batches.max(1);
        name.map(|name| Scripted { name, most })
            .ok_or_else(|| OpenError::unavailable("refused to open"))
    }
}

impl Sink for Scripted {
    fn limit(&self) -> Size {
        Size::events(self.most)
    }
    fn batch_events(&self) -> usize {
        2
    }
    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        let act = with(self.name, |script| script.acts.pop_front().unwrap_or(Act::Take));
        match act {
            Act::Fail(then) => return Err(DeliverError { then, source: "refused".into() }),
            Act::Panic => panic!("on demand"),
            Act::FailLate => {
                sleep(Duration::from_secs(3)).await;
                return Err(DeliverError::fail_over("refused late"));
            }
            Act::Reject => {
                with(self.name, |script| script.got.extend(bodies(&batch.events()[1..])));
                let why = format!("no {}", "x".repeat(2000));
                return Ok(Delivered::all_but(batch, vec![Rejected { at: 0, why }]));
            }
            Act::Take | Act::RefuseOpen | Act::Pause => {}
        }
        with(self.name, |script| script.got.extend(bodies(batch.events())));
        Ok(Delivered { pause: matches!(act, Act::Pause), ..Delivered::all(batch) })
    }
    async fn close(self) -> Result<(), DeliverError> {
        with(self.name, |script| script.closed += 1);
        Ok(())
    }
}

static ENTRY: Entry<dyn DynSink> = Entry::sink::<Scripted>();

/// Tries members in order.
struct InOrder(usize);

impl SinkProcessor for InOrder {
    fn pick(&mut self, _: std::time::Instant, tried: &[SinkId]) -> Option<SinkId> {
        (0..self.0).map(SinkId).find(|id| !tried.contains(id))
    }
    fn settle(&mut self, _: std::time::Instant, _: SinkId, _: Went) {}
}

/// Notes how its only sink fared.
struct Heard(Arc<Mutex<Vec<Went>>>);

impl SinkProcessor for Heard {
    fn pick(&mut self, _: std::time::Instant, tried: &[SinkId]) -> Option<SinkId> {
        tried.is_empty().then_some(SinkId(0))
    }
    fn settle(&mut self, _: std::time::Instant, _: SinkId, went: Went) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(went);
    }
}

struct Group {
    queue: Queue,
    drain: StopHandle,
    halt: StopHandle,
    task: JoinHandle<()>,
    metrics: Vec<Arc<SinkMetrics>>,
    board: Board,
}

fn start(scripts: &[(&'static str, &[Act])], queue: Queue) -> Group {
    let on_one = scripts.iter().map(|(name, acts)| (*name, *acts, queue.clone()));
    start_on(on_one.collect())
}

fn start_on(scripts: Vec<(&'static str, &[Act], Queue)>) -> Group {
    start_with(scripts, None)
}

fn start_with(
    scripts: Vec<(&'static str, &[Act], Queue)>,
    dead: Option<Arc<dyn splashdam_core::Channel>>,
) -> Group {
    let itself = |queue: &Queue| Arc::new(queue.clone()) as Arc<dyn splashdam_core::Channel>;
    let scripts = scripts.into_iter().map(|(name, acts, queue)| {
        let from = itself(&queue);
        (name, acts, queue, from)
    });
    start_from(scripts.collect(), dead)
}

/// Tries members in order, but for 2 s after a failure, and decides that when a round begins.
struct Ordered {
    until: Vec<std::time::Instant>,
    order: Vec<SinkId>,
}

impl SinkProcessor for Ordered {
    fn begin(&mut self, now: std::time::Instant) {
        let ready = (0..self.until.len()).filter(|id| self.until[*id] <= now);
        self.order = ready.map(SinkId).collect();
    }
    fn pick(&mut self, _: std::time::Instant, tried: &[SinkId]) -> Option<SinkId> {
        self.order.iter().find(|id| !tried.contains(id)).copied()
    }
    fn settle(&mut self, now: std::time::Instant, id: SinkId, went: Went) {
        if went == Went::Failed {
            self.until[id.0] = now + Duration::from_secs(2);
        }
    }
}

/// Queues, and the channels that they are drained through.
fn start_from(
    scripts: Vec<(&'static str, &[Act], Queue, Arc<dyn splashdam_core::Channel>)>,
    dead: Option<Arc<dyn splashdam_core::Channel>>,
) -> Group {
    let processor = Box::new(InOrder(scripts.len()));
    start_by(processor, scripts, dead)
}

fn start_by(
    processor: Box<dyn SinkProcessor>,
    scripts: Vec<(&'static str, &[Act], Queue, Arc<dyn splashdam_core::Channel>)>,
    dead: Option<Arc<dyn splashdam_core::Channel>>,
) -> Group {
    let queue = scripts[0].2.clone();
    let board = Board::default();
    let (mut metrics, mut fillers) = (Vec::new(), Vec::new());
    let dead = dead.map(|channel| {
        let (filler, slot) = ChannelSlot::new("dead".into(), Arc::new(ChannelMetrics::default()));
        filler.fill(channel);
        fillers.push(filler);
        slot
    });
    let members = scripts.into_iter().map(|(name, acts, queue, from)| {
        // Members of one group that drain one channel know it by one name.
        let channel = format!("{:p}", queue.place());
        let (filler, slot) = ChannelSlot::new(channel.into(), Arc::new(ChannelMetrics::default()));
        if !name.ends_with("never opens") {
            filler.fill(from);
        }
        fillers.push(filler);
        let script =
            Script { name, acts: acts.iter().copied().collect(), got: Vec::new(), closed: 0 };
        SCRIPTS.lock().unwrap_or_else(PoisonError::into_inner).push(script);
        let mut context = context(Role::Sink);
        context.counters = Counters::new(Role::Sink);
        metrics.push(context.counters.sink());
        Member {
            entry: &ENTRY,
            section: Section::parse(&format!(
                "script = {name}\nbatches = {}",
                if name.ends_with("four times") { 4 } else { 1 }
            )),
            context,
            channel: slot,
            dead_letters: dead.clone(),
            goes_round: name.ends_with("in a circle"),
            sign: board.sign(Role::Sink, name.into()),
            tally: SinkTally::default(),
        }
    });
    let members: Vec<_> = members.collect();
    let ((drain, drained), (halt, halted)) = (Stop::new(), Stop::new());
    let runner = SinkRunner::new(processor, members, Random::new(1));
    // The fillers live as long as the group: a slot without one never opens.
    let task = tokio::spawn(async move {
        runner.run(Signals { drain: drained, halt: halted }).await;
        drop(fillers);
    });
    Group { queue, drain, halt, task, metrics, board }
}

impl Group {
    async fn drained(self) -> Vec<Arc<SinkMetrics>> {
        self.drain.stop();
        self.task.await.expect("no panic");
        assert_eq!(self.queue.level_events(), 0);
        self.metrics
    }
}

trait LevelEvents {
    fn level_events(&self) -> usize;
}

impl LevelEvents for Queue {
    fn level_events(&self) -> usize {
        splashdam_core::Channel::level(self).queued.events
    }
}

fn got(name: &str) -> Vec<String> {
    with(name, |script| script.got.clone())
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_failed_stays_and_is_delivered_in_order() {
    use Act::*;
    let cases: &[(&'static str, &[Act])] = &[
        ("back off", &[Take, Fail(Then::BackOff), Take]),
        ("fail over", &[Take, Fail(Then::FailOver), Fail(Then::FailOver)]),
        ("retry now", &[Fail(Then::RetryNow), Fail(Then::RetryNow), Fail(Then::RetryNow), Take]),
        ("panic", &[Take, Panic, Panic, Take]),
        ("refused open", &[RefuseOpen, RefuseOpen, Take]),
        ("pause", &[Pause, Take]),
    ];
    for case in cases {
        let group = start(&[*case], Queue::holding(events(0, 7)));
        tokio::time::sleep(Duration::from_secs(30)).await;
        let metrics = group.drained().await;
        assert_eq!(got(case.0), numbers(0..7), "{}", case.0);
        assert_eq!(metrics[0].drain_successes.value(), 7, "{}", case.0);
        assert_eq!(with(case.0, |s| s.closed), 1, "{}", case.0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_holds_up_nothing() {
    for (name, spoilt) in [("spoilt, one", 1), ("spoilt, a batch", 2), ("spoilt, more", 5)] {
        let queue = Queue::holding(events(0, 7));
        queue.spoil(spoilt);
        let group = start(&[(name, &[Act::Fail(Then::BackOff)])], queue);
        tokio::time::sleep(Duration::from_secs(30)).await;
        group.drained().await;
        assert_eq!(got(name), numbers(spoilt..7), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn waits_after_failures_grow_to_five_seconds() {
    for (name, then) in [("waits, backed off", Then::BackOff), ("waits, failed", Then::FailOver)] {
        let failing = [Act::Fail(then); 1000];
        let group = start(&[(name, &failing)], Queue::holding(events(0, 5)));
        tokio::time::sleep(Duration::from_secs(100)).await;
        // 1 + 2 + 3 + 4 s, then 5 s each, shortened by chance by up to a quarter.
        let tries = 1000 - with(name, |script| script.acts.len());
        assert!((22..=31).contains(&tries), "{name}: {tries}");
        group.halt.stop();
        group.task.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_sink_gets_the_batch_without_a_second_take() {
    let acts = [Act::Fail(Then::FailOver), Act::Panic];
    let group = start(&[("first", &acts), ("second", &[])], Queue::holding(events(0, 6)));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let queue = group.queue.clone();
    group.drained().await;
    assert_eq!(got("second"), numbers(0..4));
    assert_eq!(got("first"), numbers(4..6));
    assert_eq!(queue.leases(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_does_not_open_leaves_its_work_to_the_others() {
    let closed = [Act::RefuseOpen; 50];
    let group = start(&[("shut", &closed), ("open", &[])], Queue::holding(events(0, 9)));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let all = group.board.all();
    let well = |status: &Status| status.covered || status.phase == Phase::Running;
    assert!(all.iter().all(|(_, status)| well(status)), "a spare does the work: {all:?}");
    assert_eq!(all.iter().filter(|(_, status)| status.covered).count(), 1, "{all:?}");
    group.drained().await;
    assert_eq!(got("open"), numbers(0..9));
}

#[tokio::test(start_paused = true)]
async fn draining_delivers_all_and_halting_keeps_the_rest() {
    let group = start(&[("drained", &[])], Queue::holding(events(0, 1001)));
    group.drained().await;
    assert_eq!(got("drained"), numbers(0..1001));

    let failing = [Act::Fail(Then::BackOff); 1000];
    let group = start(&[("halted", &failing)], Queue::holding(events(0, 5)));
    tokio::time::sleep(Duration::from_secs(3)).await;
    group.halt.stop();
    group.task.await.expect("no panic");
    assert_eq!(group.queue.level_events(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_drains_in_vain_still_drains() {
    let failing = [Act::Fail(Then::BackOff), Act::Take, Act::Fail(Then::BackOff), Act::Panic];
    let group = start(&[("drains in vain", &failing)], Queue::holding(events(0, 20)));
    group.drain.stop();
    let mut seen = Vec::new();
    while !group.task.is_finished() {
        let Some((_, status)) = group.board.all().pop() else { break };
        if seen.last() != Some(&(status.phase, status.trouble.is_some())) {
            seen.push((status.phase, status.trouble.is_some()));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    group.task.await.expect("no panic");
    seen.retain(|(phase, _)| !matches!(phase, Phase::Opening | Phase::Closed));
    let (vain, well) = ((Phase::Draining, true), (Phase::Draining, false));
    assert!(seen.contains(&vain), "{seen:?}");
    assert!(seen.iter().all(|one| [vain, well].contains(one)), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_channel_that_is_not_open_ends_at_once() {
    let group = start(&[("one whose channel never opens", &[])], Queue::default());
    sleep(Duration::from_secs(5)).await;
    let asked = Instant::now();
    group.drained().await;
    assert!(asked.elapsed() <= STALLED, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn batches_are_counted_by_their_size() {
    for (name, count, want) in [
        ("counted", 3, (1, 1, 3)),
        // One that takes four batches at once.
        ("counted, four times", 23, (11, 1, 23)),
    ] {
        let group = start(&[(name, &[])], Queue::holding(events(0, count)));
        tokio::time::sleep(Duration::from_secs(5)).await;
        let metrics = group.drained().await;
        let count = &metrics[0];
        let counts = (
            count.batches_complete.value(),
            count.batches_underflow.value(),
            count.drain_attempts.value(),
        );
        assert_eq!(counts, want, "{name}");
        assert!(count.batches_empty.value() >= 3, "an idle sink ticks each second");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_closes_while_another_may_give_events_back() {
    let queue = Queue::holding(events(0, 2));
    let late = start(&[("late", &[Act::FailLate; 100])], queue.clone());
    sleep(Duration::from_secs(1)).await;
    let well = start(&[("well", &[])], queue);
    well.drain.stop();
    well.task.await.expect("no panic");
    assert_eq!(got("well"), numbers(0..2));
    late.drained().await;
}

#[tokio::test(start_paused = true)]
async fn at_the_end_the_turn_goes_to_whose_channel_holds_something() {
    let (empty, full) = (Queue::default(), Queue::holding(events(0, 9)));
    let group = start_on(vec![("idle", &[], empty), ("busy", &[Act::Fail(Then::BackOff)], full)]);
    group.drain.stop();
    group.task.await.expect("no panic");
    assert_eq!(got("busy"), numbers(0..9));
}

/// Who is passed over in one round may be tried in a later one, though the turn is not everybody's.
#[tokio::test(start_paused = true)]
async fn at_the_end_each_round_is_begun() {
    let (empty, full) = (Queue::default(), Queue::holding(events(0, 9)));
    let acts = [Act::Fail(Then::FailOver); 2];
    let on = |queue: &Queue| Arc::new(queue.clone()) as Arc<dyn splashdam_core::Channel>;
    let scripts = vec![
        ("empty, in rounds", &[][..], empty.clone(), on(&empty)),
        ("penalized, in rounds", &acts[..], full.clone(), on(&full)),
    ];
    let until = vec![now(); 2];
    let group = start_by(Box::new(Ordered { until, order: Vec::new() }), scripts, None);
    group.drain.stop();
    timeout(Duration::from_secs(60), group.task).await.expect("it is drained").expect("no panic");
    assert_eq!(got("penalized, in rounds"), numbers(0..9));
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_to_deliver_is_neither_well_nor_ill() {
    let (heard, queue) = (Arc::<Mutex<Vec<Went>>>::default(), Queue::default());
    let from: Arc<dyn splashdam_core::Channel> = Arc::new(queue.clone());
    let scripts =
        vec![("idle, heard of", &[Act::Take, Act::Fail(Then::FailOver)][..], queue, from)];
    let group = start_by(Box::new(Heard(heard.clone())), scripts, None);
    for first in [0, 1] {
        sleep(Duration::from_millis(2500)).await;
        group.queue.add(events(first, 1));
    }
    sleep(Duration::from_millis(500)).await;
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
    heard.dedup();
    assert_eq!(heard, [Went::Idle, Went::Delivered, Went::Idle, Went::Failed]);
    group.halt.stop();
    group.task.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn rejected_events_go_to_the_channel_of_dead_letters_or_away() {
    let acts = [Act::Reject, Act::Take, Act::Reject];
    let check = async |name: &'static str, dead: Option<Collector>, posted: usize| {
        let kept = dead.clone().map(|dead| Arc::new(dead) as Arc<dyn splashdam_core::Channel>);
        let group = start_with(vec![(name, &acts, Queue::holding(events(0, 6)))], kept);
        sleep(Duration::from_secs(60)).await;
        let metrics = group.drained().await;
        assert_eq!(got(name), ["1", "2", "3", "5"], "{name}");
        let counts = (
            metrics[0].rejected.value(),
            metrics[0].dead_letters.value(),
            metrics[0].drain_successes.value(),
        );
        assert_eq!(counts, (2, posted as u64, 4), "{name}");
        let letters: Vec<_> = dead.iter().flat_map(Collector::events).collect();
        assert_eq!(bodies(&letters), ["0", "4"][..posted], "{name}");
        for letter in letters {
            let header = |name: &str| letter.headers.get(name).expect(name).as_str().to_owned();
            assert_eq!(header("deadLetter.reason").len(), 1000);
            assert_eq!(header("deadLetter.sink"), "x1");
            assert_eq!(header("deadLetter.agent"), "a1");
            assert_eq!(header("deadLetter.time"), "1700000000000");
        }
    };
    check("rejected, dropped", None, 0).await;
    check("rejected, kept", Some(Collector::new()), 2).await;
    // Neither a full channel nor one that fails at the commit makes the rest go twice.
    let late = Collector::new();
    late.refuse(1);
    late.fail_commits(1);
    check("rejected, kept late", Some(late), 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_dead_letters_is_kept_at_a_halt() {
    let dead = Collector::new();
    dead.refuse(1000);
    let queue = Queue::holding(events(0, 2));
    let group =
        start_with(vec![("rejected, halted", &[Act::Reject], queue)], Some(Arc::new(dead.clone())));
    sleep(Duration::from_secs(30)).await;
    group.halt.stop();
    group.task.await.expect("no panic");
    assert_eq!((group.queue.level_events(), dead.events().len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_that_dead_letters_wait_for_is_one_line() {
    let (lines, _guard) = Lines::of_this_thread();
    let (name, dead) = ("rejected, disk full", Collector::new());
    dead.refuse_for_want_of_disk(20);
    let queue = Queue::holding(events(0, 2));
    let group = start_with(vec![(name, &[Act::Reject], queue)], Some(Arc::new(dead.clone())));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(bodies(&dead.events()), ["0"]);
    let said = lines.with("dead letters wait");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("its disk is full: /data has 19.1 MiB free"), "{said:?}");
    group.drained().await;
}

/// What makes room for a dead letter may be the commit of the very take that rejects it.
#[tokio::test(start_paused = true)]
async fn where_dead_letters_go_round_a_batch_goes_back_instead_of_waiting() {
    let (name, dead) = ("rejected, in a circle", Collector::new());
    dead.refuse(1);
    let acts = [Act::Reject, Act::Reject];
    let queue = Queue::holding(events(0, 2));
    let group = start_with(vec![(name, &acts, queue)], Some(Arc::new(dead.clone())));
    sleep(Duration::from_secs(30)).await;
    group.drained().await;
    assert_eq!(got(name), ["1", "1"], "it was delivered again");
    assert_eq!(bodies(&dead.events()), ["0"]);
}
