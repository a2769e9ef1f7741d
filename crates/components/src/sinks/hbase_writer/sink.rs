//! The sink that all of them are.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Batch, Component, Context, DeliverError, Delivered, Facts, OpenError, Sink, Size,
};

use super::open::check_kerberos;
use super::{AT_LEAST_ONCE, EFFECTIVELY_ONCE, REJECTS, Settings, Writer};

/// What sets one of the sinks apart from the others.
pub trait Flavour: Send + 'static {
    /// See [`Component::TYPE`].
    const TYPE: &'static str;
    /// See [`Component::ALIASES`].
    const ALIASES: &'static [&'static str];
    /// See [`Component::Config`].
    type Config: Clone + DeserializeOwned + Send + 'static;
    /// What the keys come to.
    fn settings(config: Self::Config) -> Settings;
}

/// A sink into a table of HBase.
pub struct HbaseSink<F: Flavour> {
    limit: Size,
    writer: Writer,
    flavour: PhantomData<F>,
}

impl<F: Flavour> Component for HbaseSink<F> {
    const TYPE: &'static str = F::TYPE;
    const ALIASES: &'static [&'static str] = F::ALIASES;
    type Config = F::Config;

    async fn open(config: F::Config, cx: Context) -> Result<Self, OpenError> {
        let settings = F::settings(config);
        let limit = Size::events(settings.batch_events);
        Ok(HbaseSink { limit, writer: Writer::open(settings, &cx).await?, flavour: PhantomData })
    }

    async fn probe(config: F::Config, cx: Context) -> Result<Option<String>, OpenError> {
        super::open::probe(&F::settings(config), &cx).await.map(Some)
    }

    fn facts(config: &F::Config) -> Facts {
        let settings = F::settings(config.clone());
        let crash = if settings.manner.repeatable { EFFECTIVELY_ONCE } else { AT_LEAST_ONCE };
        Facts {
            batch_events: Some(settings.batch_events),
            place: Some(settings.place()),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            rejects: Some(REJECTS),
            needs_place: settings.needs_place(),
            ..Facts::default()
        }
    }

    fn check(config: &F::Config, section: &Section) -> Vec<Diagnostic> {
        let settings = F::settings(config.clone());
        let mut findings = settings.check();
        findings.extend(settings.kerberos.then(|| check_kerberos(section)).flatten());
        findings
    }
}

impl<F: Flavour> Sink for HbaseSink<F> {
    fn limit(&self) -> Size {
        self.limit
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        self.writer.deliver(batch).await
    }
}
