//! `splashdam check --online`: what the components find where they would connect to.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use splashdam_agent::Checked;
use splashdam_agent::checked::Part;
use splashdam_config::{Diagnostic, Span};
use splashdam_core::metrics::Counters;
use splashdam_core::{BoxFuture, Context, Probed, Role, Shared};
use tokio::time::timeout;

use crate::cli::Origin;
use crate::world::Machine;

/// How long one component may look.
const PATIENCE: Duration = Duration::from_secs(30);

/// One component that looks.
struct Probe {
    title: String,
    at: Option<Span>,
    probed: BoxFuture<'static, Probed>,
}

/// Lets all components look side by side. What they find is a note, what they miss an error.
pub(super) fn findings(checked: &Checked, origin: &Origin) -> io::Result<Vec<Diagnostic>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let looks = probes(checked, origin).into_iter().map(look);
        join_all(looks).await.into_iter().flatten().collect()
    }))
}

fn probes(checked: &Checked, origin: &Origin) -> Vec<Probe> {
    let machine = Arc::new(Machine::new(origin.properties.clone()));
    let (world, shared) = (machine, Shared::default());
    let context = |role: Role, name: &Arc<str>| Context {
        agent: checked.agent.clone(),
        name: name.clone(),
        role,
        choices: Arc::new([]),
        dead_letters: false,
        counters: Counters::new(role),
        world: world.clone(),
        shared: shared.clone(),
    };
    let channels = checked.channels.iter().map(|c| probe(&c.part, context(Role::Channel, &c.name)));
    let sources = checked.sources.iter().map(|s| probe(&s.part, context(Role::Source, &s.name)));
    let sinks = checked.sinks().map(|(_, s)| probe(&s.part, context(Role::Sink, &s.name)));
    let context = &context;
    let interceptors = checked.sources.iter().flat_map(|source| {
        let of = move |part| probe(part, context(Role::Source, &source.name));
        source.interceptors.iter().map(move |(_, part)| of(part))
    });
    channels.chain(sources).chain(interceptors).chain(sinks).collect()
}

fn probe<T: ?Sized>(part: &Part<T>, cx: Context) -> Probe {
    let section = part.section.clone();
    Probe { title: cx.title(), at: section.span(), probed: part.entry.probe(section, cx) }
}

async fn look(probe: Probe) -> Option<Diagnostic> {
    let Probe { title, at, probed } = probe;
    let finding = match timeout(PATIENCE, probed).await {
        Ok(Ok(None)) => return None,
        Ok(Ok(Some(found))) => Diagnostic::note("online", format!("{title}: {found}")),
        Ok(Err(error)) => Diagnostic::error("unreachable", format!("{title}: {error}")),
        Err(_) => {
            let message = format!("{title}: no answer within {PATIENCE:?}");
            Diagnostic::error("unreachable", message)
        }
    };
    Some(finding.at(at).component(title))
}
