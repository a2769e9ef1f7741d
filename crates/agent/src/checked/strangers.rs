//! Keys that a component never asked for, but another would have.

use splashdam_config::tree::Role;
use splashdam_config::{Diagnostic, Entry as Key, Section};
use splashdam_core::{Entry, Lists};

use super::kinds::{self, Kind};

/// More owners than this say nothing about what was meant.
const OWNERS: usize = 3;

/// Tells for each unknown key without a near name which other type has it.
pub(super) fn explain(findings: &mut [Diagnostic], section: &Section, lists: &Lists, kind: Kind) {
    let unknown = findings.iter_mut().filter(|f| f.code == "unknown-key" && f.help.is_none());
    for finding in unknown {
        let key = section.entries().iter().find(|key| Some(key.key_span()) == finding.span);
        let Some(key) = key else { continue };
        finding.help = owners(key, lists, kind);
    }
}

/// Who has `key`: types of the same role first, of the other roles if there are none.
fn owners(key: &Key, lists: &Lists, kind: Kind) -> Option<String> {
    let of = |role: Kind| match role {
        Kind::Source => who_knows(key, lists.sources, Role::Source),
        Kind::Channel => who_knows(key, lists.channels, Role::Channel),
        Kind::Sink => who_knows(key, lists.sinks, Role::Sink),
        Kind::Interceptor => who_knows(key, lists.interceptors, Role::Part),
        Kind::Selector => who_knows(key, lists.selectors, Role::Part),
        Kind::Processor => who_knows(key, lists.processors, Role::Part),
    };
    let sentence = |names: &[&str], role: Kind| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        format!("`{}` is a key of the {} {}", key.key(), role.word(), names.join(" and "))
    };
    let same = of(kind);
    if !same.is_empty() {
        return (same.len() <= OWNERS).then(|| sentence(&same, kind));
    }
    let prefix = key.key().split('.').next().unwrap_or_default();
    if let Some(name) = kinds::prefixed(prefix) {
        return Some(format!("keys that start with `{prefix}.` belong to the type `{name}`"));
    }
    // Parts of a component have keys too general to point across roles.
    let others = [Kind::Source, Kind::Channel, Kind::Sink];
    others.into_iter().filter(|role| *role != kind).find_map(|role| {
        let names = of(role);
        (1..=OWNERS).contains(&names.len()).then(|| sentence(&names, role))
    })
}

fn who_knows<T: ?Sized>(key: &Key, list: &[Entry<T>], role: Role) -> Vec<&'static str> {
    list.iter().filter(|entry| knows(entry, key, role)).map(|entry| entry.name).collect()
}

/// Whether a component of this type would read `key`: asked by showing it a section with that key
/// alone. One that takes any key, or none, cannot tell.
fn knows<T: ?Sized>(entry: &Entry<T>, key: &Key, role: Role) -> bool {
    let refuses = |key: Key| {
        let probe = Section::new("probe", role, None, vec![key]);
        entry.look(&probe).findings.iter().any(|finding| finding.code == "unknown-key")
    };
    let nonsense = Section::parse("no-such-key = 1\n").entries().first().cloned();
    nonsense.is_some_and(refuses) && !refuses(key.clone())
}
