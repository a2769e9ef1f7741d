//! Channel selector `multiplexing`: a header's value says which channels an event goes to.
//!
//! Flume's class: `org.apache.flume.channel.MultiplexingChannelSelector`. An event without the
//! header, or with a blank or unmapped value, goes to `default`; where there is no default it is
//! counted and dropped, as in Flume, and the checker warns. Any number of blanks may stand between
//! channels, where Flume takes one only.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use splashdam_config::{Diagnostic, Section, Spanned};
use splashdam_core::{ChannelSet, Component, Context, Event, Facts, OpenError, Route, Selector};

/// Parts events by a header.
pub struct Multiplexing {
    header: String,
    /// By the value's bytes, which need no second look for being UTF-8.
    routes: HashMap<Box<[u8]>, Route>,
    default: Route,
}

/// Keys of the multiplexing selector.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The header's name.
    pub header: String,
    /// Channels of each value, as in `mapping.<value> = c1 c2`. A value may have dots in it.
    pub mapping: BTreeMap<String, Vec<Spanned<String>>>,
    /// Channels of events whose value is missing, blank or not mapped.
    pub default: Vec<Spanned<String>>,
    /// Channels of each value whose failure does not fail the batch, as in `optional.<value> = c3`.
    /// One that is required, too, counts as required.
    pub optional: BTreeMap<String, Vec<Spanned<String>>>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            header: "flume.selector.header".into(),
            mapping: BTreeMap::new(),
            default: Vec::new(),
            optional: BTreeMap::new(),
        }
    }
}

impl Component for Multiplexing {
    const TYPE: &'static str = "multiplexing";
    const ALIASES: &'static [&'static str] =
        &["org.apache.flume.channel.MultiplexingChannelSelector"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        let mut findings = Vec::new();
        let mut channels = |names| super::channels(names, &cx, &mut findings);
        let default =
            Route { required: channels(&config.default), optional: ChannelSet::default() };
        let mut routes = HashMap::with_capacity(config.mapping.len());
        for (value, names) in &config.mapping {
            if names.is_empty() {
                return Err(OpenError::config(format!("`mapping.{value}` names no channel")));
            }
            let route = Route { required: channels(names), optional: ChannelSet::default() };
            routes.insert(Box::from(value.as_bytes()), route);
        }
        for (value, names) in &config.optional {
            let optional = channels(names);
            let route = routes.entry(Box::from(value.as_bytes())).or_insert(default);
            route.optional = optional.without(route.required);
        }
        if !findings.is_empty() {
            return Err(OpenError::Config(findings));
        }
        // Whatever the map says of it, a blank value counts as none; see `route`.
        Ok(Multiplexing { header: config.header, routes, default })
    }

    fn facts(config: &Config) -> Facts {
        let lists = config.mapping.values().chain(config.optional.values());
        let all = lists.chain(std::iter::once(&config.default)).flatten();
        let required = || config.mapping.values().flatten().chain(&config.default);
        let only = |name: &&Spanned<String>| !required().any(|other| other.value == name.value);
        let passes_over = config.optional.values().flatten().filter(only);
        Facts {
            chooses: all.cloned().collect(),
            passes_over: passes_over.map(|name| name.value.clone()).collect(),
            needs_headers: config
                .default
                .is_empty()
                .then(|| config.header.clone())
                .into_iter()
                .collect(),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        for (value, _) in config.mapping.iter().filter(|(_, names)| names.is_empty()) {
            let message = format!("`mapping.{value}` names no channel");
            findings.push(
                Diagnostic::error("missing-value", message)
                    .at(section.key_span(&format!("mapping.{value}")))
                    .help("name a channel of the source, or leave the line out for the default"),
            );
        }
        if config.default.is_empty() {
            let message = format!(
                "events whose header `{}` is missing or not mapped are dropped",
                config.header
            );
            findings.push(
                Diagnostic::warning("events-dropped", message)
                    .at(section.value_span("header").or(section.span()))
                    .help("set `default` to the channels that take them"),
            );
        }
        findings
    }
}

impl Selector for Multiplexing {
    fn route(&self, event: &Event) -> Route {
        let Some(value) = event.headers.get(&self.header) else { return self.default };
        let value: &[u8] = value.as_bytes();
        match self.routes.get(value) {
            // Java's `trim` takes off all up to the blank. Optional channels count all the same.
            Some(route) if value.iter().all(|byte| *byte <= b' ') => Route {
                required: self.default.required,
                optional: route.optional.without(self.default.required),
            },
            Some(route) => *route,
            None => self.default,
        }
    }

    fn uniform(&self) -> Option<Route> {
        self.routes.values().all(|route| *route == self.default).then_some(self.default)
    }

    fn repeats(&self, varies: &dyn Fn(&str) -> bool) -> bool {
        !varies(&self.header)
    }
}

#[cfg(test)]
mod tests {
    use splashdam_testkit::contract;

    use super::super::tests::{open, opened, refuses};
    use super::*;

    const KEYS: &str = "header = state
mapping.CZ = c1
mapping.US.east = c2 c3
mapping.both = c1
default = c4
optional.both = c1 c2
optional.CA = c2 c4
";
    const CHANNELS: &[&str] = &["c1", "c2", "c3", "c4"];

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::selector::<Multiplexing>(KEYS, CHANNELS).await;
        contract::selector::<Multiplexing>("header = host\ndefault = c1", &["c1"]).await;
        contract::selector::<Multiplexing>("", &["c1"]).await;
    }

    async fn check(keys: &str, value: Option<&str>, required: &[usize], optional: &[usize]) {
        let selector = open::<Multiplexing>(keys, CHANNELS).await;
        let mut event = Event::new("x");
        if let Some(value) = value {
            event.headers.insert("state", value);
        }
        let route = selector.route(&event);
        let got: (Vec<_>, Vec<_>) =
            (route.required.iter().collect(), route.optional.iter().collect());
        assert_eq!(got, (required.to_vec(), optional.to_vec()), "{value:?} in {keys}");
    }

    #[tokio::test]
    async fn the_value_decides() {
        check(KEYS, Some("CZ"), &[0], &[]).await;
        check(KEYS, Some("US.east"), &[1, 2], &[]).await;
        check(KEYS, Some("cz"), &[3], &[]).await;
        check(KEYS, Some("elsewhere"), &[3], &[]).await;
        check(KEYS, None, &[3], &[]).await;
        check(KEYS, Some(" "), &[3], &[]).await;
        // Required wins over optional; optional without a mapping comes on top of the default.
        check(KEYS, Some("both"), &[0], &[1]).await;
        check(KEYS, Some("CA"), &[3], &[1]).await;
    }

    #[tokio::test]
    async fn without_a_default_the_rest_goes_nowhere() {
        let keys = "header = state\nmapping.CZ = c1\noptional.CA = c2";
        check(keys, Some("CZ"), &[0], &[]).await;
        check(keys, Some("US"), &[], &[]).await;
        check(keys, None, &[], &[]).await;
        check(keys, Some("CA"), &[], &[1]).await;
    }

    #[tokio::test]
    async fn the_header_has_a_name_by_default() {
        let selector = open::<Multiplexing>("mapping.x = c2\ndefault = c1", CHANNELS).await;
        for (header, channel) in [("flume.selector.header", 1), ("state", 0)] {
            let mut event = Event::new("");
            event.headers.insert(header, "x");
            let route = selector.route(&event);
            assert_eq!(route.required.iter().collect::<Vec<_>>(), [channel], "{header}");
        }
    }

    #[tokio::test]
    async fn one_route_for_all_is_known_beforehand() {
        let check = async |keys: &str, uniform: bool| {
            let selector = open::<Multiplexing>(keys, CHANNELS).await;
            assert_eq!(selector.uniform().is_some(), uniform, "{keys}");
        };
        check("default = c1 c2", true).await;
        check("default = c1\nmapping.x = c1", true).await;
        check("default = c1\nmapping.x = c2", false).await;
        check("default = c1\noptional.x = c2", false).await;
        check(KEYS, false).await;
    }

    #[tokio::test]
    async fn unknown_channels_are_found() {
        refuses::<Multiplexing>(
            "default = c1 d\nmapping.x = m\noptional.x = c2 o\nmapping.y = n c1",
            &["d", "m", "n", "o"],
        )
        .await;
        assert!(opened::<Multiplexing>("mapping.x =\ndefault = c1", &["c1"]).await.is_err());
    }

    #[test]
    fn optional_are_those_that_no_event_has_to_go_to() {
        let check = |keys: &str, want: &[&str]| {
            let config = Section::parse(keys).read::<Config>().into_result().unwrap();
            assert_eq!(Multiplexing::facts(&config).passes_over, want, "{keys}");
        };
        check("default = c1\noptional.x = c2 c1", &["c2"]);
        check("mapping.x = c2\ndefault = c1\noptional.y = c2 c3", &["c3"]);
        check(KEYS, &[]);
    }

    #[test]
    fn findings_before_it_opens() {
        let check = |keys: &str, want: &[&str]| {
            let section = Section::parse(keys);
            let config = section.read::<Config>().into_result().unwrap();
            let findings = Multiplexing::check(&config, &section);
            let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
            assert_eq!(codes, want, "{keys}");
        };
        check(KEYS, &[]);
        check("mapping.x = c1", &["events-dropped"]);
        check("mapping.x =\ndefault = c1", &["missing-value"]);
    }
}
