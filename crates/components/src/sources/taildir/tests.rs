use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use splashdam_core::{Event, Role};
use splashdam_testkit::contract::{self, Running, run_source};
use splashdam_testkit::fakes::{Collector, bodies, context};
use tempfile::TempDir;
use tokio::time::sleep;

use super::*;

mod crashes;
mod descriptors;
mod hidden;
mod mistakes;
mod prompt;
mod vanished;

/// A directory with logs, a position file beside it, and a source at work on them.
struct Rig {
    dir: TempDir,
    keys: String,
    collector: Collector,
    running: Option<Running>,
}

/// Everything in `logs` that begins with `a`.
const ALL_A: &str = "filegroups = g\nfilegroups.g = DIR/logs/a.*\npositionFile = DIR/p.json\n";

impl Rig {
    fn new(more_keys: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        let keys = format!("{ALL_A}{more_keys}").replace("DIR", &dir.path().display().to_string());
        Rig { dir, keys, collector: Collector::new(), running: None }
    }

    async fn started(more_keys: &str) -> Self {
        let mut rig = Rig::new(more_keys);
        rig.start().await;
        rig
    }

    async fn start(&mut self) {
        let source = reopen(&self.keys).await;
        self.running = Some(run_source(source, &self.collector));
    }

    async fn stop(&mut self) {
        self.running.take().unwrap().stop().await.unwrap();
    }

    async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("logs").join(name)
    }

    fn append(&self, name: &str, text: &str) {
        append(&self.path(name), text);
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Copies and empties, as logrotate does.
    fn copytruncate(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
        OpenOptions::new().write(true).truncate(true).open(self.path(from)).unwrap();
    }

    /// Waits for so many events and a little longer, in case more come.
    async fn expect(&self, want: &[&str]) {
        self.collector.wait_for(want.len()).await;
        sleep(Duration::from_millis(60)).await;
        assert_eq!(self.collector.bodies(), want);
    }

    /// The same, where files of different names come in no certain order.
    async fn expect_any_order(&self, want: &[&str]) {
        self.collector.wait_for(want.len()).await;
        sleep(Duration::from_millis(60)).await;
        let (mut got, mut want) = (self.collector.bodies(), want.to_vec());
        got.sort();
        want.sort_unstable();
        assert_eq!(got, want);
    }

    fn metric(&self, read: impl Fn(&splashdam_core::metrics::SourceMetrics) -> u64) -> u64 {
        read(self.running.as_ref().unwrap().outlet.metrics())
    }
}

/// Opens a source once the one before has let go of its position file, which may be being written.
async fn reopen(keys: &str) -> Taildir {
    for _ in 0..400 {
        let config = Section::parse(keys).read().into_result().unwrap();
        match Taildir::open(config, context(Role::Source)).await {
            Ok(source) => return source,
            Err(OpenError::Unavailable(why)) if why.to_string().contains("in use") => {
                sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the position file stays in use");
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Long enough that a common start is no accident.
fn lines(from: usize, to: usize) -> String {
    (from..to).map(|n| format!("line {n:06} of a log with lines of fifty bytes, or so\n")).collect()
}

fn line_bodies(from: usize, to: usize) -> Vec<String> {
    lines(from, to).lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    append(&dir.path().join("a"), &lines(0, 1000));
    let keys =
        format!("filegroups = g\nfilegroups.g = {0}/a\npositionFile = {0}/p", dir.path().display());
    // Each run begins anew, so that the last one has something to be refused.
    let cx = || {
        drop(fs::remove_file(dir.path().join("p")));
        context(Role::Source)
    };
    contract::source_stops::<Taildir>(&keys, cx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_a_file_from_its_start() {
    let rig = Rig::started("").await;
    rig.append("a", "one\ntwo\r\n\nthr");
    rig.append("other", "no\n");
    rig.expect(&["one", "two", ""]).await;
    rig.append("a", "ee\n");
    rig.expect(&["one", "two", "", "three"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_set_as_in_flume() {
    let keys =
        "headers.g.k.l = v\nfileHeader = true\nfileHeaderKey = path\nbyteOffsetHeader = true";
    let rig = Rig::started(keys).await;
    rig.append("a", "one\r\ntwo\n");
    let events = rig.collector.wait_for(2).await;
    let path = rig.path("a").display().to_string();
    let headers = |offset: &str| {
        [("k.l", "v"), ("path", path.as_str()), ("byteoffset", offset)].into_iter().collect()
    };
    let want = [("one", "0"), ("two", "5")];
    let want = want.map(|(body, offset)| Event { headers: headers(offset), body: body.into() });
    assert_eq!(events, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_where_it_was() {
    let mut rig = Rig::started("").await;
    rig.append("a", "one\ntwo\npart");
    rig.expect(&["one", "two"]).await;
    rig.stop().await;
    let text = fs::read_to_string(rig.dir.path().join("p.json")).unwrap();
    let (inode, path) = (fs::metadata(rig.path("a")).unwrap().ino(), rig.path("a"));
    assert_eq!(text, format!(r#"[{{"inode":{inode},"pos":8,"file":"{}"}}]"#, path.display()));
    rig.append("a", "ial\nthree\n");
    rig.start().await;
    rig.expect(&["one", "two", "partial", "three"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_from_flumes_position_file() {
    let mut rig = Rig::new("");
    for name in ["a1", "a2", "a3"] {
        rig.append(name, "one\ntwo\nthree\n");
    }
    let inode = |name| fs::metadata(rig.path(name)).unwrap().ino();
    let entry = |inode: u64, pos: u64, name| {
        format!(r#"{{"inode":{inode},"pos":{pos},"file":"{}"}}"#, rig.path(name).display())
    };
    // One as it is, one renamed since, one that was shortened.
    let entries =
        [entry(inode("a1"), 4, "a1"), entry(inode("a2"), 8, "old"), entry(inode("a3"), 99, "a3")];
    fs::write(rig.dir.path().join("p.json"), format!("[{}]", entries.join(","))).unwrap();
    rig.start().await;
    rig.expect_any_order(&["two", "three", "three", "one", "two", "three"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn skip_to_end_is_for_files_at_the_start() {
    let mut rig = Rig::new("skipToEnd = true");
    rig.append("a1", "old\n");
    rig.start().await;
    sleep(Duration::from_millis(50)).await;
    rig.append("a1", "new\n");
    rig.expect(&["new"]).await;
    rig.append("a2", "all\n");
    rig.expect(&["new", "all"]).await;
}

/// Every rotation, with the source running and with the source stopped while it happens.
async fn rotation(name: &str, rotate: impl Fn(&Rig), before: usize, after: usize) {
    for stopped in [false, true] {
        let mut rig = Rig::new("");
        rig.append("a.log", &lines(0, before));
        rig.start().await;
        rig.collector.wait_for(before).await;
        if stopped {
            rig.stop().await;
        }
        rotate(&rig);
        if stopped {
            rig.start().await;
        }
        let mut got = bodies(&rig.collector.wait_for(after).await);
        sleep(Duration::from_millis(100)).await;
        got.extend(rig.collector.bodies().drain(got.len()..));
        got.sort();
        assert_eq!(got, line_bodies(0, after), "{name}, stopped meanwhile: {stopped}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renamed_within_the_pattern() {
    let rotate = |rig: &Rig| {
        rig.append("a.log", &lines(100, 110));
        rig.rename("a.log", "a.log.1");
        rig.append("a.log.1", &lines(110, 120));
    };
    rotation("rename within", rotate, 100, 120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renamed_out_of_the_pattern() {
    let rotate = |rig: &Rig| {
        rig.append("a.log", &lines(100, 110));
        rig.rename("a.log", "old.log");
        rig.append("old.log", &lines(110, 120));
    };
    rotation("rename out", rotate, 100, 120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renamed_and_made_anew() {
    let rotate = |rig: &Rig| {
        rig.append("a.log", &lines(100, 110));
        rig.rename("a.log", "a.log.1");
        rig.append("a.log", &lines(110, 130));
        rig.append("a.log", &lines(130, 140));
    };
    rotation("rename and recreate", rotate, 100, 140).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_and_truncated_and_short() {
    let rotate = |rig: &Rig| {
        rig.append("a.log", &lines(100, 110));
        rig.copytruncate("a.log", "a.log.1");
        rig.append("a.log", &lines(110, 120));
    };
    rotation("copytruncate, shorter", rotate, 100, 120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_and_truncated_and_grown_past() {
    let rotate = |rig: &Rig| {
        rig.append("a.log", &lines(100, 110));
        rig.copytruncate("a.log", "a.log.1");
        rig.append("a.log", &lines(110, 400));
    };
    rotation("copytruncate, longer", rotate, 100, 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn emptied_under_a_writer_that_does_not_append() {
    let rotate = |rig: &Rig| {
        fs::copy(rig.path("a.log"), rig.path("a.log.1")).unwrap();
        let file = OpenOptions::new().write(true).truncate(true).open(rig.path("a.log")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, lines(100, 200).as_bytes(), 5000).unwrap();
    };
    rotation("hole", rotate, 100, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_slowly_and_truncated() {
    let rotate = |rig: &Rig| {
        let content = fs::read(rig.path("a.log")).unwrap();
        for part in content.chunks(content.len() / 7) {
            append(&rig.path("a.log.1"), std::str::from_utf8(part).unwrap());
            std::thread::sleep(Duration::from_millis(30));
        }
        File::create(rig.path("a.log")).unwrap();
        rig.append("a.log", &lines(100, 120));
    };
    rotation("slow copytruncate", rotate, 100, 120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_and_made_anew() {
    // On most file systems the new file has the old one's inode.
    let rotate = |rig: &Rig| {
        fs::remove_file(rig.path("a.log")).unwrap();
        rig.append("a.log", &lines(100, 300));
    };
    rotation("delete and recreate", rotate, 100, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_line_across_a_rotation() {
    let rotate = |rig: &Rig| {
        let text = lines(100, 101);
        let (first, second) = text.split_at(20);
        rig.append("a.log", first);
        rig.rename("a.log", "a.log.1");
        rig.append("a.log", &lines(101, 102));
        std::thread::sleep(Duration::from_millis(50));
        rig.append("a.log.1", second);
    };
    rotation("partial line", rotate, 100, 102).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_files_swap_names() {
    for stopped in [false, true] {
        let mut rig = Rig::started("").await;
        rig.append("a1", &lines(0, 10));
        rig.append("a2", &lines(10, 20));
        rig.collector.wait_for(20).await;
        if stopped {
            rig.stop().await;
        }
        rig.rename("a1", "tmp");
        rig.rename("a2", "a1");
        rig.rename("tmp", "a2");
        rig.append("a1", &lines(20, 30));
        rig.append("a2", &lines(30, 40));
        if stopped {
            rig.start().await;
        }
        let mut got = bodies(&rig.collector.wait_for(40).await);
        sleep(Duration::from_millis(60)).await;
        got.sort();
        assert_eq!((got, rig.collector.events().len()), (line_bodies(0, 40), 40));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_copy_is_a_file_of_its_own() {
    let rig = Rig::started("").await;
    rig.append("a1", &lines(0, 10));
    rig.collector.wait_for(10).await;
    fs::copy(rig.path("a1"), rig.path("a2")).unwrap();
    assert_eq!(rig.collector.wait_for(20).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_common_first_line_is_no_copy() {
    let rig = Rig::started("").await;
    rig.append("a1", "id,name\n");
    rig.expect(&["id,name"]).await;
    rig.append("a2", "id,name\n1,x\n");
    rig.expect(&["id,name", "id,name", "1,x"]).await;
    rig.append("a3", "id,name\n");
    rig.expect(&["id,name", "id,name", "1,x", "id,name"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_removed_is_read_to_its_end() {
    let mut rig = Rig::started("").await;
    rig.append("a", "one\n");
    rig.expect(&["one"]).await;
    let mut open = OpenOptions::new().append(true).open(rig.path("a")).unwrap();
    open.write_all(b"two\n").unwrap();
    fs::remove_file(rig.path("a")).unwrap();
    open.write_all(b"three\nlast").unwrap();
    rig.expect(&["one", "two", "three"]).await;
    rig.stop().await;
    rig.expect(&["one", "two", "three", "last"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_file_gives_its_last_line() {
    let rig = Rig::started("idleTimeout = 150").await;
    rig.append("a", "one\npart");
    rig.expect(&["one", "part"]).await;
    rig.append("a", "\n");
    rig.append("a", "two\nxy");
    rig.expect(&["one", "part", "two", "xy"]).await;
    rig.append("a", "z\n");
    rig.expect(&["one", "part", "two", "xy", "z"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_in_parts_is_remembered_over_a_restart() {
    let mut rig = Rig::started("maxLineLength = 4\nlongLines = truncate").await;
    rig.append("a", "one\nabcdefgh");
    rig.expect(&["one", "abcd"]).await;
    rig.restart().await;
    rig.append("a", "ijk\ntwo\n");
    rig.expect(&["one", "abcd", "two"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_longer_than_memory_passes_in_parts() {
    for (long, events, dropped) in [("split", 41, 0), ("truncate", 2, 1), ("skip", 1, 1)] {
        let mut rig = Rig::new(&format!("maxLineLength = 1000000\nlongLines = {long}"));
        let mut file = File::create(rig.path("a")).unwrap();
        for _ in 0..40 {
            file.write_all(&vec![b'x'; 1_000_000]).unwrap();
        }
        file.write_all(b"\nshort\n").unwrap();
        rig.start().await;
        let got = rig.collector.wait_for(events).await;
        assert_eq!(got.last().unwrap().body, "short", "{long}");
        assert_eq!(got.len(), events, "{long}");
        let bytes: usize = got.iter().map(|e| e.body.len()).sum();
        assert_eq!(bytes, (events - 1) * 1_000_000 + 5);
        assert_eq!(rig.metric(|m| m.events_dropped.value()), dropped, "{long}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_full_when_there_is_enough() {
    // Few enough to be read before what there is must be sent (`LATE`), on a slow machine too.
    let mut rig = Rig::new("batchSize = 700");
    rig.append("a", &lines(0, 2000));
    rig.start().await;
    rig.collector.wait_for(2000).await;
    let sizes: Vec<usize> =
        rig.collector.batches().iter().map(splashdam_core::Batch::len).collect();
    assert_eq!(sizes, [700, 700, 600]);
    assert_eq!(rig.collector.bodies(), line_bodies(0, 2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_batches_are_neither_lost_nor_repeated() {
    let mut rig = Rig::new("batchSize = 10\nmaxBackoffSleep = 20");
    rig.append("a", &lines(0, 100));
    rig.collector.refuse(5);
    rig.collector.fail_commits(5);
    rig.start().await;
    rig.collector.wait_for(100).await;
    assert_eq!(rig.collector.bodies(), line_bodies(0, 100));
    // Refused to the end: the position stays where the channel is.
    rig.collector.refuse(usize::from(u16::MAX));
    rig.append("a", &lines(100, 200));
    sleep(Duration::from_millis(100)).await;
    rig.stop().await;
    rig.collector = {
        let taken = Collector::new();
        assert_eq!(rig.collector.events().len(), 100);
        taken
    };
    rig.start().await;
    rig.collector.wait_for(100).await;
    assert_eq!(rig.collector.bodies(), line_bodies(100, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_file_does_not_hold_up_another() {
    let mut rig = Rig::new("batchSize = 1000");
    let many = lines(0, 20_000);
    for _ in 0..10 {
        rig.append("a1", &many);
    }
    rig.append("a2", "quick\n");
    rig.start().await;
    rig.collector.wait_for(200_001).await;
    let events = rig.collector.events();
    let place = events.iter().position(|e| e.body == "quick").unwrap();
    assert!(place < 100_000, "{place}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_files() {
    let mut rig = Rig::new("batchSize = 1000\nfileHeader = true");
    for n in 0..10_000 {
        fs::write(rig.path(&format!("a{n}")), format!("{n}\n")).unwrap();
    }
    rig.start().await;
    rig.collector.wait_for(10_000).await;
    rig.append("a77", "more\n");
    rig.collector.wait_for(10_001).await;
    rig.restart().await;
    rig.append("a4711", "and more\n");
    let events = rig.collector.wait_for(10_002).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(rig.collector.events().len(), 10_002);
    assert_eq!(events.last().unwrap().body, "and more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_comes_late_goes_and_comes_back() {
    let mut rig = Rig::new("maxBackoffSleep = 50");
    fs::remove_dir(rig.path("")).unwrap();
    rig.start().await;
    sleep(Duration::from_millis(50)).await;
    fs::create_dir(rig.path("")).unwrap();
    rig.append("a", "one\n");
    rig.expect(&["one"]).await;
    fs::rename(rig.path(""), rig.dir.path().join("away")).unwrap();
    sleep(Duration::from_millis(150)).await;
    rig.restart().await;
    sleep(Duration::from_millis(100)).await;
    fs::rename(rig.dir.path().join("away"), rig.path("")).unwrap();
    rig.append("a", "two\n");
    rig.expect(&["one", "two"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_directory_is_made_on_request() {
    let mut rig = Rig::new("createDirectories = true");
    fs::remove_dir(rig.path("")).unwrap();
    rig.start().await;
    rig.append("a", "one\n");
    rig.expect(&["one"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_be_read_does_not_stop_the_others() {
    let mut rig = Rig::new("maxBackoffSleep = 50");
    rig.append("a1", "secret\n");
    fs::set_permissions(rig.path("a1"), fs::Permissions::from_mode(0o000)).unwrap();
    let root = File::open(rig.path("a1")).is_ok();
    rig.append("a2", "open\n");
    rig.start().await;
    if !root {
        rig.expect(&["open"]).await;
        assert!(rig.metric(|m| m.read_failures.value()) > 0);
    }
    fs::set_permissions(rig.path("a1"), fs::Permissions::from_mode(0o600)).unwrap();
    rig.expect_any_order(&["open", "secret"]).await;
}

#[tokio::test]
async fn what_is_neither_file_nor_line_is_harmless() {
    let rig = Rig::started("").await;
    fs::create_dir(rig.path("a.dir")).unwrap();
    symlink(rig.path("nowhere"), rig.path("a.dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(rig.path("a.socket")).unwrap();
    fs::write(rig.path("a.bin"), b"\0\xff\xfe\n\xc3\n").unwrap();
    let events = rig.collector.wait_for(2).await;
    assert_eq!(events[0].body, b"\0\xff\xfe".as_slice());
}
