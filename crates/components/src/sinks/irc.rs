//! Sink `irc`: says the body of each event in a channel of an IRC server.
//!
//! Flume's class: `org.apache.flume.sink.irc.IRCSink`. One event is taken at a time. Whatever goes
//! wrong but with its text, the event is kept, the connection is made anew and the sink waits; no other sink of a group
//! gets its turn. What differs from Flume:
//!
//! - After an event the server is asked for a sign of life, and the event is done with only when that
//!   came, since until then the server had it. Flume takes what it wrote for said.
//! - Line ends in a body that is not split become blanks. In Flume what follows one is a command to
//!   the server, which lets whoever writes events speak for the agent. Parts without a character are
//!   left out, as servers refuse them.
//! - A text that the server finds too long (417) is given up, as in Flume, and goes to the channel of
//!   dead letters, if there is one. Parts of a body that was split may have been said by then.
//! - Without `user` or `name` the nick stands for them.

mod connection;

use std::num::NonZeroU16;

use bytes::BytesMut;
use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{
    Batch, Component, Context, DeliverError, Delivered, Event, Facts, OpenError, Rejected, Sink,
    Size,
};

use crate::java_regex::JavaRegex;
use crate::tls::Password;
use connection::{Connection, Settings};

/// Keys of the IRC sink.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Host name or address of the server.
    pub hostname: String,
    /// Its TCP port.
    #[serde(default = "port")]
    pub port: NonZeroU16,
    /// The name to speak under.
    pub nick: String,
    /// The password of the server.
    pub password: Option<Password>,
    /// The user name, which others see beside the nick.
    pub user: Option<String>,
    /// The real name, which others may ask for.
    pub name: Option<String>,
    /// The channel to speak in, without its `#`.
    pub chan: String,
    /// Whether a body is parted and each part said by itself.
    #[serde(default)]
    pub splitlines: bool,
    /// What parts it: a regular expression.
    #[serde(default = "splitchars")]
    pub splitchars: JavaRegex,
}

fn port() -> NonZeroU16 {
    const { NonZeroU16::new(6667).unwrap() }
}

fn splitchars() -> JavaRegex {
    // It is one character.
    JavaRegex::new("\n").unwrap_or_else(|error| panic!("{error}"))
}

impl Config {
    /// Names that would end a command, or begin another argument.
    fn wrong_names(&self) -> impl Iterator<Item = &'static str> {
        let optional = |text: &Option<String>| text.clone().unwrap_or_default();
        let names = [
            ("nick", self.nick.clone()),
            ("user", optional(&self.user)),
            ("chan", self.chan.clone()),
        ];
        let bad = |text: &str| text.chars().any(|char| char.is_whitespace() || char.is_control());
        let real = self.name.iter().any(|name| name.contains(['\r', '\n', '\0']));
        let named = names.into_iter().filter(move |(key, text)| {
            bad(text) || (text.is_empty() && *key != "user") || text.starts_with(':')
        });
        named.map(|(key, _)| key).chain(real.then_some("name"))
    }
}

/// The sink.
pub struct Irc {
    config: Config,
    settings: Settings,
    open: Option<Connection>,
    metrics: std::sync::Arc<splashdam_core::metrics::SinkMetrics>,
}

impl Component for Irc {
    const TYPE: &'static str = "irc";
    const ALIASES: &'static [&'static str] = &["org.apache.flume.sink.irc.IRCSink"];
    type Config = Config;

    async fn open(config: Config, cx: Context) -> Result<Self, OpenError> {
        if let Some(key) = config.wrong_names().next() {
            return Err(OpenError::config(format!("`{key}` is no name that IRC can carry")));
        }
        let settings = Settings {
            host: config.hostname.clone(),
            port: config.port.get(),
            password: config.password.clone(),
            nick: config.nick.clone(),
            user: config.user.clone().unwrap_or_else(|| config.nick.clone()),
            name: config.name.clone().unwrap_or_else(|| config.nick.clone()),
            channel: format!("#{}", config.chan),
        };
        Ok(Irc { config, settings, open: None, metrics: cx.counters.sink() })
    }

    fn facts(config: &Config) -> Facts {
        let crash = "an event whose sign of life had not come is said again";
        Facts {
            batch_events: Some(1),
            place: Some(format!(
                "speaks in #{} of {}:{}",
                config.chan, config.hostname, config.port
            )),
            process_crash: Some(crash),
            machine_crash: Some(crash),
            rejects: Some("what the server finds too long to be said is dropped, as in Flume"),
            ..Facts::default()
        }
    }

    fn check(config: &Config, section: &Section) -> Vec<Diagnostic> {
        let finding = |key: &'static str| {
            Diagnostic::error("invalid-value", format!("`{key}` is no name that IRC can carry"))
                .at(section.value_span(key))
                .help("write a name without blanks and line ends; `chan` goes without its #")
        };
        config.wrong_names().map(finding).collect()
    }
}

impl Irc {
    /// What is said of an event, part by part.
    fn parts(&self, event: &Event) -> Vec<String> {
        let text = String::from_utf8_lossy(&event.body);
        let parts = match self.config.splitlines {
            true => self.config.splitchars.split(&text),
            false => vec![text.into_owned()],
        };
        let plain = |part: String| part.replace(['\r', '\n', '\0'], " ").trim_end().to_owned();
        parts.into_iter().map(plain).filter(|part| !part.is_empty()).collect()
    }

    /// Says it, and answers why the server will never take it, should that be so.
    async fn say(&mut self, commands: &[u8]) -> Result<Option<String>, connection::Trouble> {
        let mut connection = match self.open.take() {
            Some(connection) => connection,
            None => {
                let connected = Connection::open(&self.settings).await;
                let counter = match connected {
                    Ok(_) => &self.metrics.connections_created,
                    Err(_) => &self.metrics.connections_failed,
                };
                counter.add(1);
                connected?
            }
        };
        match connection.say(commands).await {
            Ok(unsayable) => {
                self.open = Some(connection);
                Ok(unsayable)
            }
            Err(error) => {
                self.metrics.connections_closed.add(1);
                Err(error)
            }
        }
    }
}

impl Sink for Irc {
    fn limit(&self) -> Size {
        Size::events(1)
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, DeliverError> {
        let mut commands = BytesMut::new();
        for event in batch.events() {
            for part in self.parts(event) {
                let line = format!("PRIVMSG {} :{part}\r\n", self.settings.channel);
                commands.extend_from_slice(line.as_bytes());
            }
        }
        let unsayable = self.say(&commands).await.map_err(DeliverError::back_off)?;
        // The batch is one event.
        let rejected =
            unsayable.map(|said| Rejected { at: 0, why: format!("the IRC server: {said}") });
        Ok(Delivered::all_but(batch, rejected.into_iter().collect()))
    }

    async fn tick(&mut self) -> Result<(), DeliverError> {
        // Servers drop who leaves their questions unanswered.
        if let Some(connection) = &mut self.open
            && let Err(error) = connection.attend().await
        {
            self.open = None;
            self.metrics.connections_closed.add(1);
            return Err(DeliverError::back_off(error));
        }
        Ok(())
    }

    async fn close(mut self) -> Result<(), DeliverError> {
        if let Some(connection) = self.open.take() {
            self.metrics.connections_closed.add(1);
            connection.leave().await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
