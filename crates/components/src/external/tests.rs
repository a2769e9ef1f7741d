//! What becomes of batches when processes end, hang, or do not keep to the protocol.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use splashdam_config::Section;
use splashdam_core::{Batch, Component, Context, Event, RemoteInterceptor, Role, Undone};
use splashdam_testkit::{bodies, context};
use tempfile::TempDir;

use super::*;
use crate::interceptors::External;

/// Whether the tests that need Python can run; who demands that nothing is skipped is told.
pub(crate) fn python() -> bool {
    let found = std::process::Command::new("python3").arg("--version").output().is_ok();
    assert!(found || std::env::var_os("SPLASHDAM_REQUIRE_INTEROP").is_none(), "no python3 here");
    found
}

/// `command = …` of the example.
pub(crate) fn example() -> String {
    format!("command = python3 -B {}", examples().join("external.py").display())
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// `command = …` of a script that can use the first half of the example, as `e`. It may `claim` a name:
/// the first process that does is told that it is the first.
pub(crate) fn script(dir: &TempDir, text: &str) -> String {
    let path = dir.path().join("script.py");
    let examples = examples();
    let text = format!(
        "import os, signal, struct, sys, time\nsys.path.insert(0, {examples:?})\nimport external as e\n\
         def claim(name):\n    try:\n        os.close(os.open({:?} + '/' + name, os.O_CREAT | os.O_EXCL))\n        \
         return True\n    except FileExistsError:\n        return False\n\
         kind, payload = e.receive()\nhello = e.Hello(payload)\n{text}",
        dir.path()
    );
    std::fs::write(&path, text).unwrap();
    format!("command = python3 -B {}", path.display())
}

/// Says that it is ready.
pub(crate) const READY: &str = "e.send(e.READY, struct.pack('>H', 1), e.text('script'))\n";

/// Answers every batch with what came, as the example does.
const MARK: &str = "e.intercept(hello)\n";

/// Waits for what another process does.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn open(keys: &str) -> External {
    type Keys = <External as Component>::Config;
    let keys = format!("{keys}\nrestartThrottle = 20");
    let config = Section::parse(&keys).read::<Keys>().into_result().unwrap();
    External::open(config, context(Role::Source)).await.unwrap()
}

fn batch(all: &[&'static str]) -> Batch {
    all.iter().map(|body| Event::new(*body)).collect()
}

/// Puts a batch through again and again, as sources do, for as long as it takes.
async fn patiently(interceptor: &External, batch: &mut Batch) {
    let begun = Instant::now();
    while let Err(why) = interceptor.intercept(batch).await {
        assert!(begun.elapsed() < Duration::from_secs(60), "{why}");
    }
}

fn marks(batch: &Batch) -> usize {
    batch.events().iter().filter(|event| event.headers.contains("seen")).count()
}

#[tokio::test]
async fn the_example_marks_and_drops() {
    if !python() {
        return;
    }
    for more in ["", "batchSize = 2", "maxMessageBytes = 1024"] {
        let interceptor = open(&format!("{}\nset.drop = no\n{more}", example())).await;
        let long = "z".repeat(900);
        let mut events: Vec<Event> =
            ["a", "no", "", "gr\u{fc}n", "no more", "b"].map(Event::new).into();
        events.push(Event::new(long.clone()));
        events[0].headers.insert("k\u{e4}y", "v\u{e4}lue");
        let mut batch = Batch::from(events);
        patiently(&interceptor, &mut batch).await;
        assert_eq!(bodies(batch.events()), ["a", "", "gr\u{fc}n", "b", &long], "{more}");
        assert_eq!(marks(&batch), 5);
        assert_eq!(&**batch.events()[0].headers.get("k\u{e4}y").unwrap(), "v\u{e4}lue");
        let recounted: usize = batch.events().iter().map(Event::bytes).sum();
        assert_eq!(batch.size().bytes, recounted);
        let mut none = Batch::default();
        interceptor.intercept(&mut none).await.unwrap();
        interceptor.close().await;
    }
}

#[tokio::test]
async fn what_a_process_has_not_answered_goes_to_the_next() {
    if !python() {
        return;
    }
    let ends = ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(3)", "print(1, file=e._output)"];
    for end in ends {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("{READY}if claim('first'):\n    e.receive()\n    {end}\n{MARK}");
        let interceptor = open(&script(&dir, &text)).await;
        let mut batch = batch(&["a", "b"]);
        patiently(&interceptor, &mut batch).await;
        assert_eq!(
            (bodies(batch.events()).join(" "), marks(&batch)),
            ("a b".to_owned(), 2),
            "{end}"
        );
        interceptor.close().await;
    }
}

#[tokio::test]
async fn many_ask_at_once_and_each_gets_its_own() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Answers four batches at a time, the last one first, and dies in between.
    let text = format!(
        "{READY}rounds = 0\nwhile True:\n    held = []\n    while len(held) < 4:\n        kind, payload = e.receive()\n        \
         if kind != e.BATCH: sys.exit()\n        held.append(e.read_batch(payload))\n    \
         for batch, events in reversed(held):\n        \
         e.answer(batch, e.DONE, struct.pack('>I', 1), b'\\0', e.event(*events[0]))\n    \
         rounds += 1\n    if rounds == 2: sys.exit(1)\n"
    );
    let interceptor = open(&script(&dir, &text)).await;
    let one = async |number: usize| {
        let mut batch: Batch =
            [number.to_string(), "x".into()].map(Event::new).into_iter().collect();
        patiently(&interceptor, &mut batch).await;
        assert_eq!(bodies(batch.events()), [number.to_string()]);
    };
    futures_util::future::join_all((0..24).map(one)).await;
    interceptor.close().await;
}

#[tokio::test]
async fn who_does_not_keep_to_the_protocol_is_named_and_nothing_goes_on() {
    let check = async |script: &str, want: &str| {
        let keys = format!(
            "shell = /bin/sh -c\ncommand = {}\ntimeout = 100\nstartTimeout = 1000",
            script.replace('\\', "\\\\")
        );
        let interceptor = open(&keys).await;
        let mut all = batch(&["a", "b"]);
        let begun = Instant::now();
        // The first answers may come before anything is known of the process.
        loop {
            let why = interceptor.intercept(&mut all).await.unwrap_err().to_string();
            assert_eq!(bodies(all.events()), ["a", "b"]);
            if why.contains(want) {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{why} instead of {want}");
        }
        interceptor.close().await;
    };
    let ready = r"printf '\0\0\0\7\2\0\1\0\0\0\0'";
    let then = |rest: &str| format!("{ready}; {rest}");
    check("exit 3", "exited with 3").await;
    check("kill -9 $$", "was ended by signal 9").await;
    check("exec /nowhere/to/be/found", "exited with 127").await;
    check("echo hello; exec sleep 600", "longer than `maxMessageBytes` allows").await;
    check(r"printf '\0\0\0\1\5'; exec sleep 600", "the first message is not Ready").await;
    check(r"printf '\0\0\0\7\2\0\2\0\0\0\0'; exec sleep 600", "version 2 of the protocol").await;
    check("exec sleep 600", "get ready within 1s").await;
    check(&then("exec sleep 600"), "answer within 100ms").await;
    check(&then(r"printf '\0\0\0\1\5'; exec sleep 600"), "a message that is no answer").await;
    check(&then(r"printf '\0\0\0'"), "closed its standard output within a message").await;
    let answer = r"printf '\0\0\0\12\4\0\0\0\0\0\0\0\143\0'; exec sleep 600";
    check(&then(answer), "an answer to a batch that is not open").await;
}

#[tokio::test]
async fn a_batch_that_is_wanted_again_or_does_not_fit_says_why() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "{READY}kind, payload = e.receive()\ne.answer(e.read_batch(payload)[0], e.AGAIN, e.text('not now'))\n{MARK}"
    );
    let interceptor = open(&(script(&dir, &text) + "\nmaxMessageBytes = 1024")).await;
    let mut all = batch(&["a"]);
    let begun = Instant::now();
    let why = loop {
        let why = interceptor.intercept(&mut all).await.unwrap_err().to_string();
        // A machine that is busy may take longer than `timeout` to start the process.
        if !why.contains("did not answer") {
            break why;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{why}");
    };
    assert!(why.contains("wants the batch again: not now"), "{why}");
    patiently(&interceptor, &mut all).await;
    assert_eq!(marks(&all), 1);
    let mut large = Batch::from(vec![Event::new("x".repeat(1024))]);
    let why = interceptor.intercept(&mut large).await.unwrap_err();
    assert!(matches!(&why, Undone::Unfit(why) if why.contains("raise `maxMessageBytes`")), "{why}");
    interceptor.close().await;
}

#[tokio::test]
async fn a_process_that_does_not_stop_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let ready = r"printf '\\0\\0\\0\\7\\2\\0\\1\\0\\0\\0\\0'";
    let keys = format!(
        "shell = /bin/sh -c\ncommand = trap '' TERM; sleep 600 & echo $! $$ > {}; {ready}; wait; wait\nstopTimeout = 20",
        pids.display()
    );
    for dropped in [false, true] {
        let interceptor = open(&keys).await;
        let read = || std::fs::read_to_string(&pids).unwrap_or_default();
        until("the process", || read().ends_with('\n')).await;
        let started: Vec<u32> = read().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        assert!(started.iter().all(|pid| alive(*pid)));
        match dropped {
            true => drop(interceptor),
            false => interceptor.close().await,
        }
        until("its end", || !started.iter().any(|pid| alive(*pid))).await;
        std::fs::remove_file(&pids).unwrap();
    }
}

#[tokio::test]
async fn a_process_that_ends_takes_its_children_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let ready = r"printf '\\0\\0\\0\\7\\2\\0\\1\\0\\0\\0\\0'";
    let stays = "sleep 600 < /dev/null > /dev/null 2>&1 &";
    // It ends before it is ready, is lost later, or ends when it is told to.
    for (number, then) in
        ["exit 3", "{ready}; exit 3", "{ready}; cat > /dev/null"].iter().enumerate()
    {
        let pids = dir.path().join(number.to_string());
        let then = then.replace("{ready}", ready);
        let keys = format!(
            "shell = /bin/sh -c\ncommand = {stays} echo $! >> {}; {then}\ntimeout = 60000",
            pids.display()
        );
        let interceptor = open(&keys).await;
        let read = || std::fs::read_to_string(&pids).unwrap_or_default();
        until("the process", || read().ends_with('\n')).await;
        if number == 2 {
            interceptor.close().await;
        }
        let all = || read().lines().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>();
        let first = all()[0];
        until("the end of its child", || !alive(first)).await;
        interceptor.close().await;
        until("the end of all", || !all().into_iter().any(alive)).await;
    }
}

/// Whether a process runs: a zombie that nobody waited for does not.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[tokio::test]
async fn check_looks_at_the_command_and_probing_starts_it() {
    type Keys = <External as Component>::Config;
    let read = |keys: &str| Section::parse(keys).read::<Keys>();
    for keys in ["", "command =", "command = a\nmaxMessageBytes = 10", "command = a\ntimeout = 0"] {
        assert!(read(keys).into_result().is_err(), "{keys}");
    }
    let findings = |keys: &str| {
        let config = read(keys).into_result().unwrap();
        let all = External::check(&config, &Section::parse(keys));
        all.into_iter().map(|finding| finding.message).collect::<Vec<_>>().join(" ")
    };
    for (keys, want) in [
        ("command = /bin/sh", ""),
        ("command = sh", ""),
        ("command = /nowhere/x", "`/nowhere/x` is not there"),
        ("command = /bin", "`/bin` is a directory"),
        ("command = /etc/passwd", "`/etc/passwd` is not executable"),
        ("command = python3 /nowhere/x.py", "`/nowhere/x.py` is not there"),
        ("command = whatever\nshell = /nowhere/sh -c", "`/nowhere/sh` is not there"),
    ] {
        assert_eq!(findings(keys), want, "{keys}");
    }
    let probed = async |keys: &str| {
        let config = read(keys).into_result().unwrap();
        let cx: Context = context(Role::Source);
        External::probe(config, cx).await.map_err(|error| error.to_string())
    };
    let error = probed("command = /nowhere/x").await.unwrap_err();
    assert!(error.contains("cannot start `/nowhere/x`"), "{error}");
    if python() {
        let found = probed(&example()).await.unwrap().unwrap();
        assert!(found.contains("calls itself external.py 1"), "{found}");
    }
}

#[test]
fn pauses_double_and_are_short_again() {
    let second = Duration::from_secs(1);
    let mut pauses = Pauses { first: second, next: second };
    let seen: Vec<u64> = (0..8).map(|_| pauses.after(second).as_secs()).collect();
    assert_eq!(seen, [1, 2, 4, 8, 16, 32, 60, 60]);
    pauses.well();
    assert_eq!(pauses.after(second), second);
    assert_eq!(pauses.after(second), second * 2);
    assert_eq!(pauses.after(LONGEST_PAUSE), second);
}
