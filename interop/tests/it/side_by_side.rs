//! One case, run by Flume and by us in directories of their own, and compared.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use splashdam_interop::agent::free_port;
use splashdam_interop::{Agent, Make, outputs};

/// How long an agent may take to deliver what a case expects of it.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

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

/// Both makes of agent, or `None` after saying what is missing.
pub(crate) fn pair() -> Option<[Make; 2]> {
    let ours = if is_set("SPLASHDAM_INTEROP_SELF") { Make::flume() } else { Make::splashdam() };
    match (Make::flume(), ours) {
        (Ok(flume), Ok(ours)) => Some([flume, ours]),
        (Err(missing), _) | (_, Err(missing)) => {
            assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
            eprintln!("skipped: {missing}");
            None
        }
    }
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
    let [flume, ours] = pair()?;
    let one = |make: &Make| {
        run(case, make, &prepare, &drive, &look)
            .unwrap_or_else(|error| panic!("{}: {error:?}", make.name()))
    };
    let wanted = one(&flume);
    let found = one(&ours);
    assert_eq!(found, wanted, "ours is on the left, Flume's on the right");
    Some(wanted)
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

/// For cases with nothing to do while the agent runs.
pub(crate) fn only_watch(_: &Site, _: &mut Agent) -> Result<()> {
    Ok(())
}

/// The lines of sink `k1`.
pub(crate) fn first_sink(dir: &Path) -> Result<Vec<String>> {
    outputs::lines(&dir.join("k1"))
}
