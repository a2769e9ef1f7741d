//! From texts to a checked agent, the same way for the agent, a reload and the checker.

use std::sync::Arc;

use futures_util::FutureExt;
use splashdam_config::plan::FilterPlan;
use splashdam_config::{ConfigFilter, Diagnostic, Lookups, Plan, Sources};
use splashdam_core::{Context, Lists, Role, World, find, known_types};

use crate::checked::{self, Checked};

/// Reads configuration for one agent.
#[derive(Clone)]
pub struct Reader {
    /// The agent's name.
    pub agent: Arc<str>,
    /// What components there are.
    pub lists: &'static Lists,
    /// Answers `${sys:…}` and its kin.
    pub lookups: Arc<dyn Lookups + Send + Sync>,
    /// The machine, for config filters.
    pub world: Arc<dyn World>,
}

/// What was read.
#[derive(Debug)]
#[must_use]
pub struct Read {
    /// The agent, or nothing where Flume would idle or stop.
    pub checked: Option<Checked>,
    /// Everything noticed.
    pub findings: Vec<Diagnostic>,
    /// Where Flume stops with a fatal error.
    pub fatal: bool,
    /// Agents that the configuration names.
    pub agents: Vec<String>,
}

impl Reader {
    /// Reads and checks. Blocks while config filters run external commands. Of no text at all
    /// nothing is said: who found none has said it.
    pub fn read(&self, sources: &Sources) -> Read {
        if sources.is_empty() {
            return Read { checked: None, findings: Vec::new(), fatal: false, agents: Vec::new() };
        }
        let filters = |plan: &FilterPlan| self.filter(plan);
        let reading = Plan::read(&self.agent, sources, &*self.lookups, &filters);
        let mut read = Read {
            checked: None,
            findings: reading.findings,
            fatal: reading.fatal,
            agents: reading.agents,
        };
        if let Some(plan) = &reading.plan {
            let checking = checked::check(plan, self.lists);
            read.findings.extend(checking.findings);
            read.fatal |= checking.fatal;
            let checked = checking.checked.filter(|_| !reading.fatal);
            read.checked = checked.map(|checked| checked.without(&read.findings));
        }
        read
    }

    fn filter(&self, plan: &FilterPlan) -> Result<Box<dyn ConfigFilter>, String> {
        let kind = &plan.kind.value;
        let entry = find(self.lists.config_filters, kind).ok_or_else(|| {
            let known = known_types(self.lists.config_filters).join(", ");
            format!("config filter type `{kind}` is not known; known are {known}")
        })?;
        let context = Context {
            dead_letters: false,
            agent: self.agent.clone(),
            name: Arc::from(plan.name.as_str()),
            role: Role::Source,
            choices: Arc::new([]),
            counters: splashdam_core::metrics::Counters::new(Role::Source),
            world: self.world.clone(),
            shared: splashdam_core::Shared::default(),
        };
        // A filter has nothing to wait for when it opens: its work is in each look-up.
        match entry.open(plan.section.clone(), context).now_or_never() {
            Some(opened) => opened.map_err(|error| error.to_string()),
            None => Err(format!("config filter {} is not ready", plan.name)),
        }
    }
}
