//! The directories of Flume's file channel: what real Flume left is read as Flume itself would deliver it, and what we
//! write is what Flume delivers.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use splashdam_components::channels::file::flume::{
    self, Counts, Error, FlumeChannel, Limits, OnDamage, Origin, Queue,
};
use splashdam_components::channels::file::offline::{self, Stored};
use splashdam_components::channels::file::{Config, Step};
use splashdam_components::jceks::KeyStore;
use splashdam_config::Section;
use splashdam_core::Event;
use splashdam_interop::Peers;
use splashdam_interop::file_channel::FileChannelDriver;

use crate::side_by_side::{Turn, is_set};

/// Directories of a channel under one folder, which can be copied.
struct Rig {
    root: tempfile::TempDir,
    driver: FileChannelDriver,
    data_dirs: usize,
    dual: bool,
    /// The key store's folder.
    encrypted: bool,
    more: Vec<String>,
    _turn: Turn,
}

fn rig() -> Option<Rig> {
    let turn = Turn::take();
    match Peers::available() {
        Ok(peers) => {
            let root = tempfile::tempdir().expect("a temporary directory");
            let driver = FileChannelDriver::compile(&peers, root.path()).expect("a driver");
            let (dual, encrypted, more) = (false, false, Vec::new());
            Some(Rig { root, driver, data_dirs: 1, dual, encrypted, more, _turn: turn })
        }
        Err(missing) => {
            assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
            eprintln!("skipped: {missing}");
            None
        }
    }
}

impl Rig {
    fn dir(&self, site: &str, name: &str) -> PathBuf {
        self.root.path().join(site).join(name)
    }

    fn data(&self, site: &str) -> Vec<PathBuf> {
        (0..self.data_dirs).map(|n| self.dir(site, &format!("d{n}"))).collect()
    }

    fn properties(&self, site: &str) -> Vec<String> {
        let data: Vec<_> = self.data(site).iter().map(|dir| dir.display().to_string()).collect();
        let mut properties = vec![
            format!("checkpointDir={}", self.dir(site, "c").display()),
            format!("dataDirs={}", data.join(",")),
            "checkpointInterval=1000000".to_owned(),
            "minimumRequiredSpace=1048576".to_owned(),
        ];
        if self.dual {
            properties.push("useDualCheckpoints=true".to_owned());
            properties.push(format!("backupCheckpointDir={}", self.dir(site, "b").display()));
        }
        if self.encrypted {
            let root = self.root.path().display();
            properties.extend([
                "encryption.keyProvider=JCEKSFILE".to_owned(),
                "encryption.cipherProvider=AESCTRNOPADDING".to_owned(),
                "encryption.activeKey=key-1".to_owned(),
                format!("encryption.keyProvider.keyStoreFile={root}/keys"),
                format!("encryption.keyProvider.keyStorePasswordFile={root}/password"),
                "encryption.keyProvider.keys=key-1".to_owned(),
            ]);
        }
        properties.extend(self.more.iter().cloned());
        properties
    }

    fn run(&self, site: &str, steps: &str) -> Result<Vec<String>> {
        self.driver.run(&self.properties(site), steps)
    }

    fn find(&self, site: &str) -> Result<FlumeChannel> {
        let backup = self.dir(site, "b");
        let backup = self.dual.then_some(backup.as_path());
        FlumeChannel::find(&self.dir(site, "c"), backup, &self.data(site))?.context("a channel")
    }

    fn read(&self, site: &str) -> Result<Queue> {
        let (file, password) = (self.root.path().join("keys"), "storePassword");
        let keys = |alias: &str| KeyStore::read(&file, password)?.secret_key(alias, password);
        let keys: Option<flume::Keys<'_>> = if self.encrypted { Some(&keys) } else { None };
        Ok(self.find(site)?.read(keys, OnDamage::Stop, &mut |_| {})?)
    }

    /// Reads the channel in `made`, and lets Flume drain a copy of it: both must yield the same. Answers how many
    /// events that were, and what the replay counted.
    fn compare(&self, begin: fn(&Origin) -> bool) -> Result<(usize, Counts)> {
        let before = listing(&self.dir("made", ""))?;
        let queue = self.read("made")?;
        ensure!(begin(&queue.origin), "began with {:?}", queue.origin);
        let counts = queue.counts;
        let ours: Vec<String> = queue
            .into_events()
            .map(|event| event.map(|event| shown(&event)))
            .collect::<Result<_, _>>()?;
        ensure!(listing(&self.dir("made", ""))? == before, "reading changed the directory");
        copy(&self.dir("made", ""), &self.dir("copy", ""))?;
        let theirs = self.run("copy", "drain stop")?;
        // What was in flight goes first, in no order at all in Flume.
        let returned = usize::try_from(counts.returned)?;
        // Flume returns what was in flight at the checkpoint although it was rolled back, taken again and committed
        // since. Such events are older than all that is left, and come first.
        let have: HashSet<&String> = ours.iter().collect();
        let again = theirs.iter().take_while(|event| !have.contains(event)).count();
        ensure!(again <= 100, "{again} events that only flume has, more than a transaction");
        let newer =
            theirs[..again].iter().find(|event| ours.first().is_none_or(|first| *event > first));
        ensure!(newer.is_none(), "only flume has {newer:?}");
        let theirs = &theirs[again..];
        ensure!(ours.len() == theirs.len(), "{} events, flume has {}", ours.len(), theirs.len());
        let sorted = |lines: &[String]| {
            let mut lines = lines.to_vec();
            lines.sort();
            lines
        };
        ensure!(sorted(&ours[..returned]) == sorted(&theirs[..returned]), "other events in flight");
        let differ = (returned..ours.len()).find(|&at| ours[at] != theirs[at]);
        ensure!(differ.is_none(), "event {differ:?} differs");
        Ok((ours.len(), counts))
    }
}

impl Rig {
    /// Lets a channel of ours with Flume's own keys take a copy of `made` over, cut off on its way as often as `cuts`
    /// says, and Flume drain another copy: both must yield the same. Then Flume must drain what we write for it.
    /// Answers how many events that were.
    fn take_over(&self, cuts: u64) -> Result<usize> {
        for site in ["copy", "mine", "back"] {
            fs::remove_dir_all(self.dir(site, "")).ok();
        }
        copy(&self.dir("made", ""), &self.dir("copy", ""))?;
        let theirs = self.run("copy", "drain stop")?;
        copy(&self.dir("made", ""), &self.dir("mine", ""))?;
        let keys = Section::parse(&self.properties("mine").join("\n"));
        let config = keys.read::<Config>().value.context("flume's keys are ours")?;
        let home = self.root.path();
        for cut in 1..=cuts {
            let mut stored = 0;
            let ended = offline::import(&config, home, "c1", false, &mut |step| {
                stored += u64::from(matches!(step, Step::Begun { .. } | Step::Stored { .. }));
                if stored >= cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            ensure!(ended.is_err(), "cut {cut} came too late");
        }
        let go_on = &mut |_: Step<'_>| ControlFlow::Continue(());
        let imported = offline::import(&config, home, "c1", false, go_on)?.context("a channel")?;
        ensure!(offline::import(&config, home, "c1", false, go_on)?.is_none(), "taken over twice");
        let stored = Stored::open(&config, home, false)?;
        let mut ours = Vec::new();
        let passed = stored.events(stored.queue(Some("c1"))?, |_, event| {
            ours.push(shown(&event));
            ControlFlow::Continue(())
        });
        ensure!(passed.whole() && passed.events == imported.events, "{passed:?}");
        let returned = usize::try_from(imported.counts.returned)?;
        let sorted = |lines: &[String]| {
            let mut lines = lines.to_vec();
            lines.sort();
            lines
        };
        ensure!(ours.len() == theirs.len(), "{} events, flume has {}", ours.len(), theirs.len());
        ensure!(sorted(&ours[..returned]) == sorted(&theirs[..returned]), "other events in flight");
        ensure!(ours[returned..] == theirs[returned..], "other events, or in another order");
        stored.export_flume(0, &self.dir("back", "c"), &self.data("back"), |_| {})?;
        drop(stored);
        ensure!(self.run("back", "drain stop")? == ours, "flume drains something else");
        Ok(ours.len())
    }
}

#[test]
fn what_flume_left_is_taken_over_once_and_carried_back() -> Result<()> {
    let Some(mut rig) = rig() else { return Ok(()) };
    rig.run("made", MIXED)?;
    ensure!(rig.take_over(2)? == 197);
    fs::remove_dir_all(rig.dir("made", "c"))?;
    ensure!(rig.take_over(0)? == 197, "without a checkpoint");
    fs::remove_dir_all(rig.dir("made", ""))?;
    (rig.data_dirs, rig.dual) = (3, true);
    rig.more = vec!["maxFileSize=20000".to_owned()];
    rig.run("made", MIXED)?;
    rig.run("made", MIXED)?;
    ensure!(rig.take_over(1)? == 394, "several directories, dual checkpoints");
    fs::remove_dir_all(rig.dir("made", ""))?;
    (rig.data_dirs, rig.dual) = (1, false);
    rig.more.clear();
    make_key(&rig)?;
    rig.encrypted = true;
    rig.run("made", MIXED)?;
    ensure!(rig.take_over(1)? == 197, "encrypted");
    Ok(())
}

/// As the driver shows events.
fn shown(event: &Event) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut line = hex(&event.body);
    // Java orders strings by their UTF-16 units.
    let headers: BTreeMap<Vec<u16>, _> = event
        .headers
        .iter()
        .map(|(name, value)| (name.encode_utf16().collect(), (name, value)))
        .collect();
    for (name, value) in headers.values() {
        line.push_str(&format!(" {}={}", hex(name.as_bytes()), hex(value.as_bytes())));
    }
    line
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}

/// Names, lengths and times of change.
fn listing(dir: &Path) -> Result<Vec<(PathBuf, u64, std::time::SystemTime)>> {
    let about = |path: PathBuf| {
        let about = fs::metadata(&path)?;
        Ok((path, about.len(), about.modified()?))
    };
    files(dir)?.into_iter().map(about).collect()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    for file in files(from)? {
        let target = to.join(file.strip_prefix(from)?);
        fs::create_dir_all(target.parent().context("a parent")?)?;
        fs::copy(&file, target)?;
    }
    Ok(())
}

const CHECKPOINT: fn(&Origin) -> bool = |origin| matches!(origin, Origin::Checkpoint);
const BACKUP: fn(&Origin) -> bool = |origin| matches!(origin, Origin::Backup(_));
const LOGS: fn(&Origin) -> bool = |origin| matches!(origin, Origin::Logs(_));

/// Puts, takes, rollbacks, a checkpoint in the middle, and an end without farewell.
const MIXED: &str = "put 100 50 put 3 0 unput 5 50 take 20 rollback 10 put 50 2000 checkpoint \
                     put 70 30 take 15 rollback 5 unput 3 9 put 9 100 holdput 4 halt";

#[test]
fn reads_what_flume_left() -> Result<()> {
    let Some(mut rig) = rig() else { return Ok(()) };
    let check = |name: &str, rig: &mut Rig, steps: &[&str], begin, events| -> Result<Counts> {
        for site in ["made", "copy"] {
            fs::remove_dir_all(rig.dir(site, "")).ok();
        }
        for steps in steps {
            rig.run("made", steps).context(name.to_owned())?;
        }
        let (got, counts) = rig.compare(begin).context(name.to_owned())?;
        ensure!(got == events, "{name}: {got} events");
        Ok(counts)
    };
    check("plain", &mut rig, &["put 1000 512 put 10 1 stop halt"], CHECKPOINT, 1010)?;
    check(
        "killed without a checkpoint of its own",
        &mut rig,
        &["put 30 5 take 3 halt"],
        CHECKPOINT,
        27,
    )?;
    check("mixed", &mut rig, &[MIXED], CHECKPOINT, 197)?;
    check("restarted", &mut rig, &[MIXED, MIXED, "take 100 stop"], CHECKPOINT, 294)?;
    let counts = check(
        "in flight",
        &mut rig,
        &["put 100 50 hold 30 holdput 5 checkpoint put 10 10 take 7 halt"],
        CHECKPOINT,
        103,
    )?;
    ensure!(counts.returned == 30, "{counts:?}");
    rig.more = vec!["maxFileSize=20000".to_owned()];
    check(
        "many logs",
        &mut rig,
        &[MIXED, "put 100 300 take 150 checkpoint put 50 300 halt"],
        CHECKPOINT,
        197,
    )?;
    rig.data_dirs = 3;
    check("several directories", &mut rig, &[MIXED, MIXED], CHECKPOINT, 394)?;
    rig.more.clear();
    check("several directories, large logs", &mut rig, &[MIXED, "take 50 stop"], CHECKPOINT, 147)?;
    Ok(())
}

#[test]
fn reads_without_a_checkpoint_or_with_its_copy() -> Result<()> {
    let Some(mut rig) = rig() else { return Ok(()) };
    for gone in ["", "inflighttakes", "checkpoint.meta"] {
        fs::remove_dir_all(rig.dir("made", "")).ok();
        rig.run("made", MIXED)?;
        if gone.is_empty() {
            fs::remove_dir_all(rig.dir("made", "c"))?;
            fs::create_dir(rig.dir("made", "c"))?;
        } else {
            fs::write(rig.dir("made", "c").join(gone), b"damaged, to be sure")?;
        }
        let (events, _) = rig.compare(LOGS).context(gone)?;
        ensure!(events == 197, "{events}");
    }
    rig.dual = true;
    for compress in [false, true] {
        rig.more = vec![format!("compressBackupCheckpoint={compress}")];
        fs::remove_dir_all(rig.dir("made", ""))?;
        rig.run("made", "put 50 50 hold 5 checkpoint pause 1500 put 20 20 take 3 checkpoint pause 1500 put 5 5 halt")?;
        let mut ring = fs::read(rig.dir("made", "c/checkpoint"))?;
        ring[39] = 1;
        fs::write(rig.dir("made", "c/checkpoint"), ring)?;
        let name = if compress { "checkpoint.snappy" } else { "checkpoint" };
        ensure!(rig.dir("made", "b").join(name).is_file(), "no {name}");
        let (events, counts) = rig.compare(BACKUP)?;
        ensure!((events, counts.returned) == (72, 5), "{events} {counts:?}");
    }
    Ok(())
}

/// A key store with `key-1`, and the file of its password.
fn make_key(rig: &Rig) -> Result<()> {
    let made = Command::new("keytool")
        .args(["-genseckey", "-alias", "key-1", "-keyalg", "AES", "-keysize", "128"])
        .args(["-storetype", "JCEKS", "-storepass", "storePassword", "-keypass", "storePassword"])
        .arg("-keystore")
        .arg(rig.root.path().join("keys"))
        .output()
        .context("starting keytool")?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    fs::write(rig.root.path().join("password"), "storePassword\n")?;
    Ok(())
}

#[test]
fn reads_encrypted_logs() -> Result<()> {
    let Some(mut rig) = rig() else { return Ok(()) };
    make_key(&rig)?;
    // Encryption is turned on when there are logs already.
    rig.run("made", "put 10 100 stop")?;
    rig.encrypted = true;
    rig.run("made", MIXED)?;
    let (events, _) = rig.compare(CHECKPOINT)?;
    ensure!(events == 207, "{events}");
    fs::remove_dir_all(rig.dir("made", "c"))?;
    let (events, _) = rig.compare(LOGS)?;
    ensure!(events == 207, "{events}");
    let without = rig.find("made")?.read(None, OnDamage::Skip, &mut |_| {});
    ensure!(matches!(without, Err(Error::Key { .. })), "{without:?}");
    // Every record is looked at, which Flume's own tool cannot do: it has no keys.
    let look = |rig: &Rig| {
        let keys = Section::parse(&rig.properties("made").join("\n"));
        let config = keys.read::<Config>().value.context("flume's keys are ours")?;
        anyhow::Ok(offline::flume_records(&rig.data("made"), &config, &mut |_, _| {})?)
    };
    let found = look(&rig)?.context("logs")?;
    ensure!(
        found.counts.puts >= 207 && found.invalid_puts + found.counts.damaged == 0,
        "{found:?}"
    );
    rig.encrypted = false;
    ensure!(look(&rig).is_err(), "looked at without keys");
    Ok(())
}

#[test]
fn reads_what_was_killed_under_load() -> Result<()> {
    let Some(mut rig) = rig() else { return Ok(()) };
    for (round, data_dirs) in [1, 2, 1].into_iter().enumerate() {
        fs::remove_dir_all(rig.dir("made", "")).ok();
        rig.data_dirs = data_dirs;
        rig.more = vec!["checkpointInterval=1000".to_owned(), "transactionCapacity=100".to_owned()];
        let time = Duration::from_millis(2300 + 700 * round as u64);
        rig.driver.run_and_kill(&rig.properties("made"), "put 90 100 load", time)?;
        let (events, counts) = rig.compare(CHECKPOINT).context(format!("round {round}"))?;
        ensure!(events > 100, "{events}");
        eprintln!("round {round}: {events} events, {counts:?}");
    }
    Ok(())
}

#[test]
fn reads_version_2() -> Result<()> {
    let Some(rig) = rig() else { return Ok(()) };
    rig.driver.run(&[format!("v2={}", rig.dir("made", "d0").display())], "")?;
    let (events, counts) = rig.compare(LOGS)?;
    ensure!((events, counts.puts, counts.open_transactions) == (30, 50, 1), "{events} {counts:?}");
    // Flume goes on with it in version 3.
    rig.run("made", "take 3 checkpoint put 5 5 halt")?;
    let (events, _) = rig.compare(CHECKPOINT)?;
    ensure!(events == 32, "{events}");
    Ok(())
}

#[test]
fn a_running_flume_is_left_alone() -> Result<()> {
    let Some(rig) = rig() else { return Ok(()) };
    rig.run("made", "put 10 10 halt")?;
    let locks = rig.find("made")?.lock()?;
    ensure!(locks.len() == 2, "{locks:?}");
    ensure!(rig.run("made", "drain").is_err(), "flume opened what we hold");
    drop(locks);
    ensure!(rig.run("made", "drain stop")?.len() == 10, "flume opens it again");
    Ok(())
}

#[test]
fn flume_reads_what_we_wrote() -> Result<()> {
    let Some(mut rig) = rig() else { return Ok(()) };
    let events: Vec<Event> = (0..3000)
        .map(|n: usize| {
            let body = Bytes::from(vec![n as u8; n % 700]);
            let headers =
                [("n", n.to_string()), ("grün 🦀", "wért".to_owned()), ("", String::new())];
            Event { headers: headers.into_iter().take(n % 4).collect(), body }
        })
        .collect();
    for (data_dirs, log_bytes, transaction_events) in
        [(1, u64::MAX, 1000), (1, 50_000, 10), (3, 200_000, 100)]
    {
        rig.data_dirs = data_dirs;
        fs::remove_dir_all(rig.dir("ours", "")).ok();
        let limits = Limits { log_bytes, transaction_events };
        let all = events.iter().cloned().map(Ok::<_, Error>);
        let written = flume::write(&rig.dir("ours", "c"), &rig.data("ours"), limits, all)?;
        ensure!(written.events == 3000, "{written:?}");
        // Flume goes on with it as with its own.
        let drained = rig.run("ours", "drain put 5 5 stop")?;
        let expected: Vec<String> = events.iter().map(shown).collect();
        ensure!(drained == expected, "{data_dirs}: flume drains something else");
        let queue = rig.read("ours")?;
        ensure!(queue.len() == 5, "{} events", queue.len());
    }
    Ok(())
}
