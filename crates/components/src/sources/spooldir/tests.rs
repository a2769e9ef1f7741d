use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::*;
use splashdam_core::{Batch, Event, Role};
use splashdam_testkit::{Collector, FakeWorld, bodies, context, contract};
use tempfile::TempDir;

mod durable;

fn cx() -> Context {
    context(Role::Source)
}

fn keys(dir: &Path, more: &str) -> String {
    format!("spoolDir = {}\npollDelay = 10\n{more}", dir.display())
}

fn spooler_in(dir: &Path, more: &str, cx: &Context) -> Result<Spooler, String> {
    let section = Section::parse(&keys(dir, more));
    let config: Config = section.read().into_result().unwrap_or_else(|e| panic!("{e:?}"));
    let choice = config.deserializer().into_result().unwrap();
    Spooler::open(&config, choice, cx).map_err(|error| error.to_string())
}

fn spooler(dir: &Path, more: &str) -> Spooler {
    spooler_in(dir, more, &cx()).unwrap()
}

/// Everything until there is nothing to read.
fn drain(spooler: &mut Spooler) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match spooler.step().unwrap() {
            Step::Idle => return events,
            Step::Batch(batch) => {
                events.extend(batch.into_events());
                spooler.delivered();
            }
        }
    }
}

/// A directory with files, each a second younger than the one before.
fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (age, (name, content)) in files.iter().enumerate() {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        touch(&path, age as u64);
    }
    dir
}

fn touch(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + seconds);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// All names below, but for the lock.
fn names(dir: &Path) -> Vec<String> {
    fn list(dir: &Path, root: &Path, names: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                list(&path, root, names);
            } else {
                names.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    list(dir, dir, &mut found);
    found.retain(|name| !name.ends_with(".splashdam.lock"));
    found.sort();
    found
}

#[tokio::test]
async fn stops() {
    let empty = directory(&[]);
    contract::source_stops::<SpoolDir>(&keys(empty.path(), ""), cx).await;
    let full = directory(&[("a", &b"line\n".repeat(2_000_000))]);
    contract::source_stops::<SpoolDir>(&keys(full.path(), "trackingPolicy = tracker_dir"), cx)
        .await;
}

#[test]
fn finished_files_are_renamed_deleted_or_noted() {
    let check = |more: &str, want: &[&str]| {
        let dir = directory(&[("a", b"1\n2\n"), ("b", b"3")]);
        let mut reading = spooler(dir.path(), more);
        assert_eq!(bodies(&drain(&mut reading)), ["1", "2", "3"], "{more}");
        assert_eq!(names(dir.path()), want, "{more}");
        drop(reading);
        assert!(drain(&mut spooler(dir.path(), more)).is_empty(), "{more}: nothing is read twice");
    };
    check("", &["a.COMPLETED", "b.COMPLETED"]);
    check("fileSuffix = .done", &["a.done", "b.done"]);
    check("deletePolicy = Immediate", &[]);
    let noted = [
        ".flumespool/.flumespool-main.meta",
        ".flumespool/a.COMPLETED",
        ".flumespool/b.COMPLETED",
        "a",
        "b",
    ];
    check("trackingPolicy = TRACKER_DIR", &[&noted[1..], &[]].concat());
    check("trackingPolicy = tracker_dir\ndeletePolicy = immediate", &[]);
}

#[test]
fn nothing_is_written_where_files_are_left_untouched() {
    let dir = directory(&[("a", b"1\n"), ("sub/b", b"2\n")]);
    let elsewhere = tempfile::tempdir().unwrap();
    let tracker = elsewhere.path().join("tracker");
    let before = fs::metadata(dir.path()).unwrap().modified().unwrap();
    let more = format!(
        "trackingPolicy = tracker_dir\ntrackerDir = {}\nrecursiveDirectorySearch = true",
        tracker.display()
    );
    assert_eq!(bodies(&drain(&mut spooler(dir.path(), &more))), ["1", "2"]);
    assert_eq!(names(dir.path()), ["a", "sub/b"]);
    assert_eq!(fs::metadata(dir.path()).unwrap().modified().unwrap(), before);
    assert_eq!(names(&tracker), ["a.COMPLETED", "sub/b.COMPLETED"]);
}

#[test]
fn files_come_in_the_order_asked_for() {
    let check = |more: &str, want: &[&str]| {
        let dir = directory(&[("c", b"c"), ("a", b"a"), ("b", b"b"), ("d", b"d")]);
        touch(&dir.path().join("b"), 1);
        assert_eq!(bodies(&drain(&mut spooler(dir.path(), more))), want, "{more}");
    };
    check("", &["c", "a", "b", "d"]);
    check("consumeOrder = YOUNGEST", &["d", "a", "b", "c"]);
    let dir = directory(&[("c", b"c"), ("a", b"a"), ("b", b"b")]);
    let mut random = bodies(&drain(&mut spooler(dir.path(), "consumeOrder = random")));
    random.sort();
    assert_eq!(random, ["a", "b", "c"]);
}

#[test]
fn only_files_that_are_meant_are_read() {
    let check = |more: &str, want: &[&str]| {
        let dir = directory(&[
            ("x.log", b"x"),
            ("y.txt", b"y"),
            (".hidden", b"h"),
            ("old.COMPLETED", b"o"),
            ("sub/z.log", b"z"),
            ("sub/deep/w.log", b"w"),
            (".dot/v.log", b"v"),
            ("skip/u.log", b"u"),
        ]);
        assert_eq!(bodies(&drain(&mut spooler(dir.path(), more))), want, "{more}");
    };
    check("", &["x", "y"]);
    check("includePattern = .*[.]log", &["x"]);
    check("includePattern = log", &[]);
    check("includePattern = (?i)X[.]LOG", &["x"]);
    check("includePattern = (?!x).*", &["y"]);
    check("ignorePattern = x.*", &["y"]);
    check("includePattern = .*log\nignorePattern = x[.]log", &[]);
    check("recursiveDirectorySearch = true", &["x", "y", "z", "w", "u"]);
    check("recursiveDirectorySearch = true\nignorePattern = skip", &["x", "y", "z", "w"]);
    // A tracker directory with a plain name is not read either.
    let more = "recursiveDirectorySearch = true\ntrackerDir = sub\nincludePattern = .*log";
    check(more, &["x", "u"]);
}

#[test]
fn headers_tell_the_file() {
    let dir = directory(&[("sub/a.log", b"1\n2\n")]);
    let more = "recursiveDirectorySearch = true\nfileHeader = true\nbasenameHeader = true\nbasenameHeaderKey = name";
    let events = drain(&mut spooler(dir.path(), more));
    for event in &events {
        let file = dir.path().join("sub/a.log").display().to_string();
        assert_eq!(event.headers.get("file").unwrap().as_str(), file);
        assert_eq!(event.headers.get("name").unwrap().as_str(), "a.log");
        assert_eq!(event.headers.len(), 2);
    }
    assert_eq!(events.len(), 2);
    let dir = directory(&[("a", b"1")]);
    assert!(drain(&mut spooler(dir.path(), ""))[0].headers.is_empty());
    let dir = directory(&[("a", b"1")]);
    let events = drain(&mut spooler(dir.path(), "fileHeader = true\nfileHeaderKey = path"));
    let file = dir.path().join("a").display().to_string();
    assert_eq!(events[0].headers, [("path", file.as_str())].into_iter().collect());
}

#[test]
fn an_empty_file_is_one_empty_event() {
    let dir = directory(&[("a", b""), ("b", b"1\n"), ("c", b"")]);
    assert_eq!(bodies(&drain(&mut spooler(dir.path(), ""))), ["", "1", ""]);
    assert_eq!(names(dir.path()).len(), 3);
}

#[test]
fn charsets_and_line_lengths_are_those_of_the_keys() {
    let check = |more: &str, input: &[u8], want: &[&str]| {
        let dir = directory(&[("a", input)]);
        assert_eq!(bodies(&drain(&mut spooler(dir.path(), more))), want, "{more}");
    };
    check("inputCharset = ISO-8859-1", b"gr\xfcn", &["grün"]);
    check("decodeErrorPolicy = replace", b"a\xff", &["a\u{fffd}"]);
    check("decodeErrorPolicy = IGNORE", b"a\xff", &["a"]);
    check("deserializer.maxLineLength = 2", b"abcd\n", &["ab", "cd", ""]);
    check("deserializer = line\nbufferMaxLineLength = 3", b"abcd\n", &["abc", "d"]);
    let class = "deserializer = org.apache.flume.serialization.LineDeserializer$Builder";
    check(class, b"x\r\n", &["x\r"]);
    let long = "x".repeat(5000);
    check("", long.as_bytes(), &[&long[..2048], &long[..2048], &long[..904]]);
    // Positions count bytes of the file, whatever the charset: every batch is one event here.
    check("batchSize = 1\ninputCharset = UTF-16", b"\xff\xfea\0\n\0b\0", &["a", "b"]);
}

#[test]
fn a_file_with_bad_bytes_is_set_aside_until_it_changes() {
    let dir = directory(&[("bad", b"1\n2\xff\n3\n"), ("good", b"4\n")]);
    let cx = cx();
    let mut reading = spooler_in(dir.path(), "", &cx).unwrap();
    assert_eq!(bodies(&drain(&mut reading)), ["1", "4"]);
    assert_eq!(names(dir.path()).last().unwrap(), "good.COMPLETED");
    assert_eq!(cx.counters.source().read_failures.value(), 1);
    std::thread::sleep(Duration::from_millis(15));
    assert!(drain(&mut reading).is_empty());
    assert_eq!(cx.counters.source().read_failures.value(), 1, "said once, and left alone");
    drop(reading);
    // Also across a restart nothing of it is repeated.
    let mut reading = spooler(dir.path(), "");
    assert!(drain(&mut reading).is_empty());
    fs::write(dir.path().join("bad"), b"1\n2\n3\n").unwrap();
    std::thread::sleep(Duration::from_millis(15));
    assert_eq!(bodies(&drain(&mut reading)), ["2", "3"]);
    assert_eq!(names(dir.path()), ["bad.COMPLETED", "good.COMPLETED"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_unpacked_is_not_unpacked_again_until_it_changes() {
    let text: Vec<u8> = (0..200_000u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    let zstd = zstd::encode_all(&text[..], 3).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&text).unwrap();
    let gzip = gzip.finish().unwrap();
    let garbled: Vec<u8> = [&gzip[..gzip.len() / 2], &[0x55; 5000]].concat();
    let check = async |file: &[u8], more: &str, mended: bool| {
        let dir = directory(&[("packed", file)]);
        let cx = cx();
        let more = format!("decompress = true\n{more}");
        let mut reading = spooler_in(dir.path(), &more, &cx).unwrap();
        let failures = || cx.counters.source().read_failures.value();
        drain(&mut reading);
        assert_eq!(failures(), 1, "{more}");
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(drain(&mut reading).is_empty());
        assert_eq!(failures(), 1, "{more}: it is left alone");
        fs::write(dir.path().join("packed"), &gzip).unwrap();
        tokio::time::advance(Duration::from_secs(61)).await;
        drain(&mut reading);
        let finished = names(dir.path()).contains(&"packed.COMPLETED".to_owned());
        assert_eq!(finished, mended, "{more}");
    };
    check(&gzip[..gzip.len() - 4], "", true).await;
    check(&gzip[..12], "", true).await;
    check(&zstd[..zstd.len() - 4], "", true).await;
    check(&garbled, "", true).await;
    check(&gzip[..gzip.len() - 4], "deserializer = BLOB", true).await;
    check(&gzip, "maxUncompressedBytes = 100000", false).await;
    check(&gzip, "deserializer = AVRO", false).await;
}

#[test]
fn a_restart_in_the_middle_of_one_file_repeats_nothing_of_others() {
    let dir = directory(&[("bad", b"1\n2\xff\n"), ("good", b"3\n4\n5\n6\n")]);
    let mut got = Vec::new();
    for _ in 0..5 {
        // Each time the bad one comes first, fails again, and the good one gets a batch further.
        let mut reading = spooler(dir.path(), "batchSize = 1");
        if let Step::Batch(batch) = reading.step().unwrap() {
            got.extend(bodies(batch.events()));
            reading.delivered();
            reading.settle_for_good().unwrap();
        }
    }
    assert_eq!(got, ["1", "3", "4", "5", "6"]);
    assert!(drain(&mut spooler(dir.path(), "")).is_empty());
    assert!(names(dir.path()).contains(&"good.COMPLETED".to_owned()));
}

#[test]
fn a_file_that_changes_is_read_on_and_finished_when_it_is_quiet() {
    let dir = directory(&[("a", b"1\n"), ("b", b"2\n")]);
    let world = Arc::new(FakeWorld::default());
    world.set_millis(1_600_000_030_000);
    let cx = Context { world: world.clone(), ..cx() };
    let mut reading = spooler_in(dir.path(), "", &cx).unwrap();
    let Step::Batch(batch) = reading.step().unwrap() else { panic!("nothing read") };
    assert_eq!(bodies(batch.events()), ["1"]);
    reading.delivered();
    let path = dir.path().join("a");
    fs::write(&path, b"1\nmore\n").unwrap();
    touch(&path, 10);
    // It grew after it was opened: what came is read, but it is not finished yet.
    let mut read = bodies(&drain(&mut reading));
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(15));
        read.extend(bodies(&drain(&mut reading)));
    }
    read.sort();
    assert_eq!(read, ["2", "more"]);
    assert!(names(dir.path()).contains(&"a".to_owned()));
    assert!(cx.counters.source().read_failures.value() >= 1);
    // Growing on, a minute after its last change.
    world.set_millis(1_600_000_100_000);
    fs::write(&path, b"1\nmore\nend\n").unwrap();
    touch(&path, 20);
    std::thread::sleep(Duration::from_millis(15));
    assert_eq!(bodies(&drain(&mut reading)), ["end"]);
    assert_eq!(names(dir.path()), ["a.COMPLETED", "b.COMPLETED"]);
}

#[test]
fn a_taken_name_is_waited_for() {
    let dir = directory(&[("a", b"1\n"), ("a.COMPLETED", b"other"), ("b", b"2\n")]);
    let mut reading = spooler(dir.path(), "");
    assert_eq!(bodies(&drain(&mut reading)), ["1", "2"]);
    assert_eq!(fs::read(dir.path().join("a.COMPLETED")).unwrap(), b"other");
    fs::remove_file(dir.path().join("a.COMPLETED")).unwrap();
    std::thread::sleep(Duration::from_millis(15));
    assert!(drain(&mut reading).is_empty(), "nothing is read twice");
    assert_eq!(names(dir.path()), ["a.COMPLETED", "b.COMPLETED"]);
}

#[test]
fn a_file_that_vanishes_is_let_go() {
    let dir = directory(&[("a", b"1\n"), ("b", b"2\n")]);
    let mut reading = spooler(dir.path(), "batchSize = 1");
    assert!(matches!(reading.step().unwrap(), Step::Batch(_)));
    reading.delivered();
    fs::remove_file(dir.path().join("a")).unwrap();
    assert_eq!(bodies(&drain(&mut reading)), ["2"]);
    assert_eq!(names(dir.path()), ["b.COMPLETED"]);
}

#[test]
fn progress_stays_until_the_new_name_is_safe() {
    let dir = directory(&[("sub/a", b"0\n")]);
    let (long, sub) = (dir.path().join("long"), dir.path().join("sub"));
    fs::write(&long, b"1\n2\n").unwrap();
    let more = "batchSize = 1\nrecursiveDirectorySearch = true";
    let mut reading = spooler(dir.path(), "batchSize = 1");
    assert!(matches!(reading.step().unwrap(), Step::Batch(_)));
    reading.delivered();
    reading.settle_for_good().unwrap();
    drop(reading);
    let mut reading = spooler(dir.path(), more);
    for want in ["0", "2"] {
        let Step::Batch(batch) = reading.step().unwrap() else { panic!("nothing read") };
        assert_eq!(bodies(batch.events()), [want]);
        reading.delivered();
    }
    // The directory of the first, which is not synced yet, cannot be opened any more.
    fs::rename(&sub, dir.path().join("moved")).unwrap();
    std::os::unix::fs::symlink(&sub, &sub).unwrap();
    for _ in 0..2 {
        assert!(reading.step().is_err_and(|error| error.contains("cannot be synced")));
        let left = names(&dir.path().join(".flumespool"));
        assert!(left.iter().any(|name| name.ends_with(".meta")), "{left:?}");
    }
    fs::remove_file(&sub).unwrap();
    assert!(drain(&mut reading).is_empty());
    assert_eq!(names(dir.path()), ["long.COMPLETED", "moved/a.COMPLETED"]);
}

#[test]
fn links_are_followed_only_if_asked_to() {
    let outside = directory(&[("secret", b"secret\n")]);
    let check = |more: &str, want: &[&str], after: &[&str]| {
        let dir = directory(&[("a", b"1\n")]);
        std::os::unix::fs::symlink(outside.path().join("secret"), dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("dir")).unwrap();
        let mut got = bodies(&drain(&mut spooler(dir.path(), more)));
        got.sort();
        assert_eq!(got, want, "{more}");
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        left.retain(|entry| {
            !entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')
        });
        let mut left: Vec<String> = left
            .into_iter()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        assert_eq!(left, after, "{more}");
    };
    let recursive = "recursiveDirectorySearch = true";
    check(recursive, &["1"], &["a.COMPLETED", "dir", "link"]);
    let follow = format!("{recursive}\nfollowSymlinks = true");
    check(&follow, &["1", "secret"], &["a.COMPLETED", "dir", "link.COMPLETED"]);
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret\n");
}

#[test]
fn what_keeps_it_from_opening_is_named() {
    let dir = directory(&[("file", b"")]);
    let refused = |dir: &Path, more: &str| match spooler_in(dir, more, &cx()) {
        Ok(_) => panic!("it opened: {more}"),
        Err(error) => error,
    };
    assert!(refused(&dir.path().join("none"), "").contains("create it"));
    assert!(refused(&dir.path().join("file"), "").contains("not a directory"));
    assert!(refused(dir.path(), "trackerDir = no/parent").contains("trackerDir"));
    let _first = spooler(dir.path(), "");
    assert!(refused(dir.path(), "").contains("in use by another"));
}

#[test]
fn progress_that_cannot_be_written_stops_reading_and_repeats_nothing() {
    let dir = directory(&[("a", b"1\n2\n3\n")]);
    let tracker = dir.path().join(".flumespool");
    let mut reading = spooler(dir.path(), "batchSize = 1");
    assert!(matches!(reading.step().unwrap(), Step::Batch(_)));
    reading.delivered();
    // In the way of the temporary file, for root as well.
    let blocker = tracker.join(".flumespool-main.meta.tmp");
    fs::create_dir(&blocker).unwrap();
    assert!(reading.step().is_err_and(|error| error.contains("make room")));
    assert!(reading.step().is_err());
    fs::remove_dir(&blocker).unwrap();
    assert_eq!(bodies(&drain(&mut reading)), ["2", "3"]);
}

#[test]
fn keys_are_checked() {
    let findings = |keys: &str| {
        let section = Section::parse(keys);
        let reading = section.read::<Config>();
        let mut findings = reading.findings;
        if let Some(config) = reading.value {
            findings.extend(SpoolDir::check(&config, &section));
        }
        findings.iter().map(|f| f.code).collect::<Vec<_>>()
    };
    let check = |keys: &str, want: &[&str]| {
        assert_eq!(findings(&format!("spoolDir = /x\n{keys}")), want, "{keys}");
    };
    check("", &[]);
    check("deserializer.maxLineLength = 100\nfileSuffix = .done", &[]);
    check("fileSuffix =", &["invalid-value"]);
    check("bufferMaxLines = 100", &["obsolete-key"]);
    check("deserializer = avro\ndeserializer.schemaType = literal", &[]);
    check("deserializer = BLOB\ndeserializer.maxBlobLength = 5", &[]);
    check("deserializer = AVRO\ndeserializer.maxBlobLength = 5", &["unknown-key"]);
    check("deserializer = lines", &["unknown-deserializer"]);
    check("deserializer.maxLineLenght = 1", &["unknown-key"]);
    assert_eq!(findings("").len(), 1, "spoolDir is required");
    for keys in
        ["deletePolicy = later", "includePattern = (", "inputCharset = UTF-32", "batchSize = 0"]
    {
        assert_eq!(findings(&format!("spoolDir = /x\n{keys}")).len(), 1, "{keys}");
    }
}

#[tokio::test]
async fn a_kill_repeats_no_more_than_the_batch_under_way() {
    let lines: String = (0..5000).map(|n| format!("{n}\n")).collect();
    let dir = directory(&[("a", lines.as_bytes()), ("b", b"last\n")]);
    let keys = keys(dir.path(), "batchSize = 10");
    let mut got: Vec<String> = Vec::new();
    for round in 1..=20 {
        let collector = Collector::new();
        collector.refuse(round % 2);
        let running = contract::run_source(open_patiently(&keys).await, &collector);
        while collector.events().len() < 500 && !collector.bodies().contains(&"last".into()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        running.abort().await;
        let events = collector.bodies();
        // What was put is there from the first on; at most one batch of it was there before.
        let repeated = events.iter().take(10).filter(|event| got.contains(event)).count();
        assert!(events.iter().skip(10).all(|event| !got.contains(event)), "round {round}");
        got.extend(events.into_iter().skip(repeated));
        if got.last().is_some_and(|event| event == "last") {
            break;
        }
    }
    let want: Vec<String> = (0..5000).map(|n| n.to_string()).chain(["last".into()]).collect();
    assert_eq!(got, want);
}

/// The reading that was cut off lets go of its lock a moment later.
async fn open_patiently(keys: &str) -> SpoolDir {
    for _ in 0..1000 {
        let config = Section::parse(keys).read().into_result().unwrap();
        match SpoolDir::open(config, cx()).await {
            Ok(source) => return source,
            Err(OpenError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it stays locked");
}

#[tokio::test]
async fn a_refused_batch_is_put_again() {
    let dir = directory(&[("a", b"1\n2\n3\n")]);
    let collector = Collector::new();
    collector.refuse(1);
    collector.fail_commits(1);
    let more = "batchSize = 2\nmaxBackoff = 10";
    let source = contract::open_source::<SpoolDir>(&keys(dir.path(), more), cx()).await;
    let running = contract::run_source(source, &collector);
    collector.wait_for(3).await;
    running.stop().await.unwrap();
    assert_eq!(collector.bodies(), ["1", "2", "3"]);
    assert_eq!(collector.batches().iter().map(Batch::len).collect::<Vec<_>>(), [2, 1]);
}

/// Not a check but a measurement: `cargo test --release -- --ignored --nocapture speed`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed() {
    use splashdam_core::{Channel, Size};
    let line = format!("{}\n", "x".repeat(199));
    let big = line.repeat(1_000_000);
    let small: Vec<String> = (0..2000).map(|n| format!("small{n}")).collect();
    let one: Vec<(&str, &[u8])> = vec![("a", big.as_bytes()), ("b", big.as_bytes())];
    let many = small.iter().map(|name| (name.as_str(), line.as_bytes())).collect();
    for (files, batch, count) in
        [(one.clone(), 1000, 2_000_000), (one, 100, 2_000_000), (many, 100, 2000)]
    {
        let dir = directory(&files);
        let memory = "capacity = 100000\ntransactionCapacity = 1000\nbyteCapacity = 0";
        let config = Section::parse(memory).read().into_result().unwrap();
        let memory = crate::channels::memory::Memory::open(config, context(Role::Channel));
        let memory = memory.await.unwrap();
        let more = format!("batchSize = {batch}");
        let source = contract::open_source::<SpoolDir>(&keys(dir.path(), &more), cx()).await;
        let (handle, stop) = Stop::new();
        let start = std::time::Instant::now();
        let task = tokio::spawn(source.run(splashdam_testkit::outlet(memory.clone()), stop));
        let mut taken = 0;
        while taken < count {
            let lease = memory.begin_take(Size::events(1000)).await.unwrap();
            taken += lease.batch().len();
            lease.commit().await.unwrap();
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{} files, batch {batch}: {:.0} events a second",
            files.len(),
            count as f64 / seconds
        );
        handle.stop();
        task.await.unwrap().unwrap();
    }
}

#[test]
fn headers_of_the_file_join_those_of_its_deserializer() {
    const SYNC: &[u8] = b"0123456789abcdef";
    let head = b"Obj\x01\x02\x16avro.schema\x10\"string\"\0";
    let file = [head, SYNC, b"\x02\x04\x02x", SYNC].concat();
    let dir = directory(&[("a", &file)]);
    let events = drain(&mut spooler(dir.path(), "basenameHeader = true\ndeserializer = AVRO"));
    assert_eq!(bodies(&events), ["\u{2}x"]);
    let header = |name: &str| events[0].headers.get(name).map(ToString::to_string);
    assert_eq!(header("basename").as_deref(), Some("a"));
    assert!(header("flume.avro.schema.hash").is_some());
}
