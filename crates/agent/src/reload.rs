//! Follows the configuration: what changed is applied, what is wrong changes nothing.

use std::collections::BTreeSet;
use std::time::Instant;

use splashdam_config::{Diagnostic, Severity, Sources};
use splashdam_core::{Stop, Trouble};
use tracing::{error, info, warn};

use crate::checked::Checked;
use crate::provider::{Loaded, Provider};
use crate::reader::{Read, Reader};
use crate::topology::Topology;
use crate::watch::Changes;

/// Errors of the configuration that runs, which a new one may keep; nothing where nothing runs, so
/// that there is nothing to guard.
#[derive(Debug, Default)]
pub struct Known(Option<BTreeSet<String>>);

impl Known {
    /// The errors among `findings`, of a configuration by which something runs.
    pub fn of(findings: &[Diagnostic]) -> Self {
        let errors = findings.iter().filter(|d| d.severity == Severity::Error);
        Known(Some(errors.map(|d| format!("{:?} {}", d.component, d.message)).collect()))
    }

    /// Nothing runs.
    pub fn nothing_runs() -> Self {
        Known(None)
    }

    /// Whether `newer` has none that is not here.
    fn covers(&self, newer: &Known) -> bool {
        match (&self.0, &newer.0) {
            (Some(known), Some(newer)) => newer.is_subset(known),
            (None, _) | (_, None) => true,
        }
    }
}

/// Writes findings to the log, each at its place.
pub fn log_findings(findings: &[Diagnostic], sources: &Sources) {
    for finding in findings {
        let text = finding.plain(sources);
        match finding.severity {
            Severity::Error => error!("{text}"),
            Severity::Warning => warn!("{text}"),
            Severity::Note => info!("{text}"),
        }
    }
}

/// Applies changes of the configuration until `stop`.
pub async fn follow(
    topology: &mut Topology,
    reader: &Reader,
    provider: &mut Provider,
    mut changes: Changes,
    mut known: Known,
    stop: &Stop,
) {
    let mut trouble = Trouble::new();
    while stop.or(changes.next()).await.is_some() {
        // A change that is forgotten at the end is none.
        let Some(polled) = stop.or(provider.poll()).await else { return };
        match polled {
            Ok(None) => say_end(&mut trouble),
            Ok(Some(loaded)) => {
                say_end(&mut trouble);
                if let Some(now_known) = apply(topology, reader, loaded, &known, stop).await {
                    known = now_known;
                }
            }
            Err(error) => {
                if trouble.happened(Instant::now(), &error.to_string()).is_some() {
                    warn!(%error, "the configuration cannot be read; the one that runs stays in force");
                }
            }
        }
    }
}

fn say_end(trouble: &mut Trouble) {
    if let Some(length) = trouble.ended(Instant::now()) {
        info!("the configuration can be read again, after {} s", length.as_secs());
    }
}

/// Applies what was loaded and answers with its errors, or keeps what runs and says why.
async fn apply(
    topology: &mut Topology,
    reader: &Reader,
    loaded: Loaded,
    known: &Known,
    stop: &Stop,
) -> Option<Known> {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    if loaded.sources.is_empty() {
        info!("stopping everything, since there is no configuration any more");
        topology.apply(Checked::nothing(reader.agent.clone())).await;
        info!("nothing runs");
        return Some(Known::nothing_runs());
    }
    let sources = loaded.sources.clone();
    let reading = reader.clone();
    let read = tokio::task::spawn_blocking(move || reading.read(&loaded.sources));
    let Ok(Read { checked, findings, .. }) = stop.or(read).await? else {
        error!(
            "reading the changed configuration panicked: this is a bug of ours; the configuration that runs stays in force"
        );
        return None;
    };
    log_findings(&findings, &sources);
    let now_known = Known::of(&findings);
    if !known.covers(&now_known) {
        error!(
            "the changed configuration has new errors, so nothing of it is applied; mend it and it is read again"
        );
        return None;
    }
    let Some(checked) = checked else {
        error!(agent = %reader.agent, "the changed configuration leaves this agent nothing to run, so nothing of it is applied; stop the agent if that is meant");
        return None;
    };
    info!("applying the changed configuration");
    topology.apply(checked).await;
    info!("the changed configuration is in force");
    Some(now_known)
}
