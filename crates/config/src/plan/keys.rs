//! One agent's keys, sorted into lists and components.

use std::collections::HashMap;

use crate::diagnostic::Diagnostic;
use crate::nearest::nearest;
use crate::text::{Entry, Located};
use crate::tree::{Role, Section};

/// Words that may follow the agent's name.
pub(super) const SECTIONS: [&str; 5] =
    ["sources", "channels", "sinks", "sinkgroups", "configfilters"];

/// What an agent's text says of each role.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) sources: Family,
    pub(super) channels: Family,
    pub(super) sinks: Family,
    pub(super) groups: Family,
    pub(super) filters: Family,
}

/// The list of one role, and the components defined for it, in written order.
#[derive(Debug, Default)]
pub(super) struct Family {
    /// The key of its list, as in `a1.sources`.
    pub(super) path: String,
    /// The value of `a1.sources`.
    pub(super) list: Option<Entry>,
    defined: Vec<Defined>,
    places: HashMap<String, usize>,
}

#[derive(Debug)]
struct Defined {
    name: String,
    /// Where the name first stands.
    place: Located,
    entries: Vec<Entry>,
}

impl Keys {
    /// Sorts entries whose keys are relative to the agent; what fits nowhere is reported.
    pub(super) fn split(agent: &str, entries: Vec<Entry>, findings: &mut Vec<Diagnostic>) -> Keys {
        let mut keys = Keys::default();
        for section in SECTIONS {
            if let Some(family) = keys.family_mut(section) {
                family.path = format!("{agent}.{section}");
            }
        }
        for entry in entries {
            let section = entry.key().split('.').next().unwrap_or_default().to_owned();
            let Some(family) = keys.family_mut(&section) else {
                findings.push(invalid(agent, &entry, &section));
                continue;
            };
            if section.len() == entry.key().len() {
                family.list = Some(entry);
            } else if let Some(unfit) = family.add(entry, section.len() + 1) {
                findings.push(invalid(agent, &unfit, &section));
            }
        }
        keys
    }

    fn family_mut(&mut self, section: &str) -> Option<&mut Family> {
        match section {
            "sources" => Some(&mut self.sources),
            "channels" => Some(&mut self.channels),
            "sinks" => Some(&mut self.sinks),
            "sinkgroups" => Some(&mut self.groups),
            "configfilters" => Some(&mut self.filters),
            _ => None,
        }
    }

    /// Values that config filters work on: all of components, neither lists nor the filters' own.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Located> {
        let families = [&mut self.sources, &mut self.channels, &mut self.sinks, &mut self.groups];
        let defined = families.into_iter().flat_map(|family| &mut family.defined);
        defined.flat_map(|defined| &mut defined.entries).map(|entry| &mut entry.value)
    }
}

impl Family {
    /// Takes `name.key` from `from` on; gives back what has no such shape.
    fn add(&mut self, entry: Entry, from: usize) -> Option<Entry> {
        let rest = &entry.key()[from..];
        let Some((name, key)) = rest.split_once('.') else {
            return Some(entry);
        };
        if name.trim().is_empty() || key.is_empty() {
            return Some(entry);
        }
        let key_start = from + name.len() + 1;
        let (Some(place), Some(key)) =
            (entry.key.part(from, key_start - 1), entry.key.part(key_start, entry.key().len()))
        else {
            return Some(entry);
        };
        let name = name.trim().to_owned();
        let index = *self.places.entry(name.clone()).or_insert_with(|| {
            self.defined.push(Defined { name, place, entries: Vec::new() });
            self.defined.len() - 1
        });
        self.defined[index].entries.push(Entry { key, value: entry.value });
        None
    }

    /// Names of all components defined, with where each first stands.
    pub(super) fn defined(&self) -> impl Iterator<Item = (&str, &Located)> {
        self.defined.iter().map(|defined| (defined.name.as_str(), &defined.place))
    }

    /// Whether any key of that component is written.
    pub(super) fn defines(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The keys of one component, if any are written.
    pub(super) fn section(&self, name: &str, role: Role) -> Option<Section> {
        let defined = &self.defined[*self.places.get(name)?];
        let section = Section::new(name, role, None, defined.entries.clone());
        Some(section.under(&format!("{}.{name}", self.path)).with_span(defined.place.span()))
    }
}

fn invalid(agent: &str, entry: &Entry, section: &str) -> Diagnostic {
    let finding = Diagnostic::warning(
        "invalid-property",
        format!("invalid property specified: `{}`", entry.key()),
    )
    .at(entry.key_span())
    .label("ignored");
    if SECTIONS.contains(&section) {
        let wanted = format!(
            "after `{section}.` come a name and a key, as in `{agent}.{section}.{}.type`",
            example(entry, section)
        );
        return finding.help(wanted);
    }
    let comma = entry.key().contains(',').then(|| entry.key().replace(',', "."));
    if let Some(dotted) =
        comma.filter(|dotted| SECTIONS.iter().any(|known| dotted.starts_with(known)))
    {
        return finding
            .help(format!("a comma stands where a dot belongs: write `{agent}.{dotted}`"));
    }
    match nearest(section, SECTIONS) {
        Some(meant) => finding.help(format!(
            "did you mean `{meant}`, as in `{agent}.{}`?",
            entry.key().replacen(section, meant, 1)
        )),
        None => {
            finding.help(format!("after the agent's name comes one of {}", SECTIONS.join(", ")))
        }
    }
}

/// The class that Flume lets check the configuration of a type of one's own
/// (`FlumeConfiguration.AgentConfiguration`); of its own types it does not ask for one.
pub(super) fn java_configuration(section: &Section) -> Option<Diagnostic> {
    let entry = section.entry("config")?;
    let (role, name) = (section.role().name(), section.name());
    let mut finding = Diagnostic::note("java-class", format!("{role} `{name}` ignores `config`"))
        .at(entry.key_span())
        .label("a Java class that would check this section")
        .help("remove it: Flume asks for it only with types of one's own");
    finding.component = section.owner().map(str::to_owned);
    Some(finding)
}

/// The component's name in a key that is cut short.
fn example<'a>(entry: &'a Entry, section: &str) -> &'a str {
    let rest = entry.key().get(section.len() + 1..).unwrap_or_default().trim_matches('.').trim();
    if rest.is_empty() { "name" } else { rest }
}
