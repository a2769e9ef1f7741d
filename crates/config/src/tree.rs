//! The keys of one component: dotted keys that may have a value *and* keys below them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::source::{FileId, Source, Span};
use crate::text::{self, Entry, Located};

/// One node of the tree of keys, cheap to clone: its own value, if any, and all that is written
/// below it. For the component at `a1.sinks.k1` that is `type`, `hdfs.path` and so on; the section
/// `serializer` of it may have the value `text` and the key `appendNewline`.
///
/// Two are equal when they say the same, wherever it stands and in whatever order: the question a
/// reload asks.
#[derive(Clone)]
pub struct Section(Arc<Node>);

struct Node {
    name: String,
    /// All of the key that leads here, as in `a1.sinks.k1`; empty where nobody said.
    path: Arc<str>,
    role: Role,
    /// The component it belongs to, as in `sink k1`.
    owner: Option<Arc<str>>,
    value: Option<Located>,
    /// Keys relative to this node, in written order, unique.
    entries: Vec<Entry>,
    /// Index of each key in `entries`.
    places: HashMap<Arc<str>, usize>,
    span: Option<Span>,
}

/// What a section is the configuration of; decides which keys are the plan's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A source.
    Source,
    /// A channel.
    Channel,
    /// A sink.
    Sink,
    /// A sink group.
    SinkGroup,
    /// A config filter.
    ConfigFilter,
    /// A node below a component, such as `selector` or `interceptors.i1`.
    Part,
}

impl Role {
    /// The word for it in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Channel => "channel",
            Role::Sink => "sink",
            Role::SinkGroup => "sink group",
            Role::ConfigFilter => "config filter",
            Role::Part => "section",
        }
    }

    /// Whether the plan, not the component, answers for `key`.
    #[must_use]
    pub fn is_common(self, key: &str) -> bool {
        let below = |parent: &str| {
            key.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        match self {
            Role::Part => key == "type",
            Role::SinkGroup => key == "sinks" || key == "config" || below("processor"),
            Role::Sink if key == "deadLetter" => true,
            // Also where they do not belong: the plan says so, and once is enough.
            _ => {
                matches!(key, "type" | "config" | "channel" | "channels")
                    || below("selector")
                    || below("interceptors")
            }
        }
    }
}

impl Section {
    /// A section of keys that are relative to it.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        role: Role,
        value: Option<Located>,
        entries: Vec<Entry>,
    ) -> Self {
        let places =
            entries.iter().enumerate().map(|(index, entry)| (entry.key.shared(), index)).collect();
        let first = entries.first().map(|entry| entry.key.span());
        let span = value.as_ref().map(Located::span).or(first);
        let name = name.into();
        let owner = (role != Role::Part).then(|| Arc::from(format!("{} {name}", role.name())));
        let path = Arc::from("");
        Section(Arc::new(Node { name, path, role, owner, value, entries, places, span }))
    }

    /// A section without keys.
    #[must_use]
    pub fn empty() -> Self {
        Section::new("", Role::Part, None, Vec::new())
    }

    /// Keys relative to a component, as properties text; for tests and tools. Findings are dropped,
    /// the last of two equal keys wins.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let sources = std::iter::once(Source::new("test", text)).collect();
        Section::new("test", Role::Source, None, text::parse_all(&sources).entries)
    }

    /// The component's name, or the key of a node below one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The component it belongs to, as in `sink k1`, for findings.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.0.owner.as_deref()
    }

    /// A dotted key below as it is written in the file, as in `a1.sinks.k1.type`, for remedies.
    #[must_use]
    pub fn whole_key(&self, key: &str) -> String {
        match &*self.0.path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    /// What it is the configuration of.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// The value of the node itself, as of `serializer = text`.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.0.value.as_ref().map(Located::text)
    }

    /// The value of the node itself, with its place.
    #[must_use]
    pub fn located_value(&self) -> Option<&Located> {
        self.0.value.as_ref()
    }

    /// The value of a dotted key below.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entry(key).map(Entry::value)
    }

    /// The entry of a dotted key below.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.0.places.get(key).and_then(|place| self.0.entries.get(*place))
    }

    /// Where a key stands: the part of it that is below this section.
    #[must_use]
    pub fn key_span(&self, key: &str) -> Option<Span> {
        self.entry(key).map(Entry::key_span)
    }

    /// Where a value stands.
    #[must_use]
    pub fn value_span(&self, key: &str) -> Option<Span> {
        self.entry(key).map(Entry::value_span)
    }

    /// A place to point at when no single key is to blame.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        self.0.span
    }

    /// The node at a dotted key: its value and all below it. Empty, if nothing is there.
    #[must_use]
    pub fn section(&self, prefix: &str) -> Section {
        if prefix.is_empty() {
            return self.clone();
        }
        let value = self.entry(prefix).map(|entry| entry.value.clone());
        let key = self.entry(prefix).map(Entry::key_span);
        let below = |entry: &Entry| {
            entry.key().strip_prefix(prefix)?.strip_prefix('.')?;
            let key = entry.key.part(prefix.len() + 1, entry.key().len())?;
            Some(Entry { key, value: entry.value.clone() })
        };
        let entries = self.0.entries.iter().filter_map(below).collect();
        let mut section = Section::new(prefix, Role::Part, value, entries);
        if let Some(node) = Arc::get_mut(&mut section.0) {
            node.owner.clone_from(&self.0.owner);
            if !self.0.path.is_empty() {
                node.path = self.whole_key(prefix).into();
            }
            node.span = key.or(node.span);
        }
        section
    }

    /// The nodes directly below, in written order, each with all below it.
    #[must_use]
    pub fn children(&self) -> Vec<Section> {
        let mut seen = HashSet::new();
        let first_part = |key| str::split_once(key, '.').map_or(key, |(name, _)| name);
        let names = self.keys().map(first_part).filter(|name| seen.insert(*name));
        names.map(|name| self.section(name)).collect()
    }

    /// Dotted keys, in written order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.entries.iter().map(Entry::key)
    }

    /// Dotted keys and their values, in written order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.0.entries
    }

    /// Whether it has neither value nor keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.value.is_none() && self.0.entries.is_empty()
    }

    /// Says under which key it stands, as in `a1.sinks.k1`.
    pub(crate) fn under(mut self, path: &str) -> Section {
        if let Some(node) = Arc::get_mut(&mut self.0) {
            node.path = path.into();
        }
        self
    }

    /// Where an empty section would have stood, for findings about what is missing.
    #[must_use]
    pub fn with_span(&self, span: Span) -> Section {
        let node = &self.0;
        Section(Arc::new(Node {
            name: node.name.clone(),
            path: node.path.clone(),
            role: node.role,
            owner: node.owner.clone(),
            value: node.value.clone(),
            entries: node.entries.clone(),
            places: node.places.clone(),
            span: Some(span),
        }))
    }
}

impl PartialEq for Section {
    fn eq(&self, other: &Self) -> bool {
        self.0.value == other.0.value
            && self.0.entries.len() == other.0.entries.len()
            && self.0.entries.iter().all(|entry| other.get(entry.key()) == Some(entry.value()))
    }
}

impl Eq for Section {}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.0.entries.iter().map(|entry| (entry.key(), entry.value()));
        write!(f, "{} {:?} ", self.0.name, self.value())?;
        f.debug_map().entries(pairs).finish()
    }
}

impl Default for Section {
    fn default() -> Self {
        Section::empty()
    }
}

impl Span {
    /// The very start of a file, for findings about the file as a whole.
    #[must_use]
    pub fn start_of(file: FileId) -> Span {
        Span::new(file, 0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_value_and_keys_below() {
        let section =
            Section::parse("serializer = text\nserializer.appendNewline = false\nport = 1\n");
        let serializer = section.section("serializer");
        assert_eq!(serializer.value(), Some("text"));
        assert_eq!(serializer.get("appendNewline"), Some("false"));
        assert_eq!(
            section.keys().collect::<Vec<_>>(),
            ["serializer", "serializer.appendNewline", "port"]
        );
        assert!(section.section("nothing").is_empty());
        let names: Vec<_> =
            section.children().iter().map(|child| child.name().to_owned()).collect();
        assert_eq!(names, ["serializer", "port"]);
    }

    #[test]
    fn equal_means_saying_the_same() {
        let one = Section::parse("a = 1\nb.c = 2\n");
        let other = Section::parse("# moved\n\nb.c: 2\na   1\n");
        assert_eq!(one, other);
        assert_ne!(one, Section::parse("a = 1\nb.c = 3\n"));
        assert_ne!(one, Section::parse("a = 1\nb.c = 2\nd = 3\n"));
    }

    #[test]
    fn spans_cover_the_part_of_the_key_below() {
        let section = Section::parse("hdfs.path = /x\n").section("hdfs");
        let span = section.key_span("path").unwrap();
        assert_eq!((span.start, span.end), (5, 9));
    }
}
