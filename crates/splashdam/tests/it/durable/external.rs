//! An external interceptor and the agent are killed under load: nothing that was acknowledged is lost, and
//! nothing is delivered that the interceptor has not seen.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Load, Process, Site, TAKE, output, setting, until};

const INTERCEPTOR: &str = "
a1.sources.r1.interceptors = i1
a1.sources.r1.interceptors.i1.type = external
a1.sources.r1.interceptors.i1.command = python3 -B EXAMPLES/external.py
a1.sources.r1.interceptors.i1.restartThrottle = 20
a1.sinks.k1.sink.serializer = header_and_text
";

/// Kills every process that the agent has started, and says how many there were.
fn kill_children(agent: &Process) -> usize {
    let pids = children(agent.child.id());
    let killed =
        |pid: &i32| Pid::from_raw(*pid).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok());
    pids.iter().filter(|pid| killed(pid)).count()
}

/// Those that run and have this parent.
fn children(parent: u32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let child =
        |name: String| (running_child(&name)? == parent).then(|| name.parse().ok()).flatten();
    processes.filter_map(|entry| child(entry.file_name().into_string().ok()?)).collect()
}

/// The parent of a process that runs: one that has ended and was not waited for does not.
fn running_child(pid: &str) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let runs = !matches!(fields.next(), Some("Z" | "X"));
    let parent = fields.next()?.parse().ok()?;
    runs.then_some(parent)
}

#[test]
fn killed_interceptors_and_agents_lose_nothing_and_let_nothing_past() {
    let python = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    if python.is_err() {
        assert!(std::env::var_os("SPLASHDAM_REQUIRE_INTEROP").is_none(), "no python3 here");
        return;
    }
    let rounds = setting("SPLASHDAM_KILL_ROUNDS", 3);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let more = INTERCEPTOR.replace("EXAMPLES", examples.to_str().unwrap());
    let site = Site::new("$/data", &more);
    site.drain();
    let mut load = Load::new(4, 0);
    let mut kills = 0;
    for round in 0..rounds {
        let process = site.ready();
        let more = |process: &Process| {
            let goal = process.taken() + 20;
            until(|| process.taken() >= goal, || format!("events:\n{}", process.log()));
        };
        load.during(&process.netcat(), || {
            for _ in 0..3 {
                // The process answers, and dies while it does, or while it starts.
                more(&process);
                sleep(Duration::from_millis(10 * (round % 4)));
                let killed = || {
                    let killed = kill_children(&process);
                    kills += killed;
                    killed > 0
                };
                until(killed, || "an interceptor to kill".into());
            }
            more(&process);
            let orphans = children(process.child.id());
            process.kill();
            // Who takes orphans over may leave them as zombies.
            let runs = |pid: &i32| running_child(&pid.to_string()).is_some();
            until(|| !orphans.iter().any(runs), || "the interceptor to end with the agent".into());
        });
    }
    let last = site.ready().drain_and_stop();
    assert!(last.contains("listening for lines"), "{last}");
    assert!(load.acknowledged() > kills, "too idle: {} lines", load.acknowledged());
    check(&load, &site.path("out"), rounds);
    println!("{kills} interceptors and {rounds} agents killed: {} lines", load.acknowledged());
}

/// Every line bears the mark, every acknowledged one is there, and only what was being written when the
/// agent was killed is there twice.
fn check(load: &Load, out: &Path, agents: u64) {
    let files = output(out);
    let mut seen = BTreeSet::new();
    let mut repeated = 0;
    for line in files.iter().flatten() {
        let marked = line.strip_prefix("{seen=python} ");
        let line = marked.unwrap_or_else(|| panic!("{line:?} went past the interceptor"));
        repeated += u64::from(!seen.insert(line));
    }
    let lines = load.senders.iter().flat_map(|sender| {
        sender.acknowledged.iter().map(|number| format!("{}-{number}", sender.name))
    });
    let lost: Vec<String> = lines.filter(|line| !seen.contains(line.as_str())).collect();
    assert!(lost.is_empty(), "{} lines are lost: {:?} …", lost.len(), &lost[..lost.len().min(5)]);
    assert!(repeated <= agents * TAKE as u64, "{repeated} lines came again");
}
