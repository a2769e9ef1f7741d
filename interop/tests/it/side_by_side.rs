//! One case, run by Flume and by us in directories of their own, and compared.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splashdam_interop::agent::free_port;
use splashdam_interop::{Agent, Make, outputs};

/// How long an agent may take to deliver what a case expects of it, on a machine that is busy with other things.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A channel, and the sink that writes it as `header_and_text` to `DIR/k1`. To be put before what differs.
pub(crate) fn channel_and_sink(number: u32, serializer: &str) -> String {
    format!(
        "a1.channels.c{number}.type = memory\n\
         a1.channels.c{number}.capacity = 10000\n\
         a1.channels.c{number}.transactionCapacity = 1000\n\
         a1.channels.c{number}.keep-alive = 1\n\
         a1.sinks.k{number}.type = file_roll\n\
         a1.sinks.k{number}.channel = c{number}\n\
         a1.sinks.k{number}.sink.directory = {{dir}}/k{number}\n\
         a1.sinks.k{number}.sink.rollInterval = 0\n\
         a1.sinks.k{number}.sink.batchSize = 1000\n\
         a1.sinks.k{number}.sink.serializer = {serializer}\n"
    )
}

/// Where one of the two agents works.
pub(crate) struct Site {
    pub(crate) dir: PathBuf,
    /// What `{port}` in the configuration became.
    pub(crate) port: u16,
}

/// What both are given. `config` may say `{dir}` and `{port}`.
pub(crate) struct Case<'a> {
    pub(crate) config: &'a str,
    /// How many events each sink delivers in all.
    pub(crate) delivered: &'a [(&'a str, u64)],
}

/// The right to run a JVM, held until dropped: one at a time keeps what is timed steady on small machines.
#[derive(Debug)]
pub(crate) struct Turn {
    _held: MutexGuard<'static, ()>,
}

impl Turn {
    pub(crate) fn take() -> Turn {
        static JVM: Mutex<()> = Mutex::new(());
        // A test that failed in its turn leaves nothing behind that the next could stumble over.
        Turn { _held: JVM.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// Flume and ours, and the turn to run them; `None` after saying what is missing.
pub(crate) fn pair() -> Option<([Make; 2], Turn)> {
    let turn = Turn::take();
    let ours = if is_set("SPLASHDAM_INTEROP_SELF") { Make::flume() } else { Make::splashdam() };
    match (Make::flume(), ours) {
        (Ok(flume), Ok(ours)) => Some(([flume.briefly(), ours.briefly()], turn)),
        (Err(missing), _) | (_, Err(missing)) => {
            assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
            eprintln!("skipped: {missing}");
            None
        }
    }
}

/// Our agent alone, and the turn to run it; `None` after saying that it is missing.
pub(crate) fn ours() -> Option<(Make, Turn)> {
    let turn = Turn::take();
    match Make::splashdam() {
        Ok(ours) => Some((ours, turn)),
        Err(missing) => {
            assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
            eprintln!("skipped: {missing}");
            None
        }
    }
}

/// A program of this machine; `None` after saying in which package it comes.
pub(crate) fn program(name: &str, package: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Servers are often kept from the path of ordinary users.
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        let missing = format!("there is no `{name}`; install {package}");
        assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
        eprintln!("skipped: {missing}");
    }
    found
}

pub(crate) fn is_set(variable: &str) -> bool {
    env::var(variable).is_ok_and(|value| value == "1")
}

/// Runs the case on both. `prepare` fills the directory before the start, `drive` acts on the running agent and
/// answers what it saw; then all expected events are awaited, the agent is stopped, and `look` reads what it left.
/// Answers what was seen and left, which is the same for both; `None` if it was skipped.
pub(crate) fn compare<S, L>(
    case: &Case<'_>,
    prepare: impl Fn(&Path) -> Result<()>,
    drive: impl Fn(&Site, &mut Agent) -> Result<S>,
    look: impl Fn(&Path) -> Result<L>,
) -> Option<(S, L)>
where
    S: PartialEq + std::fmt::Debug,
    L: PartialEq + std::fmt::Debug,
{
    let [wanted, found] = both([case, case], prepare, drive, look)?;
    assert_eq!(found, wanted, "ours is on the left, Flume's on the right");
    Some(wanted)
}

/// As [`compare`], for where the two differ on purpose: Flume's case and what it did, then ours. The test says what
/// each of them is to do.
pub(crate) fn contrast<S, L>(
    cases: [&Case<'_>; 2],
    prepare: impl Fn(&Path) -> Result<()>,
    drive: impl Fn(&Site, &mut Agent) -> Result<S>,
    look: impl Fn(&Path) -> Result<L>,
) -> Option<[(S, L); 2]> {
    if is_set("SPLASHDAM_INTEROP_SELF") {
        eprintln!("skipped: Flume does not differ from itself");
        return None;
    }
    both(cases, prepare, drive, look)
}

fn both<S, L>(
    cases: [&Case<'_>; 2],
    prepare: impl Fn(&Path) -> Result<()>,
    drive: impl Fn(&Site, &mut Agent) -> Result<S>,
    look: impl Fn(&Path) -> Result<L>,
) -> Option<[(S, L); 2]> {
    let ([flume, ours], _turn) = pair()?;
    let one = |make: &Make, case: &Case<'_>| {
        run(case, make, &prepare, &drive, &look)
            .unwrap_or_else(|error| panic!("{}: {error:?}", make.name()))
    };
    Some([one(&flume, cases[0]), one(&ours, cases[1])])
}

fn run<S, L>(
    case: &Case<'_>,
    make: &Make,
    prepare: impl Fn(&Path) -> Result<()>,
    drive: impl Fn(&Site, &mut Agent) -> Result<S>,
    look: impl Fn(&Path) -> Result<L>,
) -> Result<(S, L)> {
    let dir = tempfile::tempdir()?;
    let site = Site { dir: dir.path().to_owned(), port: free_port()? };
    for (sink, _) in case.delivered {
        fs::create_dir(site.dir.join(sink))?;
    }
    prepare(&site.dir)?;
    let config = case
        .config
        .replace("{dir}", &site.dir.display().to_string())
        .replace("{port}", &site.port.to_string());
    let mut agent = Agent::start(make, &site.dir, &config)?;
    let seen = drive(&site, &mut agent)?;
    for (sink, events) in case.delivered {
        wait_for(&mut agent, sink, *events)?;
    }
    agent.stop()?;
    let left = look(&site.dir).context("reading what the agent left")?;
    Ok((seen, left))
}

/// Waits until a sink has delivered so many events.
pub(crate) fn wait_for(agent: &mut Agent, sink: &str, events: u64) -> Result<()> {
    let component = format!("SINK.{sink}");
    agent.wait_until(LIMIT, &format!("{events} events by {sink}"), |metrics| {
        metrics.count(&component, "EventDrainSuccessCount").is_some_and(|count| count >= events)
    })?;
    Ok(())
}

/// The components that count, once they have been the same for a second: Flume starts them beside each other, and
/// some after its port answers.
pub(crate) fn components(agent: &mut Agent) -> Result<Vec<String>> {
    let (mut names, mut since, began) = (Vec::new(), Instant::now(), Instant::now());
    while names.is_empty() || since.elapsed() < Duration::from_secs(1) {
        agent.still_running()?;
        ensure!(began.elapsed() < LIMIT, "components come and go: {names:?}\n{}", agent.log_tail());
        // A busy agent may leave some questions without an answer.
        let now = agent.metrics().map(|all| all.names().into_keys().map(str::to_owned).collect());
        match now {
            Ok(now) if now == names => {}
            now => (names, since) = (now.unwrap_or_default(), Instant::now()),
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(names)
}

/// For cases with nothing to do while the agent runs.
pub(crate) fn only_watch(_: &Site, _: &mut Agent) -> Result<()> {
    Ok(())
}

/// The lines of sink `k1`.
pub(crate) fn first_sink(dir: &Path) -> Result<Vec<String>> {
    outputs::lines(&dir.join("k1"))
}
