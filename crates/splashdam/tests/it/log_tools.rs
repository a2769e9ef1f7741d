//! `splashdam log` and `tool FCINTEGRITYTOOL`, over logs made here.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use splashdam_components::channels::file::flume::{self, FlumeChannel, Limits, OnDamage};
use splashdam_core::Event;
use tempfile::TempDir;

/// A place for one channel, and what a Flume left in it.
struct Rig(TempDir);

impl Rig {
    fn new(events: usize) -> Rig {
        let rig = Rig(TempDir::new().expect("a temporary directory"));
        rig.flume("", events);
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn flume(&self, site: &str, events: usize) {
        let limits = Limits { log_bytes: 500_000, transaction_events: 100 };
        let all = (0..events).map(|n| Ok::<_, flume::Error>(event(n)));
        let data = [self.path(&format!("{site}d0")), self.path(&format!("{site}d1"))];
        flume::write(&self.path(&format!("{site}c")), &data, limits, all).expect("a channel");
    }

    fn place(&self) -> [String; 5] {
        let path = |name: &str| self.path(name).display().to_string();
        let data = format!("{},{}", path("d0"), path("d1"));
        let checkpoint = path("c");
        ["--data-dirs", &data, "--checkpoint-dir", &checkpoint, "--channel=c1"].map(str::to_owned)
    }

    fn command(&self, act: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_splashdam"));
        command.args(["log", act]).args(self.place()).args(more).env_clear();
        command
    }

    fn log(&self, act: &str, more: &[&str]) -> (i32, String) {
        told(self.command(act, more).output().expect("the program starts"))
    }

    /// The answer in JSON.
    fn json(&self, act: &str, more: &[&str], status: i32) -> Value {
        let (got, text) = self.log(act, &[more, &["--format", "json"]].concat());
        assert_eq!(got, status, "{text}");
        serde_json::from_str(&text).expect("the answer is JSON")
    }

    fn exported(&self) -> Vec<String> {
        let (status, text) = self.log("export", &["--format", "text"]);
        assert_eq!(status, 0, "{text}");
        text.lines().map(str::to_owned).collect()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = ["d0", "d1"]
            .iter()
            .flat_map(|name| fs::read_dir(self.path(name)).expect("a directory"))
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|end| end == "seg"))
            .collect();
        found.sort();
        found
    }

    /// Changes a byte of the body of some event.
    fn damage(&self, body: &str) {
        for path in self.segments() {
            let mut bytes = fs::read(&path).expect("a segment");
            let at = bytes.windows(body.len()).position(|window| window == body.as_bytes());
            if let Some(at) = at {
                bytes[at] ^= 1;
                return fs::write(&path, bytes).expect("it can be written");
            }
        }
        panic!("no segment has {body}");
    }
}

fn event(n: usize) -> Event {
    let mut event = Event::new(body(n));
    event.headers.insert("n", n.to_string());
    event
}

fn body(n: usize) -> String {
    format!("event {n:06} {}", "x".repeat(n % 300))
}

fn told(output: Output) -> (i32, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let (out, errors) = (text(output.stdout), text(output.stderr));
    (output.status.code().unwrap_or(-1), out + &errors)
}

fn bodies(events: usize) -> Vec<String> {
    (0..events).map(body).collect()
}

#[test]
fn what_a_flume_left_is_imported_looked_at_and_exported() {
    let rig = Rig::new(3000);
    let counted = rig.json("import", &["--dry-run"], 0);
    assert_eq!((&counted["events"], &counted["imported"]), (&3000.into(), &false.into()));
    assert!(rig.segments().is_empty(), "a rehearsal makes nothing");
    let (status, text) = rig.log("verify", &[]);
    assert_eq!(status, 1);
    assert!(text.contains("there is no readable log in it"), "{text}");

    let (status, text) = rig.log("import", &[]);
    assert_eq!(status, 0, "{text}");
    assert!(text.starts_with("3000 events imported into channel c1"), "{text}");
    assert_eq!(rig.json("import", &[], 0)["found"], false, "once is enough");
    assert_eq!(rig.json("import", &["--dry-run"], 0)["found"], false);

    let report = rig.json("verify", &[], 0);
    assert_eq!(report["sound"], true);
    assert_eq!(report["queues"][0]["queued"], 3000);
    assert_eq!(report["queues"][0]["name"], "c1");
    assert_eq!(report["directories"].as_array().map(Vec::len), Some(2));
    let (status, text) = rig.log("inspect", &[]);
    assert_eq!(status, 0);
    assert!(text.contains("channel c1: 3000 events queued") && text.ends_with("sound\n"), "{text}");

    assert_eq!(rig.exported(), bodies(3000));
    let file = rig.path("events.jsonl").display().to_string();
    assert_eq!(rig.log("export", &["--output", &file]), (0, String::new()));
    let lines = fs::read_to_string(&file).expect("the file is there");
    let last: Value = serde_json::from_str(lines.lines().last().expect("lines")).expect("JSON");
    assert_eq!((&last["number"], &last["headers"]["n"]), (&2999.into(), &"2999".into()));
    assert_eq!(lines.lines().count(), 3000);
    let (status, text) = rig.log("export", &["--output", &file]);
    assert!(status == 1 && text.contains("events.jsonl"), "an old file stays: {text}");

    // The way back, as Flume would read it.
    let (to_c, to_d) = (rig.path("back/c"), rig.path("back/d"));
    let (c, d) = (to_c.display().to_string(), to_d.display().to_string());
    let back = ["--format", "flume", "--to-checkpoint-dir", &c, "--to-data-dirs", &d];
    let (status, text) = rig.log("export", &back);
    assert!(status == 0 && text.starts_with("3000 events in 1 logs"), "{text}");
    let found = FlumeChannel::find(&to_c, None, &[to_d]).expect("readable").expect("a channel");
    let queue = found.read(None, OnDamage::Stop, &mut |_| {}).expect("a queue");
    let events: Vec<Event> = queue.into_events().map(|event| event.expect("an event")).collect();
    assert_eq!(events, (0..3000).map(event).collect::<Vec<_>>());
    let (status, text) = rig.log("export", &back);
    assert!(status == 1 && text.contains("name an empty directory"), "{text}");
}

#[test]
fn an_import_that_is_killed_comes_once() {
    const EVENTS: usize = 20_000;
    let mut killed = 0;
    for round in 0..8 {
        let rig = Rig::new(EVENTS);
        for attempt in 0..2 {
            let mut child = rig
                .command("import", &[])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the program starts");
            std::thread::sleep(Duration::from_millis(10 + 45 * round + 13 * attempt));
            // It may have come to its end.
            child.kill().ok();
            killed += usize::from(child.wait().expect("it ends").code().is_none());
        }
        let (status, text) = rig.log("import", &[]);
        assert_eq!(status, 0, "{text}");
        assert_eq!(rig.exported(), bodies(EVENTS), "round {round}");
        assert_eq!(rig.json("verify", &[], 0)["import_cut_off"], Value::Null);
    }
    assert!(killed > 0, "none was killed in time");
}

#[test]
fn damage_is_named_set_aside_and_given_up() {
    let rig = Rig::new(3000);
    assert_eq!(rig.log("import", &[]).0, 0);
    rig.damage(&body(1500));
    let report = rig.json("verify", &[], 1);
    assert_eq!(report["sound"], false);
    let damaged: usize = report["directories"]
        .as_array()
        .expect("directories")
        .iter()
        .map(|one| one["damage"].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(damaged, 1);
    let (status, text) = rig.log("export", &["--format", "text"]);
    assert!(status == 1 && text.contains("are damaged"), "{text}");
    assert!(text.contains(&body(2999)), "the rest is exported");
    assert!(!text.contains(&format!("{}\n", body(1500))), "what is damaged is not");

    // Flume's tool sets it aside.
    let tool = |more: &[&str]| {
        let dirs = format!("{},{}", rig.path("d0").display(), rig.path("d1").display());
        let program = env!("CARGO_BIN_EXE_splashdam");
        let tool = ["tool", "fcintegritytool", "-l", &dirs];
        told(Command::new(program).args(tool).args(more).env_clear().output().expect("it starts"))
    };
    let (status, text) = tool(&["-Dmine=1"]);
    assert!(status == 1 && text.contains("Number of Corrupt Events = 1"), "{text}");
    assert!(text.contains("set aside") && text.contains("-Dmine is left aside"), "{text}");
    let aside = |name: &str| {
        fs::read_dir(rig.path(name))
            .expect("a directory")
            .filter(|entry| {
                let name = entry.as_ref().expect("an entry").file_name();
                name.to_string_lossy().starts_with("damaged-")
            })
            .count()
    };
    assert_eq!(aside("d0") + aside("d1"), 1);

    // A directory that is lost.
    fs::remove_dir_all(rig.path("d1")).expect("it is there");
    let (status, text) = rig.log("verify", &[]);
    assert!(status == 1 && text.contains("d1 is not there"), "{text}");
    assert!(!rig.path("d1").exists(), "looking makes no directories");
    let d1 = rig.path("d1").display().to_string();
    let one = rig.path("d0").display().to_string();
    let rest = |act: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_splashdam"));
        command.args(["log", act, "--data-dirs", &one]).args(more).env_clear();
        told(command.output().expect("the program starts"))
    };
    let (status, text) = rest("verify", &[]);
    assert!(status == 1 && text.contains("belongs to the log and was not named"), "{text}");
    let (status, text) = rest("accept-loss", &["--directory", &d1, "--i-accept-the-loss"]);
    assert!(status == 0 && text.contains("given up"), "{text}");
    let (_, text) = rest("verify", &[]);
    assert!(!text.contains("was not named"), "{text}");
}

#[test]
fn an_encrypted_log_is_looked_at_with_its_keys() {
    let rig = Rig::new(1000);
    for (name, password) in [("store", "storePassword"), ("key", "keyPassword0")] {
        fs::write(rig.path(name), password).expect("it can be written");
    }
    let store =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../components/testdata/jceks/file-channel.jceks");
    let (password, key) = (rig.path("store"), rig.path("key"));
    let keys = [
        "--key-store-file",
        store,
        "--key-store-password-file",
        password.to_str().expect("a path"),
        "--key-password-file",
        key.to_str().expect("a path"),
        "--key-aliases",
        "key-0",
    ];
    let (status, text) = rig.log("import", &keys);
    assert_eq!(status, 0, "{text}");
    let dirs = format!("{},{}", rig.path("d0").display(), rig.path("d1").display());
    let tool = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_splashdam"));
        command.args(["tool", "FCINTEGRITYTOOL", "-l", &dirs]).args(more).env_clear();
        told(command.output().expect("the program starts"))
    };
    for (what, (status, text)) in [("verify", rig.log("verify", &[])), ("tool", tool(&[]))] {
        assert!(status == 1 && text.contains("key-0"), "{what} without keys: {text}");
    }
    let (status, text) = rig.log("verify", &keys);
    assert!(status == 0 && text.contains("channel c1: 1000 events queued"), "{text}");
    let (status, text) = tool(&keys);
    assert!(status == 0 && text.contains("Number of Valid Put Events = 1000\n"), "{text}");
    let path = rig.segments().into_iter().max_by_key(used).expect("a segment");
    let mut bytes = fs::read(&path).expect("a segment");
    bytes[8192 + 600] ^= 1;
    fs::write(&path, bytes).expect("it can be written");
    let (status, text) = tool(&keys);
    assert!(status == 1 && text.contains("Number of Corrupt Events = 1"), "{text}");
}

/// Bytes that are not zero.
fn used(path: &PathBuf) -> usize {
    fs::read(path).expect("a segment").iter().filter(|byte| **byte != 0).count()
}

#[test]
fn flumes_own_directories_are_checked_and_left_as_they_are() {
    let rig = Rig::new(1000);
    let dirs = format!("{},{}", rig.path("d0").display(), rig.path("d1").display());
    let tool = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_splashdam"));
        command.args(["tool", "FCINTEGRITYTOOL", "--dataDirs", &dirs]).env_clear();
        told(command.output().expect("the program starts"))
    };
    let (status, text) = tool();
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("Number of Put Events Processed = 1000\n"), "{text}");
    assert!(text.contains("Number of Valid Put Events = 1000\n"), "{text}");
    let path = rig.path("d0/log-1");
    let mut bytes = fs::read(&path).expect("a log");
    let wanted = body(7);
    let at = bytes.windows(wanted.len()).position(|window| window == wanted.as_bytes());
    bytes[at.expect("the event is there")] ^= 1;
    fs::write(&path, &bytes).expect("it can be written");
    let (status, text) = tool();
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("Number of Invalid Put Events = 1\n"), "{text}");
    assert!(text.contains("log-1 is damaged at byte"), "{text}");
    assert_eq!(fs::read(&path).expect("a log"), bytes);
    // Taking it over leaves the one event behind, and says so.
    let counted = rig.json("import", &["--dry-run"], 1);
    assert_eq!((&counted["events"], &counted["unreadable"]), (&999.into(), &1.into()));
}

#[test]
fn a_channel_of_a_configuration_is_found() {
    let rig = Rig::new(10);
    let file = rig.path("agent.conf");
    let root = rig.0.path().display().to_string();
    let text = format!(
        "a1.sources = r1\na1.channels = c1 m1\na1.sinks = k1\na1.sources.r1.type = seq\n\
         a1.sources.r1.channels = c1 m1\na1.channels.c1.type = file\n\
         a1.channels.c1.dataDirs = {root}/d0,{root}/d1\na1.channels.c1.checkpointDir = {root}/c\n\
         a1.channels.m1.type = memory\na1.sinks.k1.type = null\na1.sinks.k1.channel = c1\n"
    );
    fs::write(&file, text).expect("it can be written");
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_splashdam"));
        command.arg("log").args(more).args(["-n", "a1", "-f"]).arg(&file).env_clear();
        told(command.output().expect("the program starts"))
    };
    let (status, text) = run(&["import"]);
    assert!(status == 0 && text.starts_with("10 events imported into channel c1"), "{text}");
    let (status, text) = run(&["verify"]);
    assert!(status == 0 && text.contains("channel c1: 10 events queued"), "{text}");
    let (status, text) = run(&["verify", "--channel", "m1"]);
    assert!(status == 1 && text.contains("no file channel m1"), "{text}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_splashdam"));
    command.args(["log", "verify", "--data-dirs", "/no/such/place"]).env_clear();
    let (status, text) = told(command.output().expect("the program starts"));
    assert!(status == 1 && text.contains("/no/such/place is not there"), "{text}");
}

#[test]
fn an_agent_delivers_what_a_flume_left() {
    const EVENTS: usize = 3000;
    let rig = Rig::new(EVENTS);
    let file = rig.path("agent.conf");
    let root = rig.0.path().display().to_string();
    let text = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = netcat\n\
         a1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = 0\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = file\na1.channels.c1.dataDirs = {root}/d0,{root}/d1\n\
         a1.channels.c1.checkpointDir = {root}/c\na1.channels.c1.minimumRequiredSpace = 1048576\n\
         a1.sinks.k1.type = file_roll\na1.sinks.k1.channel = c1\n\
         a1.sinks.k1.sink.directory = {root}/out\na1.sinks.k1.sink.rollInterval = 0\n"
    );
    fs::write(&file, text).expect("it can be written");
    fs::create_dir(rig.path("out")).expect("a directory");
    let delivered = || -> Vec<String> {
        let entries = fs::read_dir(rig.path("out")).expect("a directory");
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| path.is_file());
        paths.sort();
        let texts = paths.iter().map(|path| fs::read_to_string(path).expect("text"));
        texts.collect::<String>().lines().map(str::to_owned).collect()
    };
    for start in 0..2 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_splashdam"))
            .args(["agent", "-n", "a1", "-f"])
            .arg(&file)
            .env_clear()
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        // The second start delivers nothing more; the time that it has is no more than a guess.
        let most = if start == 0 { 400 } else { 20 };
        for _ in 0..most {
            if start == 0 && delivered().len() >= EVENTS {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
        assert!(child.wait().expect("it ends").success());
        assert!(delivered() == bodies(EVENTS), "start {start}: {} events", delivered().len());
    }
    assert_eq!(rig.json("verify", &[], 0)["queues"][0]["queued"], 0);
}
