//! What every part of an agent is, whatever its role, and the lists that name them.

use std::future::{Future, ready};
use std::pin::Pin;

use serde::de::DeserializeOwned;
use splashdam_config::{Diagnostic, Section, Spanned};

use crate::{Context, OpenError};

/// A future that is boxed once per batch or per component, never per event.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A source, channel, sink, interceptor, selector, sink processor, serializer or config filter.
pub trait Component: Sized + Send + 'static {
    /// Flume's alias, as it is usually written. Types are matched in any case.
    const TYPE: &'static str;
    /// Flume's class names, and other names that mean the same.
    const ALIASES: &'static [&'static str] = &[];
    /// The keys, their defaults and their limits; its documentation is the manual.
    type Config: DeserializeOwned + Send + 'static;

    /// Makes the component ready: binds, opens, connects. Called again after a wait when it
    /// answers [`OpenError::Unavailable`].
    fn open(
        config: Self::Config,
        cx: Context,
    ) -> impl Future<Output = Result<Self, OpenError>> + Send;

    /// Connects to what the component works with, changes nothing there, and says what it found as a
    /// clause; `None` for a component that has nothing to look at before it runs.
    fn probe(
        _config: Self::Config,
        _cx: Context,
    ) -> impl Future<Output = Result<Option<String>, OpenError>> + Send {
        ready(Ok(None))
    }

    /// What can be said of a component with this configuration before it is opened.
    fn facts(_config: &Self::Config) -> Facts {
        Facts::default()
    }

    /// Findings beyond what reading the keys shows: parts named in the section, bad combinations.
    fn check(_config: &Self::Config, _section: &Section) -> Vec<Diagnostic> {
        Vec::new()
    }
}

/// What [`Component::probe`] answers once it is erased.
pub type Probed = Result<Option<String>, OpenError>;

/// What a component says of itself, for validation as in Flume (a batch must fit the channel's
/// transaction) and for the checker's account of a flow.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Events in one transaction of this source or sink, when it has such a limit.
    pub batch_events: Option<usize>,
    /// Events that this channel takes in one transaction.
    pub transaction_events: Option<usize>,
    /// Events that this channel holds.
    pub capacity_events: Option<usize>,
    /// The most of these that a crash can lose, for a channel of which only a part outlives one.
    pub volatile_events: Option<usize>,
    /// The most memory this component needs, in bytes, when that is bounded by its configuration.
    pub memory_bytes: Option<u64>,
    /// Whether what this channel acknowledged outlives the process.
    pub durable: bool,
    /// When the sender (or the file's position) counts an event as handed over. A clause such as
    /// "after the channels have committed the batch, by an `OK` line to the client"; `None` for a
    /// source that acknowledges nothing and for other roles.
    pub acknowledged: Option<&'static str>,
    /// What a crash of the process can lose or repeat here, as a clause.
    pub process_crash: Option<&'static str>,
    /// What a crash of the machine can lose or repeat here, as a clause.
    pub machine_crash: Option<&'static str>,
    /// What becomes of an event that this sink or its destination refuses for good where there is
    /// no channel of dead letters, as a clause; `None` for a sink that refuses no single event.
    pub rejects: Option<&'static str>,
    /// Whether this channel tells where the events of a lease lie ([`crate::Place`]).
    pub tells_place: bool,
    /// Whether this sink cannot do without that.
    pub needs_place: bool,
    /// Where it reads, listens or writes, as a clause such as "listens on 0.0.0.0:44444".
    pub place: Option<String>,
    /// Header names that this part sets, as far as the configuration shows them; `*` for a source
    /// that hands on whatever headers its sender gave.
    pub sets_headers: Vec<String>,
    /// Header names that this part needs on every event.
    pub needs_headers: Vec<String>,
    /// Names that this part takes for channels of its source or sinks of its group, with their
    /// places. One that is not among [`Context::choices`] is an error.
    pub chooses: Vec<Spanned<String>>,
    /// Of these, channels whose failure this selector passes over for every event.
    pub optional: Vec<String>,
}

/// What an [`Entry`] finds in a section without opening anything.
#[derive(Debug)]
pub struct Looked {
    /// The facts, when the section could be read.
    pub facts: Option<Facts>,
    /// Errors and warnings with their places.
    pub findings: Vec<Diagnostic>,
}

/// One line of a list of components: authors write typed, the list holds erased.
pub struct Entry<T: ?Sized> {
    /// Flume's alias.
    pub name: &'static str,
    /// Further names, Flume's classes among them.
    pub aliases: &'static [&'static str],
    /// Whether its work holds up the thread it runs on ([`Sink::BLOCKS`](crate::Sink::BLOCKS)).
    pub blocks: bool,
    look: fn(&Section) -> Looked,
    probe: fn(Section, Context) -> BoxFuture<'static, Probed>,
    open: fn(Section, Context) -> BoxFuture<'static, Result<Box<T>, OpenError>>,
}

impl<T: ?Sized> Entry<T> {
    /// An entry for `C`, erased by `erase`. Lists use the shorter forms (`Entry::sink`, …).
    pub const fn new<C: Component>(
        open: fn(Section, Context) -> BoxFuture<'static, Result<Box<T>, OpenError>>,
    ) -> Self {
        Entry {
            name: C::TYPE,
            aliases: C::ALIASES,
            blocks: false,
            look: look::<C>,
            probe: probe::<C>,
            open,
        }
    }

    pub(crate) const fn with_blocks(mut self, blocks: bool) -> Self {
        self.blocks = blocks;
        self
    }

    /// Reads the section as [`Entry::open`] would and opens nothing.
    pub fn look(&self, section: &Section) -> Looked {
        (self.look)(section)
    }

    /// Reads the section and opens the component. Warnings are the business of [`Entry::look`];
    /// here only what keeps it from opening is answered.
    pub fn open(
        &self,
        section: Section,
        cx: Context,
    ) -> BoxFuture<'static, Result<Box<T>, OpenError>> {
        (self.open)(section, cx)
    }

    /// See [`Component::probe`].
    pub fn probe(&self, section: Section, cx: Context) -> BoxFuture<'static, Probed> {
        (self.probe)(section, cx)
    }

    /// Whether `written` names this entry, in any case, as in Flume.
    pub fn is_named(&self, written: &str) -> bool {
        std::iter::once(&self.name).chain(self.aliases).any(|n| n.eq_ignore_ascii_case(written))
    }
}

/// Reads `C`'s configuration and opens it; what each role's `Entry` constructor stands on.
pub(crate) async fn open<C: Component>(section: Section, cx: Context) -> Result<C, OpenError> {
    let config = section.read::<C::Config>().into_result().map_err(OpenError::Config)?;
    C::open(config, cx).await
}

fn probe<C: Component>(section: Section, cx: Context) -> BoxFuture<'static, Probed> {
    Box::pin(async move {
        let config = section.read::<C::Config>().into_result().map_err(OpenError::Config)?;
        C::probe(config, cx).await
    })
}

fn look<C: Component>(section: &Section) -> Looked {
    let reading = section.read::<C::Config>();
    let mut findings = reading.findings;
    let facts = reading.value.map(|config| {
        findings.extend(C::check(&config, section));
        C::facts(&config)
    });
    Looked { facts, findings }
}

/// The entry of a list that `written` names.
pub fn find<'a, T: ?Sized>(list: &'a [Entry<T>], written: &str) -> Option<&'a Entry<T>> {
    list.iter().find(|entry| entry.is_named(written))
}

/// The aliases of a list, for an answer to an unknown type.
pub fn known_types<T: ?Sized>(list: &[Entry<T>]) -> Vec<&'static str> {
    list.iter().map(|entry| entry.name).collect()
}

/// Constructors, one for each role whose erased form is the trait itself.
macro_rules! plain_roles {
    ($($(#[$doc:meta])* $make:ident: $role:path;)*) => {$(
        impl Entry<dyn $role> {
            $(#[$doc])*
            pub const fn $make<C: Component + $role>() -> Self {
                Entry::new::<C>(|section, cx| {
                    Box::pin(async move {
                        Ok(Box::new(open::<C>(section, cx).await?) as Box<dyn $role>)
                    })
                })
            }
        }
    )*};
}

plain_roles! {
    /// A line of the list of channels.
    channel: crate::Channel;
    /// A line of the list of channel selectors.
    selector: crate::Selector;
    /// A line of the list of sink processors.
    processor: crate::SinkProcessor;
    /// A line of the list of serializers.
    serializer: crate::Serializer;
    /// A line of the list of config filters.
    config_filter: splashdam_config::ConfigFilter;
}

/// All lists of a build: what an agent can do.
#[derive(Clone, Copy)]
pub struct Lists {
    /// The sources.
    pub sources: &'static [Entry<dyn crate::DynSource>],
    /// The channels.
    pub channels: &'static [Entry<dyn crate::Channel>],
    /// The sinks.
    pub sinks: &'static [Entry<dyn crate::DynSink>],
    /// The interceptors.
    pub interceptors: &'static [Entry<dyn crate::DynInterceptor>],
    /// The channel selectors.
    pub selectors: &'static [Entry<dyn crate::Selector>],
    /// The sink processors.
    pub processors: &'static [Entry<dyn crate::SinkProcessor>],
    /// The serializers.
    pub serializers: &'static [Entry<dyn crate::Serializer>],
    /// The config filters.
    pub config_filters: &'static [Entry<dyn splashdam_config::ConfigFilter>],
}
