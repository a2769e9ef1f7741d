//! `splashdam agent`: check the plan, build, wait for a signal, drain.

use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use splashdam_agent::admin::{Admin, Choice};
use splashdam_agent::ledger::Bookkeeper;
use splashdam_agent::provider::Provider;
use splashdam_agent::reload::{self, Known};
use splashdam_agent::watch::{Changes, POLL, POLL_REMOTE};
use splashdam_agent::{
    Board, Checked, Health, Problem, Read, Reader, Status, Surroundings, Topology,
};
use splashdam_core::Stop;
use splashdam_core::metrics::Registry;
use splashdam_core::{Facts, World};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::cli::{AgentArgs, FAILED};
use crate::logging;
use crate::world::Machine;

/// Threads for work that blocks, made as they are needed. Each group with a sink that writes local files keeps
/// one, and the others find one however many such groups there are.
const MOST_BLOCKING_THREADS: usize = 8192;
/// How often is looked whether the agent is ready, and once that is late.
const LOOKS: Duration = Duration::from_millis(2);
const LATE_LOOKS: Duration = Duration::from_millis(200);
/// How long the word that the agent is ready may be waited for before it says who is not.
const READY_LATE: Duration = Duration::from_secs(5);
/// A second signal sooner than this belongs to the first: `timeout` and some supervisors signal
/// the process and then its group.
const SAME_SIGNAL: Duration = Duration::from_secs(1);
/// Exit status of a process that a second signal ended: 128 and the number of SIGTERM.
const CUT_SHORT: i32 = 143;

/// Runs an agent until a signal ends it; answers the exit status.
pub(crate) fn run(args: AgentArgs) -> Result<ExitCode> {
    let begun = Instant::now();
    let machine = Arc::new(Machine::new(args.origin.properties.clone()));
    let property = |name: &str| args.origin.properties.get(name).cloned();
    logging::Settings::read(property, std::env::var("RUST_LOG").ok())?
        .start()
        .context("logging was started already")?;
    for note in &args.origin.notes {
        warn!("{note}");
    }
    let choice = Choice::read(property)?;
    if let Some(warning) = &choice.warning {
        warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(MOST_BLOCKING_THREADS)
        .enable_all()
        .build()?;
    let done = runtime.block_on(agent(args, choice, machine, begun));
    // What still blocks, such as a read from a dead network disk, is not waited for.
    runtime.shutdown_background();
    done
}

async fn agent(
    args: AgentArgs,
    choice: Choice,
    machine: Arc<Machine>,
    begun: Instant,
) -> Result<ExitCode> {
    let (stop_handle, stop) = Stop::new();
    tokio::spawn(until_signalled(stop_handle, !args.reload)?);
    let board = Board::default();
    tokio::spawn(telling_states(board.clone())?);
    survive_size_limits()?;
    let mut provider = Provider::new(&args.origin.settings(machine.seed(), args.reload))?;
    // Before the first look: what changes after it is noticed, and a SIGHUP never ends the process.
    let changes = if args.reload {
        let usual = if provider.is_remote() { POLL_REMOTE } else { POLL };
        // ZooKeeper tells of changes by itself.
        let usual = args.poll_interval.unwrap_or(usual);
        let poll = if provider.node().is_some() { Duration::ZERO } else { usual };
        Some(Changes::new(poll, &provider.files())?)
    } else {
        None
    };
    let Some(loaded) = stop.or(provider.load()).await else { return Ok(ExitCode::SUCCESS) };
    let loaded = loaded?;
    // From what was read on: that is no change.
    let changes = changes.map(|changes| changes.and_node(provider.node()));
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let reader = Reader {
        agent: Arc::from(args.origin.name.as_str()),
        lists: &splashdam_components::LISTS,
        lookups: machine.clone(),
        world: machine.clone(),
    };
    let (sources, reading) = (loaded.sources.clone(), reader.clone());
    let read = tokio::task::spawn_blocking(move || reading.read(&loaded.sources));
    let Some(read) = stop.or(read).await else { return Ok(ExitCode::SUCCESS) };
    let Read { checked, findings, fatal, agents } = read?;
    reload::log_findings(&findings, &sources);
    info!("Post-validation flume configuration contains configuration for agents: {agents:?}");
    if fatal {
        error!(
            "a fatal error in the configuration keeps the agent from starting; `splashdam check` shows it at its place"
        );
        return Ok(ExitCode::from(FAILED));
    }

    let around = Surroundings {
        world: machine.clone(),
        registry: Registry::default(),
        board,
        ledger: Bookkeeper::new(reader.agent.clone(), machine),
        grace: args.grace,
    };
    let (admin_stop, admin_stopped) = Stop::new();
    let admin = match &choice.monitoring {
        Some(monitoring) => Some(Admin::bind(monitoring).await?),
        None => None,
    };
    let serve = {
        let (registry, board) = (around.registry.clone(), around.board.clone());
        let (ledger, stopping) = (around.ledger.clone(), stop.clone());
        let stopped = admin_stopped.clone();
        move || {
            admin.map(|admin| tokio::spawn(admin.serve(registry, board, ledger, stopping, stopped)))
        }
    };
    let ledger = tokio::spawn(around.ledger.clone().run(admin_stopped));
    let mut topology = Topology::new(reader.agent.clone(), around.clone());
    let known = if checked.is_some() { Known::of(&findings) } else { Known::nothing_runs() };
    match checked {
        Some(checked) => {
            let summary = summary(&checked);
            topology.apply(checked).await;
            // Not before everybody is known: until then nothing would seem to be configured.
            serve();
            tokio::spawn(announce(reader.agent.clone(), around, summary, begun, stop.clone()));
        }
        None => {
            serve();
            tokio::spawn(announce(reader.agent.clone(), around, Vec::new(), begun, stop.clone()));
            warn!(
                "no configuration found for this host: {}; the agent idles until its configuration changes",
                reader.agent
            );
        }
    }
    if let Some(changes) = changes {
        reload::follow(&mut topology, &reader, &mut provider, changes, known, &stop).await;
    } else {
        stop.wait().await;
    }
    info!(
        "stopping: sources first, then sinks deliver what the channels hold, for at most {:?}",
        args.grace
    );
    let lost = topology.stop().await;
    admin_stop.stop();
    // What was counted last is written; if that fails, the log knows it.
    drop(ledger.await);
    if lost > 0 {
        error!(
            "stopped; {lost} events in memory could not be delivered or written down in time and are lost"
        );
        return Ok(ExitCode::from(FAILED));
    }
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Makes a write beyond the limit of file sizes (`ulimit -f`) an error like that of a full disk,
/// which channels and sinks outlast, and not the end of the process. Once caught the signal stays
/// so, whether anybody listens or not.
fn survive_size_limits() -> io::Result<()> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// Asks for a stop at the first SIGTERM or SIGINT, or SIGHUP when that has no other meaning, and ends the
/// process at the second. Java's own shutdown hooks, and Flume by them, take the three alike.
fn until_signalled(
    stop: splashdam_core::StopHandle,
    hangup_stops: bool,
) -> io::Result<impl Future<Output = ()>> {
    let mut hangup = hangup_stops.then(|| signal(SignalKind::hangup())).transpose()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let mut asked: Option<Instant> = None;
        loop {
            let name = tokio::select! {
                Some(()) = terminate.recv() => "SIGTERM",
                Some(()) = interrupt.recv() => "SIGINT",
                Some(()) = received(&mut hangup) => "SIGHUP",
                else => return,
            };
            if asked.is_some_and(|at| at.elapsed() < SAME_SIGNAL) {
                info!(
                    "{name} again within {SAME_SIGNAL:?}: taken for the first one still; it is stopping, and a signal after that time ends at once"
                );
                continue;
            }
            if asked.is_some() {
                error!("{name} again: ending at once; what memory channels hold is lost");
                #[expect(
                    clippy::disallowed_methods,
                    reason = "to end at once is what was asked for"
                )]
                std::process::exit(CUT_SHORT);
            }
            info!("{name}: stopping; a second signal ends at once, from {SAME_SIGNAL:?} on");
            asked = Some(Instant::now());
            stop.stop();
        }
    })
}

/// Logs what each component does at SIGUSR1, SIGUSR2 or SIGQUIT, which asks a JVM for its threads; by
/// default they would end the process.
fn telling_states(board: Board) -> io::Result<impl Future<Output = ()>> {
    let mut first = signal(SignalKind::user_defined1())?;
    let mut second = signal(SignalKind::user_defined2())?;
    let mut quit = signal(SignalKind::quit())?;
    Ok(async move {
        loop {
            let name = tokio::select! {
                Some(()) = first.recv() => "SIGUSR1",
                Some(()) = second.recv() => "SIGUSR2",
                Some(()) = quit.recv() => "SIGQUIT",
                else => return,
            };
            let all = board.all();
            info!("{name}: {} components follow", all.len());
            for ((role, name), Status { phase, since, trouble, again, .. }) in all {
                let phase = if again.is_some() { "opening again" } else { phase.word() };
                let seconds = again.unwrap_or(since).elapsed().as_secs();
                info!(component = %format!("{} {name}", role.word()), phase, seconds, trouble = trouble.as_deref());
            }
        }
    })
}

/// The next of a signal that may not be listened to at all.
async fn received(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// One line for each source, channel and sink: what it is and where to look.
fn summary(checked: &Checked) -> Vec<String> {
    let line = |role: &str, name: &str, kind: &str, facts: &Facts, to: String| {
        let place = facts.place.as_deref().map(|p| format!(": {p}")).unwrap_or_default();
        format!("{role} {name} ({kind}){place}{to}")
    };
    let mut lines = Vec::new();
    for source in &checked.sources {
        let to = source.channels.join(", ");
        let part = &source.part;
        lines.push(line("source", &source.name, part.entry.name, &part.facts, format!(" → {to}")));
    }
    for channel in &checked.channels {
        let part = &channel.part;
        lines.push(line("channel", &channel.name, part.entry.name, &part.facts, String::new()));
    }
    for (_, sink) in checked.sinks() {
        let part = &sink.part;
        let from = format!("{} → sink", sink.channel);
        lines.push(line(&from, &sink.name, part.entry.name, &part.facts, String::new()));
    }
    lines
}

/// Says once that the agent is ready, by the same judgement as `/readyz`, and where to look; not when
/// who is not ready stops.
async fn announce(
    agent: Arc<str>,
    around: Surroundings,
    summary: Vec<String>,
    begun: Instant,
    stop: Stop,
) {
    let mut health = Health::default();
    let mut late = false;
    loop {
        let unready = health.look(&around.registry, &around.board, &stop).unready;
        if unready.is_empty() || stop.requested() {
            break;
        }
        if !late && begun.elapsed() > READY_LATE {
            late = true;
            for Problem { component, reason } in unready {
                info!(component = %component, reason, "not ready yet");
            }
        }
        let wait = if late { LATE_LOOKS } else { LOOKS };
        stop.or(tokio::time::sleep(wait)).await;
    }
    if stop.requested() {
        return;
    }
    let took = begun.elapsed();
    info!("agent {agent} is running, ready after {} ms", took.as_millis());
    if !io::stderr().is_terminal() {
        summary.iter().for_each(|line| info!("{line}"));
        return;
    }
    let mut text = format!("\nagent {agent} is running:\n");
    summary.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    text.push_str("Ctrl-C delivers what the channels hold and ends.\n\n");
    // A terminal that has gone away needs no word.
    drop(io::stderr().write_all(text.as_bytes()));
}
