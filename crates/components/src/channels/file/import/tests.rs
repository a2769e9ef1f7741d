//! Imports that end early, at each step and again and again; what comes out is right all the same.

use std::fs;
use std::io;

use splashdam_config::Section;
use splashdam_core::metrics::Counters;
use splashdam_core::{Channel, Component, Context, Role, Shared, Size};
use splashdam_testkit::{bodies, context};
use tempfile::TempDir;

use super::super::FileChannel;
use super::super::config::Config;
use super::super::flume::Limits;
use super::super::flume::tests::keys::encrypt;
use splashdam_wal::storage::StorageFile;

use super::*;

struct Rig {
    dir: TempDir,
    config: Config,
    keys: String,
}

fn rig(directories: usize, more: &str) -> Rig {
    let dir = TempDir::new().unwrap();
    let path = dir.path().display();
    let data: Vec<_> = (0..directories).map(|n| format!("{path}/d{n}")).collect();
    let keys = format!(
        "checkpointDir = {path}/c\ndataDirs = {}\nmaxFileSize = 1048576\nminimumRequiredSpace = 1048576\nkeep-alive = 0\n{more}",
        data.join(",")
    );
    let config = read(&keys);
    Rig { dir, config, keys }
}

fn read(keys: &str) -> Config {
    Section::parse(keys).read::<Config>().into_result().unwrap()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("event {n}")).collect()
}

impl Rig {
    fn flume(&self, events: usize) {
        let places = self.config.of_flume(self.dir.path());
        let limits = Limits { log_bytes: 20_000, transaction_events: 7 };
        let all = numbers(events).into_iter().map(|body| Ok::<_, flume::Error>(Event::new(body)));
        flume::write(&places.checkpoint_dir, &places.data_dirs, limits, all).unwrap();
    }

    fn storages(&self) -> Vec<Arc<dyn Storage>> {
        let open = |path: &PathBuf| {
            Arc::new(splashdam_wal::storage::Disk::open(path).unwrap()) as Arc<dyn Storage>
        };
        self.config.directories(self.dir.path()).iter().map(open).collect()
    }

    fn import(&self, queue: &str, tell: Tell<'_>) -> Result<Option<Imported>, ImportError> {
        let places = self.config.of_flume(self.dir.path());
        let (options, keys) = self.config.settings().options(Arc::new(|_| {})).unwrap();
        let on_damage = self.config.settings().on_damage;
        let import = Import { queue, places: &places, keys: keys.as_deref(), on_damage, options };
        import.run(&self.storages(), tell)
    }

    async fn open(&self) -> Result<FileChannel, splashdam_core::OpenError> {
        self.open_as("c1").await
    }

    async fn open_as(&self, name: &str) -> Result<FileChannel, splashdam_core::OpenError> {
        let cx = Context {
            name: name.into(),
            shared: Shared::default(),
            counters: Counters::new(Role::Channel),
            ..context(Role::Channel)
        };
        FileChannel::open(read(&self.keys), cx).await
    }

    async fn drained(&self) -> Vec<String> {
        let channel = self.open().await.unwrap();
        let all = drain(&channel).await;
        channel.close().await.unwrap();
        all
    }

    /// Names and bytes of Flume's files.
    fn of_flume(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut all = Vec::new();
        for directory in fs::read_dir(self.dir.path()).unwrap() {
            for entry in fs::read_dir(directory.unwrap().path()).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_str().unwrap().starts_with("log-") {
                    all.push((path.clone(), fs::read(path).unwrap()));
                }
            }
        }
        all.sort();
        all
    }
}

async fn drain(channel: &FileChannel) -> Vec<String> {
    let mut all = Vec::new();
    while channel.level().queued.events > 0 {
        let taken = channel.begin_take(Size { events: 700, bytes: usize::MAX }).await.unwrap();
        all.extend(bodies(taken.batch().events()));
        taken.commit().await.unwrap();
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flume_left_comes_once_and_in_order() {
    for (directories, more) in [
        (1, ""),
        (3, ""),
        (1, "fsyncPerTransaction = false\ncompression = lz4"),
        // More than the channel holds.
        (1, "capacity = 100\ntransactionCapacity = 100"),
    ] {
        let rig = rig(directories, more);
        rig.flume(2500);
        let before = rig.of_flume();
        assert_eq!(rig.drained().await, numbers(2500), "{directories} {more}");
        assert_eq!(rig.drained().await, [""; 0], "it does not come again");
        assert_eq!(rig.of_flume(), before, "flume's files stay");
    }
}

/// Channels of one agent share `dataDirs`: what a Flume left there belongs to the one that has its checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_checkpoint_gives_way() {
    for has_sibling in [true, false] {
        let rig = rig(2, "");
        rig.flume(50);
        let checkpoint = rig.dir.path().join("c/checkpoint");
        if !checkpoint.exists() {
            // The start of one, which is as good as damaged: what was queued is then in the logs.
            fs::create_dir_all(checkpoint.parent().unwrap()).unwrap();
            fs::write(&checkpoint, 3u64.to_be_bytes()).unwrap();
        }
        let shared = Shared::default();
        let open = |name: &str, keys: String| {
            let cx = Context {
                name: name.into(),
                shared: shared.clone(),
                counters: Counters::new(Role::Channel),
                ..context(Role::Channel)
            };
            FileChannel::open(read(&keys), cx)
        };
        let elsewhere = rig.keys.replace("/c\n", "/elsewhere\n");
        let later = async {
            // Behind the other one's look.
            tokio::time::sleep(Duration::from_millis(20)).await;
            match has_sibling {
                true => Some(open("c1", rig.keys.clone()).await.unwrap()),
                false => None,
            }
        };
        let (new, own) = tokio::join!(open("new", elsewhere), later);
        let new = new.unwrap();
        match &own {
            Some(own) => {
                assert_eq!(drain(own).await, numbers(50));
                assert_eq!(drain(&new).await, [""; 0]);
                own.close().await.unwrap();
            }
            None => assert_eq!(drain(&new).await.len(), 50),
        }
        new.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_cut_off_anywhere_comes_once() {
    // Each step in turn, and a second cut at some step of the second try.
    let mut steps = 0;
    rig_of(2)
        .import("c1", &mut |_| {
            steps += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(steps > 8, "{steps}");
    for first in 0..steps {
        for second in [None, Some(5)] {
            let rig = rig_of(2);
            let mut discarded = 0;
            for end in [Some(first), second].into_iter().flatten() {
                let mut step = 0;
                let ended = rig.import("c1", &mut |told| {
                    if let Step::Discarded { events } = told {
                        discarded += events;
                    }
                    step += 1;
                    if step > end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
                // Behind the first mark it is done, and there is nothing left to be cut off.
                assert!(matches!(ended, Err(ImportError::Ended) | Ok(None)), "{first} {ended:?}");
            }
            assert_eq!(rig.drained().await, numbers(2500), "cut at {first}, then {second:?}");
            assert_eq!(rig.drained().await, [""; 0]);
        }
    }
}

fn rig_of(directories: usize) -> Rig {
    let rig = rig(directories, "");
    rig.flume(2500);
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_after_an_import_is_never_thrown_away() {
    // A process that is killed between the marks of two directories, and one that is not.
    for marks in [1, 9] {
        let rig = rig_of(2);
        let mut marked = 0;
        let done = rig.import("c1", &mut |told| {
            marked += usize::from(matches!(told, Step::Marked));
            if marked == marks { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(done.is_ok(), marks == 9);
        let channel = rig.open().await.unwrap();
        let batch = Batch::from(vec![Event::new("later")]);
        let put = channel.begin_put(batch.size()).await.unwrap();
        put.commit(batch).await.map_err(|refused| refused.error).unwrap();
        channel.close().await.unwrap();
        for place in ["d0", "d1"] {
            let names: Vec<_> = fs::read_dir(rig.dir.path().join(place))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            assert!(names.contains(&"splashdam.imported".to_owned()), "{names:?}");
            assert!(!names.contains(&"splashdam.importing".to_owned()), "{names:?}");
        }
        let mut expected = numbers(2500);
        expected.push("later".into());
        assert_eq!(rig.drained().await, expected, "{marks}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_over_is_refused_by_name() {
    let refusal = async |rig: &Rig, name: &str| {
        rig.open_as(name).await.map(drop).map_err(|error| error.to_string()).unwrap_err()
    };
    // Begun for another channel; then Flume's files are gone.
    let rig = rig_of(1);
    let cut = rig.import("c1", &mut |told| match told {
        Step::Begun { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(cut, Err(ImportError::Ended)), "{cut:?}");
    let error = refusal(&rig, "c2").await;
    assert!(error.contains("an import into channel c1 was cut off"), "{error}");
    for (path, _) in rig.of_flume() {
        fs::remove_file(path).unwrap();
    }
    let error = refusal(&rig, "c1").await;
    assert!(error.contains("flume's files are gone"), "{error}");
    // A marker that is damaged says so.
    fs::write(rig.dir.path().join("d0/splashdam.importing"), "splashdam import 1\nqueue c1")
        .unwrap();
    let error = refusal(&rig, "c1").await;
    assert!(error.contains("splashdam.importing cannot be read: a number is missing"), "{error}");
    fs::write(rig.dir.path().join("d0/splashdam.importing"), "splashdam import 2\n").unwrap();
    let error = refusal(&rig, "c1").await;
    assert!(error.contains("it is of another version"), "{error}");

    // The channel has events of its own, and Flume's data appear beside them.
    let rig = self::rig(1, "");
    let channel = rig.open().await.unwrap();
    let batch = Batch::from(vec![Event::new("own")]);
    let put = channel.begin_put(batch.size()).await.unwrap();
    put.commit(batch).await.map_err(|refused| refused.error).unwrap();
    channel.close().await.unwrap();
    rig.flume(3);
    let error = refusal(&rig, "c1").await;
    assert!(error.contains("channel c1 has 1 events of its own"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_passed_over_or_refused_as_the_policy_says() {
    for (policy, expected) in [("quarantine", Some(2499)), ("halt", None)] {
        let rig = rig(1, &format!("onDamage = {policy}"));
        rig.flume(2500);
        // A body that does not fit its checksum.
        let path = rig.dir.path().join("d0/log-2");
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(6).position(|window| window == b"event ").unwrap();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        match expected {
            Some(events) => {
                let imported =
                    rig.import("c1", &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
                assert_eq!((imported.events, imported.unreadable), (events, 1));
                assert_eq!(imported.damages.len(), 1);
                assert_eq!(rig.drained().await.len(), 2499);
            }
            None => {
                let error = rig.open().await.map(drop).unwrap_err().to_string();
                assert!(error.contains("log-2 is damaged at byte"), "{error}");
                let offline = rig.import("c1", &mut |_| ControlFlow::Continue(()));
                assert!(matches!(offline, Err(ImportError::Flume(_))), "{offline:?}");
            }
        }
    }
}

/// Who looks before he locks may be late.
#[test]
fn what_another_process_does_meanwhile_is_seen() {
    let rig = rig_of(2);
    let cut = rig.import("c1", &mut |told| match told {
        Step::Stored { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(cut, Err(ImportError::Ended)), "{cut:?}");
    let late = rig.import("c1", &mut |told| {
        assert!(!matches!(told, Step::Discarded { .. }), "what is imported is thrown away");
        if let Step::Found { .. } = told {
            let other = rig.import("c1", &mut |_| ControlFlow::Continue(()));
            assert_eq!(other.unwrap().unwrap().events, 2500);
        }
        ControlFlow::Continue(())
    });
    assert!(matches!(late, Err(ImportError::Failed(_))), "{late:?}");
    assert_eq!(rig.import("c1", &mut |_| ControlFlow::Continue(())).unwrap(), None);
}

#[test]
fn nobody_else_opens_the_log_until_it_is_marked() {
    let rig = rig_of(2);
    let mut asked = 0;
    let (options, _) = rig.config.settings().options(Arc::new(|_| {})).unwrap();
    let imported = rig.import("c1", &mut |told| {
        if matches!(told, Step::Stored { .. } | Step::Durable | Step::Marked) {
            let opened = Log::<Datums>::open(rig.storages(), &[], options.clone()).map(drop);
            assert!(matches!(opened, Err(wal::OpenError::Locked { .. })), "{told:?}: {opened:?}");
            asked += 1;
        }
        ControlFlow::Continue(())
    });
    assert_eq!(imported.unwrap().unwrap().events, 2500);
    assert!(asked > 4, "{asked}");
}

/// No checksum tells a wrong key from damage, which the policy would pass over.
#[tokio::test(flavor = "multi_thread")]
async fn another_secret_under_the_alias_imports_nothing_and_says_so() {
    let keys = TempDir::new().unwrap();
    let rig = rig(1, &super::super::tests::encryption(keys.path(), "key-0", "key-0"));
    rig.flume(2500);
    let (_, stored) = rig.config.settings().options(Arc::new(|_| {})).unwrap();
    let secret = stored.unwrap().secret("key-0").unwrap().bytes;
    let not_imported = |error: &ImportError| {
        let names = rig.storages()[0].list().unwrap();
        assert!(names.iter().all(|name| !name.starts_with("splashdam.import")), "{names:?}");
        error.to_string()
    };
    let other: Vec<u8> = secret.iter().map(|byte| !byte).collect();
    encrypt(&rig.dir.path().join("d0"), "key-0", &other);
    let refused = rig.import("c1", &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(not_imported(&refused).contains("is encrypted with key key-0: nothing"), "{refused}");
    // Back, and with the right one.
    encrypt(&rig.dir.path().join("d0"), "key-0", &other);
    encrypt(&rig.dir.path().join("d0"), "key-0", &secret);
    assert_eq!(rig.drained().await, numbers(2500));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_damage_is_no_import() {
    let rig = rig(1, "");
    rig.flume(5);
    for (path, _) in rig.of_flume() {
        let mut bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            if bytes[at..].starts_with(b"event ") {
                bytes[at] ^= 1;
            }
        }
        fs::write(path, bytes).unwrap();
    }
    let error = rig.open().await.map(drop).unwrap_err().to_string();
    assert!(error.contains("5 queued events and 0 places in its logs are damaged, the"), "{error}");
    let flumes: Vec<_> = ["d0", "c"].iter().map(|name| rig.dir.path().join(name)).collect();
    for directory in flumes {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(!name.starts_with("splashdam.import"), "{name}");
            if name.starts_with("log-") || name.contains("checkpoint") {
                fs::remove_file(path).unwrap();
            }
        }
    }
    assert_eq!(rig.drained().await, [""; 0], "without them it opens");
}

#[test]
fn a_marker_reads_back_and_no_part_of_it_does() {
    let trace = Trace::of(&[]);
    let marker = Marker { queue: "c 1".into(), trace };
    let rig = rig(1, "");
    let storages = rig.storages();
    assert_eq!(Before::look(&storages).unwrap(), Before::Nothing);
    marker.begun(&storages).unwrap();
    assert_eq!(Before::look(&storages).unwrap(), Before::Begun(marker.clone()));
    let path = rig.dir.path().join("d0/splashdam.importing");
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() - 1 {
        fs::write(&path, &whole[..length]).unwrap();
        let cut = Before::look(&storages);
        assert!(matches!(cut, Err(ImportError::Marker { .. })), "{length}: {cut:?}");
    }
    marker.done(&storages, &mut || Ok(())).unwrap();
    assert_eq!(Before::look(&storages).unwrap(), Before::Done(marker));
}

/// A directory that writes down what is done to it.
struct Watched {
    disk: splashdam_wal::storage::Disk,
    acts: Arc<Mutex<Vec<String>>>,
}

struct WatchedFile {
    file: Arc<dyn StorageFile>,
    name: String,
    acts: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    fn act(&self, what: &str, name: &str) {
        let place = self.disk.place();
        let place = place.rsplit('/').next().unwrap();
        self.acts.lock().unwrap().push(format!("{place}: {what} {name}"));
    }
}

impl Storage for Watched {
    fn place(&self) -> String {
        self.disk.place()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let place = self.disk.place();
        let name_of = format!("{}/{name}", place.rsplit('/').next().unwrap());
        let file = self.disk.create(name)?;
        Ok(Arc::new(WatchedFile { file, name: name_of, acts: self.acts.clone() }))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.disk.open(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.act("rename to", to);
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.act("remove", name);
        self.disk.remove(name)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.act("sync names", "");
        self.disk.sync_dir()
    }
    fn lock(&self, name: &str) -> io::Result<Box<dyn std::any::Any + Send + Sync>> {
        self.disk.lock(name)
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

impl StorageFile for WatchedFile {
    fn write_at(&self, parts: &[io::IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.acts.lock().unwrap().push(format!("write {}", self.name));
        self.file.write_at(parts, offset)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.acts.lock().unwrap().push(format!("sync {}", self.name));
        self.file.sync_data()
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

/// What a power failure takes away is only what was not synced: each mark must be durable before
/// what depends on it.
#[test]
fn marks_are_durable_before_what_depends_on_them() {
    let rig = rig_of(2);
    let acts: Arc<Mutex<Vec<String>>> = Arc::default();
    let storages: Vec<Arc<dyn Storage>> = rig
        .config
        .directories(rig.dir.path())
        .iter()
        .map(|path| {
            let disk = splashdam_wal::storage::Disk::open(path).unwrap();
            Arc::new(Watched { disk, acts: acts.clone() }) as Arc<dyn Storage>
        })
        .collect();
    let places = rig.config.of_flume(rig.dir.path());
    let (options, _) = rig.config.settings().options(Arc::new(|_| {})).unwrap();
    let on_damage = OnDamage::Quarantine;
    let import = Import { queue: "c1", places: &places, keys: None, on_damage, options };
    let note = |what: &str| acts.lock().unwrap().push(what.to_owned());
    import
        .run(&storages, &mut |step| {
            match step {
                Step::Begun { .. } => note("BEGUN"),
                Step::Stored { .. } => note("STORED"),
                Step::Durable => note("DURABLE"),
                Step::Done(_) => note("DONE"),
                _ => {}
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    let acts = acts.lock().unwrap();
    let at = |act: &str| {
        acts.iter().position(|done| done == act).unwrap_or_else(|| panic!("no {act}: {acts:?}"))
    };
    for (mark, before, after) in
        [("splashdam.importing", None, "BEGUN"), ("splashdam.imported", Some("DURABLE"), "DONE")]
    {
        for place in ["d0", "d1"] {
            let renamed = at(&format!("{place}: rename to {mark}"));
            // The log's own threads write and sync beside the first mark.
            let written = |what: &str| {
                let name = format!("{what} {place}/splashdam.import-new");
                acts[..renamed].iter().rposition(|act| *act == name)
            };
            assert!(written("sync") > written("write"), "{acts:?}");
            let kept =
                acts[renamed..].iter().position(|act| *act == format!("{place}: sync names "));
            assert!(kept.is_some_and(|kept| renamed + kept < at(after)), "{acts:?}");
            assert!(before.is_none_or(|before| at(before) < renamed), "{acts:?}");
        }
    }
    // No directory forgets that it began before all know that it is done.
    let forgotten = at("d0: remove splashdam.importing");
    assert!(at("d1: rename to splashdam.imported") < forgotten, "{acts:?}");
    // All that was written into segments was synced before the import counted as durable.
    let durable = at("DURABLE");
    let stored = acts[..durable].iter().rposition(|act| act == "STORED").unwrap();
    for written in acts[..stored].iter().filter_map(|act| act.strip_prefix("write ")) {
        let last = |what: &str, until: usize| {
            acts[..until].iter().rposition(|act| *act == format!("{what} {written}"))
        };
        assert!(last("sync", durable) > last("write", stored), "{written}: {acts:?}");
    }
    drop(acts);
}
