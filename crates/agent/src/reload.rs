//! Follows the configuration: what changed is applied, what is wrong changes nothing.

use std::collections::BTreeSet;
use std::time::Instant;

use splashdam_config::{Diagnostic, Severity, Sources};
use splashdam_core::{Stop, Trouble};
use tracing::{error, info, warn};

use crate::provider::{Loaded, Provider};
use crate::reader::{Read, Reader};
use crate::topology::Topology;
use crate::watch::Changes;

/// Errors of the configuration that runs, which a new one may keep.
#[derive(Debug, Default)]
pub struct Known(BTreeSet<String>);

impl Known {
    /// The errors among `findings`.
    pub fn of(findings: &[Diagnostic]) -> Self {
        let errors = findings.iter().filter(|d| d.severity == Severity::Error);
        Known(errors.map(|d| format!("{:?} {}", d.component, d.message)).collect())
    }

    /// Whether `newer` has none that is not here.
    fn covers(&self, newer: &Known) -> bool {
        newer.0.is_subset(&self.0)
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
            Ok(None) => {}
            Ok(Some(loaded)) => {
                trouble.ended(Instant::now());
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

/// Applies what was loaded and answers with its errors, or keeps what runs and says why.
async fn apply(
    topology: &mut Topology,
    reader: &Reader,
    loaded: Loaded,
    known: &Known,
    stop: &Stop,
) -> Option<Known> {
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
