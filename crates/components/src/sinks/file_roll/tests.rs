use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use futures_util::FutureExt;
use splashdam_core::metrics::SinkMetrics;
use splashdam_core::{Entry, Event, Place, Role};
use splashdam_testkit::{FakeWorld, contract, events};
use tempfile::TempDir;

use super::disk::Output;
use super::*;

fn keys(dir: &TempDir, more: &str) -> String {
    format!("sink.directory = {}\n{more}", dir.path().display())
}

fn context() -> Context {
    splashdam_testkit::context(Role::Sink)
}

/// Names and contents of all files, by name.
fn files(dir: &TempDir) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
    let entries = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let text = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let mut all: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), text(&entry.path())))
        .collect();
    all.sort();
    all
}

fn contents(dir: &TempDir) -> Vec<String> {
    files(dir).into_iter().map(|(_, content)| content).collect()
}

/// A real directory on a disk that fails on demand; with nothing left of the script all goes well.
#[derive(Clone, Default)]
struct BadDisk(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    creates: VecDeque<io::ErrorKind>,
    writes: VecDeque<Write>,
    take_backs: VecDeque<io::ErrorKind>,
    syncs: VecDeque<io::ErrorKind>,
    synced: usize,
    directories_synced: usize,
}

#[derive(Clone, Copy)]
enum Write {
    /// No more than so many bytes.
    Short(usize),
    Fails(io::ErrorKind),
}

struct BadOutput(Box<dyn Output>, BadDisk);

impl BadDisk {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    async fn open(&self, dir: &TempDir, more: &str) -> Result<FileRoll, OpenError> {
        self.open_in(dir, more, context()).await
    }

    async fn open_in(&self, dir: &TempDir, more: &str, cx: Context) -> Result<FileRoll, OpenError> {
        let config = Section::parse(&keys(dir, more)).read().into_result().unwrap();
        FileRoll::open_on(Arc::new(self.clone()), config, cx).await
    }
}

fn next(script: &mut VecDeque<io::ErrorKind>) -> io::Result<()> {
    script.pop_front().map_or(Ok(()), |kind| Err(kind.into()))
}

impl Disk for BadDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        next(&mut self.script().creates)?;
        Ok(Box::new(BadOutput(RealDisk.create(path)?, self.clone())))
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_directory(path)
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.script().directories_synced += 1;
        RealDisk.sync_directory(path)
    }
}

impl Output for BadOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let step = self.1.script().writes.pop_front();
        match step {
            None => self.0.write(bytes),
            Some(Write::Short(most)) => self.0.write(&bytes[..bytes.len().min(most)]),
            Some(Write::Fails(kind)) => Err(kind.into()),
        }
    }
    fn take_back(&mut self, count: u64) -> io::Result<()> {
        next(&mut self.1.script().take_backs)?;
        self.0.take_back(count)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.1.script().synced += 1;
        next(&mut self.1.script().syncs)?;
        self.0.sync()
    }
    fn is_named(&self) -> io::Result<bool> {
        self.0.is_named()
    }
}

async fn deliver(sink: &mut FileRoll, bodies: &[&'static str]) -> Result<(), String> {
    let batch: Batch = bodies.iter().map(|body| Event::new(*body)).collect();
    match sink.deliver(&batch).await {
        Ok(delivered) => {
            assert_eq!(delivered, Delivered::all(&batch));
            Ok(())
        }
        Err(error) => {
            assert_eq!(error.then, splashdam_core::Then::FailOver);
            Err(error.to_string())
        }
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    hold_to_the_contract().await;
}

/// The runtime of agents, where the sink writes on the thread it is called on.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn keeps_the_contract_in_place() {
    hold_to_the_contract().await;
}

async fn hold_to_the_contract() {
    for more in [
        "",
        "sink.serializer = HEADER_AND_TEXT",
        "sink.serializer = avro_event\nsink.serializer.compressionCodec = deflate",
        "sink.sync = batch\nsink.batchSize = 1",
        "sink.sync = roll\nsink.rollInterval = 0\nsink.pathManager = ROLLTIME",
    ] {
        let dir = tempfile::tempdir().unwrap();
        contract::sink::<FileRoll>(&keys(&dir, more)).await;
    }
}

#[tokio::test]
async fn events_are_in_the_file_once_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let more = "sink.batchSize = 7\nsink.pathManager.prefix = p-\nsink.pathManager.extension = log";
    let mut sink = contract::open_sink::<FileRoll>(&keys(&dir, more), context()).await;
    assert_eq!(Sink::limit(&sink), Size::events(7));
    let name = "p-1700000000000-1.log";
    assert_eq!(files(&dir), [(name.to_owned(), String::new())], "opened before anything came");
    deliver(&mut sink, &["a", "", "b"]).await.unwrap();
    assert_eq!(files(&dir), [(name.to_owned(), "a\n\nb\n".to_owned())]);
    deliver(&mut sink, &["c"]).await.unwrap();
    sink.close().await.unwrap();
    assert_eq!(files(&dir), [(name.to_owned(), "a\n\nb\nc\n".to_owned())]);
}

#[tokio::test]
async fn a_file_that_is_there_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("1700000000000-1"), "precious").unwrap();
    let mut sink = contract::open_sink::<FileRoll>(&keys(&dir, ""), context()).await;
    deliver(&mut sink, &["a"]).await.unwrap();
    assert_eq!(contents(&dir), ["precious", "a\n"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_file_begins_at_each_interval_even_while_idle() {
    let dir = tempfile::tempdir().unwrap();
    let cx = context();
    let metrics: Arc<SinkMetrics> = cx.counters.sink();
    let mut sink = contract::open_sink::<FileRoll>(&keys(&dir, "sink.rollInterval = 10"), cx).await;
    let step = async |sink: &mut FileRoll, seconds: u64, want: usize| {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        sink.tick().await.unwrap();
        assert_eq!(files(&dir).len(), want);
    };
    step(&mut sink, 9, 1).await;
    step(&mut sink, 1, 2).await;
    // Noticed two seconds late, the next is due on the beat all the same.
    step(&mut sink, 12, 3).await;
    step(&mut sink, 8, 4).await;
    // Intervals slept through are not made up for.
    step(&mut sink, 100, 5).await;
    step(&mut sink, 9, 5).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    deliver(&mut sink, &["x"]).await.unwrap();
    assert_eq!(contents(&dir), ["", "", "", "", "", "x\n"], "rolled before the batch");
    sink.close().await.unwrap();
    assert_eq!(metrics.connections_created.value(), 6);
    assert_eq!(metrics.connections_closed.value(), 6);
}

#[tokio::test(start_paused = true)]
async fn no_interval_means_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys(&dir, "sink.rollInterval = 0");
    let mut sink = contract::open_sink::<FileRoll>(&keys, context()).await;
    tokio::time::advance(Duration::from_secs(1_000_000)).await;
    sink.tick().await.unwrap();
    deliver(&mut sink, &["x"]).await.unwrap();
    assert_eq!(contents(&dir), ["x\n"]);
}

#[tokio::test(start_paused = true)]
async fn names_may_tell_the_time_of_the_roll() {
    let dir = tempfile::tempdir().unwrap();
    let world = Arc::new(FakeWorld::default().with_property("user.timezone", "Asia/Tokyo"));
    let cx = splashdam_testkit::fakes::context_in(Role::Sink, world.clone());
    let keys = keys(&dir, "sink.pathManager = ROLLTIME\nsink.rollInterval = 1");
    let mut sink = contract::open_sink::<FileRoll>(&keys, cx).await;
    for millis in [0, 1000] {
        world.set_millis(1_700_000_000_000 + millis);
        tokio::time::advance(Duration::from_secs(1)).await;
        sink.tick().await.unwrap();
    }
    let names: Vec<_> = files(&dir).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["20231115071320-1", "20231115071320-2", "20231115071321-1"]);
}

#[tokio::test]
async fn a_directory_that_will_not_do_is_named_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    for (below, want) in [("none", "create the directory"), ("file", "must be a directory")] {
        let keys = format!("sink.directory = {}/{below}", dir.path().display());
        let config = Section::parse(&keys).read().into_result().unwrap();
        let error = FileRoll::open(config, context()).await.map(drop).unwrap_err();
        assert!(matches!(error, OpenError::Unavailable(_)));
        let text = error.to_string();
        let path = dir.path().join(below).display().to_string();
        assert!(text.contains(&path) && text.contains(want), "{text}");
    }
    let disk = BadDisk::default();
    disk.script().creates.extend([io::ErrorKind::PermissionDenied, io::ErrorKind::StorageFull]);
    for want in ["let the user of this agent", "free some space"] {
        let error = disk.open(&dir, "").await.map(drop).unwrap_err();
        assert!(matches!(error, OpenError::Unavailable(_)));
        assert!(error.to_string().contains(want), "{error}");
    }
    disk.open(&dir, "").await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_directory_is_made_on_request_and_only_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("a/b");
    let keys = format!("sink.directory = {}\nsink.createDirectory = true", below.display());
    let mut sink = contract::open_sink::<FileRoll>(&keys, context()).await;
    deliver(&mut sink, &["one"]).await.unwrap();
    std::fs::remove_dir_all(&below).unwrap();
    deliver(&mut sink, &["two"]).await.unwrap_err();
    deliver(&mut sink, &["two"]).await.unwrap_err();
    assert!(!below.exists());
    let again = contract::open_sink::<FileRoll>(&keys, context()).await;
    again.close().await.unwrap();
    assert!(below.exists());
}

#[tokio::test]
async fn directories_that_are_made_are_made_for_good() {
    for (sync, want) in [("never", 0), ("roll", 3), ("batch", 3)] {
        let dir = tempfile::tempdir().unwrap();
        let disk = BadDisk::default();
        let below = dir.path().join("a/b").display().to_string();
        let keys = format!("sink.directory = {below}\nsink.createDirectory = true");
        let keys = format!("{keys}\nsink.sync = {sync}");
        let config: Config = Section::parse(&keys).read().into_result().unwrap();
        for (opened, want) in [("first", want), ("again", want.min(1))] {
            let sink = FileRoll::open_on(Arc::new(disk.clone()), config.clone(), context()).await;
            sink.unwrap().close().await.unwrap();
            let synced = std::mem::take(&mut disk.script().directories_synced);
            assert_eq!(synced, want, "{sync}, {opened}: the names of a, of b, and of the file");
        }
    }
}

#[tokio::test]
async fn short_writes_are_carried_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = BadDisk::default();
    let mut sink = disk.open(&dir, "").await.unwrap();
    let interrupted = Write::Fails(io::ErrorKind::Interrupted);
    disk.script().writes.extend([Write::Short(1), interrupted, Write::Short(2)]);
    deliver(&mut sink, &["abc", "def"]).await.unwrap();
    assert_eq!(contents(&dir), ["abc\ndef\n"]);
}

#[tokio::test]
async fn a_full_disk_neither_tears_nor_repeats_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let disk = BadDisk::default();
    let mut sink = disk.open(&dir, "").await.unwrap();
    deliver(&mut sink, &["one", "two"]).await.unwrap();
    let full = Write::Fails(io::ErrorKind::StorageFull);
    for script in [
        vec![full],
        vec![Write::Short(2), full],
        vec![Write::Short(5), Write::Short(1), full],
        vec![Write::Short(3), Write::Fails(io::ErrorKind::Other)],
        vec![Write::Short(4), Write::Short(0)],
    ] {
        disk.script().writes.extend(script);
        let error = deliver(&mut sink, &["three", "four"]).await.unwrap_err();
        assert!(error.contains("cannot write to") && error.contains("1700000000000-1"), "{error}");
        assert_eq!(contents(&dir), ["one\ntwo\n"], "nothing half-written stays");
    }
    deliver(&mut sink, &["three", "four"]).await.unwrap();
    assert_eq!(contents(&dir), ["one\ntwo\nthree\nfour\n"]);
}

#[tokio::test]
async fn a_part_that_cannot_be_taken_back_ends_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let disk = BadDisk::default();
    let mut sink = disk.open(&dir, "").await.unwrap();
    disk.script().writes.extend([Write::Short(2), Write::Fails(io::ErrorKind::StorageFull)]);
    disk.script().take_backs.push_back(io::ErrorKind::Other);
    let error = deliver(&mut sink, &["one"]).await.unwrap_err();
    assert!(error.contains("2 bytes") && error.contains("written again"), "{error}");
    deliver(&mut sink, &["one"]).await.unwrap();
    assert_eq!(contents(&dir), ["on", "one\n"]);
}

#[tokio::test]
async fn a_removed_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = contract::open_sink::<FileRoll>(&keys(&dir, ""), context()).await;
    std::fs::remove_file(dir.path().join("1700000000000-1")).unwrap();
    let error = deliver(&mut sink, &["one"]).await.unwrap_err();
    assert!(error.contains("was removed"), "{error}");
    deliver(&mut sink, &["one"]).await.unwrap();
    assert_eq!(files(&dir), [("1700000000000-2".to_owned(), "one\n".to_owned())]);
}

#[tokio::test]
async fn a_removed_directory_is_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = contract::open_sink::<FileRoll>(&keys(&dir, ""), context()).await;
    std::fs::remove_dir_all(dir.path()).unwrap();
    deliver(&mut sink, &["one"]).await.unwrap_err();
    for _ in 0..2 {
        let error = deliver(&mut sink, &["one"]).await.unwrap_err();
        assert!(error.contains("create the directory"), "{error}");
        sink.tick().await.unwrap_err();
    }
    assert!(!dir.path().exists());
    std::fs::create_dir(dir.path()).unwrap();
    deliver(&mut sink, &["one"]).await.unwrap();
    assert_eq!(files(&dir), [("1700000000000-2".to_owned(), "one\n".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn while_no_new_file_can_be_made_the_old_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = BadDisk::default();
    let mut sink = disk.open(&dir, "sink.rollInterval = 10").await.unwrap();
    disk.script().creates.extend([io::ErrorKind::StorageFull; 2]);
    for (seconds, body) in [(10, "a"), (0, "b"), (1, "c"), (1, "d")] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        sink.tick().await.unwrap();
        deliver(&mut sink, &[body]).await.unwrap();
    }
    assert_eq!(
        files(&dir),
        [
            ("1700000000000-1".to_owned(), "a\nb\nc\n".to_owned()),
            ("1700000000000-2".to_owned(), "d\n".to_owned())
        ]
    );
}

#[tokio::test]
async fn files_are_synced_as_told() {
    for (sync, batches, closed, directories) in
        [("never", 0, 0, 0), ("roll", 0, 1, 1), ("BATCH", 2, 3, 1)]
    {
        let dir = tempfile::tempdir().unwrap();
        let disk = BadDisk::default();
        let mut sink = disk.open(&dir, &format!("sink.sync = {sync}")).await.unwrap();
        deliver(&mut sink, &["a"]).await.unwrap();
        deliver(&mut sink, &["b"]).await.unwrap();
        assert_eq!(disk.script().synced, batches, "{sync}");
        sink.close().await.unwrap();
        assert_eq!(disk.script().synced, closed, "{sync}");
        assert_eq!(disk.script().directories_synced, directories, "{sync}");
    }
}

#[tokio::test]
async fn after_a_failed_sync_the_batch_goes_to_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let disk = BadDisk::default();
    let mut sink = disk.open(&dir, "sink.sync = batch").await.unwrap();
    deliver(&mut sink, &["one"]).await.unwrap();
    disk.script().syncs.push_back(io::ErrorKind::Other);
    let error = deliver(&mut sink, &["two"]).await.unwrap_err();
    assert!(error.contains("cannot sync"), "{error}");
    deliver(&mut sink, &["two"]).await.unwrap();
    assert_eq!(contents(&dir), ["one\n", "two\n"]);
    disk.script().syncs.push_back(io::ErrorKind::Other);
    disk.script().take_backs.push_back(io::ErrorKind::Other);
    let error = deliver(&mut sink, &["three"]).await.unwrap_err();
    assert!(error.contains("cannot sync") && error.contains("written again"), "{error}");
    deliver(&mut sink, &["three"]).await.unwrap();
    assert_eq!(contents(&dir), ["one\n", "two\nthree\n", "three\n"]);
}

#[tokio::test(start_paused = true)]
async fn a_container_begins_with_its_header_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    let disk = BadDisk::default();
    let full = Write::Fails(io::ErrorKind::StorageFull);
    disk.script().writes.extend([Write::Short(9), full, Write::Short(100), full]);
    let more = "sink.serializer = AVRO_EVENT\nsink.rollInterval = 10";
    let mut sink = disk.open(&dir, more).await.unwrap();
    assert_eq!(contents(&dir), [""], "the header did not fit");
    deliver(&mut sink, &["one"]).await.unwrap_err();
    assert_eq!(contents(&dir), [""]);
    deliver(&mut sink, &["one"]).await.unwrap();
    disk.script().writes.extend([Write::Short(3), full]);
    deliver(&mut sink, &["two"]).await.unwrap_err();
    deliver(&mut sink, &["two"]).await.unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    sink.tick().await.unwrap();
    sink.close().await.unwrap();
    let all = contents(&dir);
    assert_eq!(all.len(), 2);
    for (file, bodies) in all.iter().zip([vec!["one", "two"], vec![]]) {
        assert!(file.starts_with("Obj\x01"), "{file:?}");
        assert_eq!(file.matches("avro.schema").count(), 1, "one header");
        assert_eq!(file.matches("one").count() + file.matches("two").count(), bodies.len());
    }
}

#[tokio::test]
async fn a_delivery_cut_short_does_not_panic_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = contract::open_sink::<FileRoll>(&keys(&dir, ""), context()).await;
    let batch = events(0, 5);
    // Dropped at its first wait; a disk quicker than that is asked again.
    while sink.deliver(&batch).now_or_never().is_some() {}
    let error = deliver(&mut sink, &["one"]).await.unwrap_err();
    assert!(error.contains("cut short"), "{error}");
    sink.tick().await.unwrap();
    sink.close().await.unwrap();
}

/// Keeps the thread that it was last used on.
struct Witness(Arc<Mutex<Option<std::thread::ThreadId>>>);

impl splashdam_core::Serializer for Witness {
    fn start(&mut self, _out: &mut BytesMut, _start: splashdam_core::Start) {}
    fn write(
        &mut self,
        _events: &[Event],
        out: &mut BytesMut,
    ) -> Result<(), splashdam_core::SerializeError> {
        *self.0.lock().unwrap() = Some(std::thread::current().id());
        out.extend_from_slice(b"seen");
        Ok(())
    }
    fn finish(&mut self, _out: &mut BytesMut) {}
    fn reopens(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn events_are_encoded_where_blocking_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = contract::open_sink::<FileRoll>(&keys(&dir, ""), context()).await;
    let seen = Arc::default();
    sink.writer.as_mut().unwrap().serializer = Box::new(Witness(Arc::clone(&seen)));
    deliver(&mut sink, &["one"]).await.unwrap();
    assert_eq!(contents(&dir), ["seen"]);
    let thread = seen.lock().unwrap().take().unwrap();
    assert_ne!(thread, std::thread::current().id(), "compression may take seconds");
}

/// Not a check but a measurement: `cargo test --release -- --ignored --nocapture file_roll`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed() {
    for (serializer, batch_events) in [("TEXT", 100_u32), ("TEXT", 1000), ("AVRO_EVENT", 1000)] {
        let dir = tempfile::tempdir().unwrap();
        let more = format!("sink.rollInterval = 0\nsink.serializer = {serializer}");
        let mut sink = contract::open_sink::<FileRoll>(&keys(&dir, &more), context()).await;
        let event = || {
            let mut event = Event::new(vec![b'x'; 200]);
            event.headers.insert("host", "mill.example.org");
            event
        };
        let batch: Batch = (0..batch_events).map(|_| event()).collect();
        let rounds = 1_000_000 / batch_events;
        let start = Instant::now();
        for _ in 0..rounds {
            sink.deliver(&batch).await.unwrap();
        }
        let nanos = start.elapsed().as_nanos() / u128::from(rounds * batch_events);
        println!("{serializer}, batches of {batch_events}: {nanos} ns an event");
        let start = Instant::now();
        for _ in 0..rounds {
            drop(std::hint::black_box(batch.clone()));
        }
        let nanos = start.elapsed().as_nanos() / u128::from(rounds * batch_events);
        println!("of which the copy of the batch: {nanos} ns");
        sink.close().await.unwrap();
    }
}

#[test]
fn bad_keys_are_found_where_they_stand() {
    let check = |text: &str, want: &[(&str, &str)]| {
        let looked = Entry::sink::<FileRoll>().look(&Section::parse(text));
        let found: Vec<_> = looked
            .findings
            .iter()
            .map(|finding| {
                let span = finding.span.map_or(0..0, |span| span.start..span.end);
                (finding.code, &text[span])
            })
            .collect();
        assert_eq!(found, want, "{text}");
    };
    check("sink.directory = /x", &[]);
    check("sink.directory = /x\nsink.serializer = header_and_text", &[]);
    check("sink.rollInterval = 5", &[("missing-key", "sink.rollInterval")]);
    check("sink.directory = /x\nsink.serializer = csv", &[("unknown-type", "csv")]);
    check(
        "sink.directory = /x\nsink.serializer = text\nsink.serializer.appendNewLine = false",
        &[("unknown-key", "appendNewLine")],
    );
    check(
        "sink.directory = /x\nsink.serializer.appendnewline = false",
        &[("unknown-key", "appendnewline")],
    );
    check(
        "sink.directory = /x\nsink.serializer = AVRO_EVENT\nsink.serializer.compressionCodec = lz4",
        &[("unknown-codec", "lz4")],
    );
    check("sink.directory = /x\nsink.batchSize = 0", &[("bad-value", "0")]);
    check("sink.directory = /x\nsink.rollInterval = 30s", &[("bad-number", "30s")]);
    check("sink.directory = /x\nsink.pathManager = DAILY", &[("unknown-value", "DAILY")]);
    check("sink.directory = /x\nsink.sync = always", &[("unknown-value", "always")]);
    check("sink.directory = /x\nsink.rolInterval = 3", &[("unknown-key", "sink.rolInterval")]);
}

#[tokio::test]
async fn what_a_file_channel_hands_out_again_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = async || {
        contract::open_sink::<FileRoll>(&keys(&dir, "sink.rollInterval = 0"), context()).await
    };
    let batch = |numbers: Range<u64>| {
        let place = Place {
            queue: [7; 16],
            low: 0,
            began: 1000,
            ranges: vec![numbers.clone()],
            lasting: true,
        };
        let event = |number: u64| Event::new(format!("{number}"));
        numbers.map(event).collect::<Batch>().with_place(Some(place))
    };
    let mut sink = open().await;
    sink.deliver(&batch(0..5)).await.unwrap();
    sink.deliver(&batch(5..9)).await.unwrap();
    // Killed before the takes were committed.
    drop(sink);
    let mut sink = open().await;
    for again in [0..3, 3..8, 8..12, 4..6] {
        let done = sink.deliver(&batch(again.clone())).await.unwrap();
        assert_eq!(done.events as u64, again.end - again.start, "all of it counts as delivered");
    }
    sink.close().await.unwrap();
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let all: Vec<_> = contents(&dir).into_iter().flat_map(lines).collect();
    assert_eq!(all, (0..12).map(|number| number.to_string()).collect::<Vec<_>>());
}

mod dead_letters;
