//! Settings with what is set for the whole agent filled in.

use std::path::PathBuf;

use splashdam_config::Words;
use splashdam_core::{OpenError, World};

use super::key_store::Place;
use super::names::Names;
use super::{ClientTls, Password, ServerTls};

/// Kinds of key stores that a configuration may name; what a file is, it says itself.
const KINDS: [&str; 3] = ["JKS", "PKCS12", "PEM"];

/// Always excluded, as in Flume.
const NEVER: &str = "SSLv3";

/// What is set for the whole agent.
#[derive(Clone, Copy)]
pub(super) struct Global<'a>(pub(super) &'a dyn World);

impl Global<'_> {
    /// A property given with `-D`, else a variable of the environment. An empty one is not set.
    fn text(self, property: &str, variable: &str) -> Option<String> {
        let set = |text: &String| !text.is_empty();
        let property = self.0.property(property).filter(set);
        property.or_else(|| self.0.variable(variable).filter(set))
    }

    /// The words of a list, or of the global one, which has commas between them.
    fn words(self, own: &Words, property: &str, variable: &str) -> Vec<String> {
        if !own.is_empty() {
            return own.to_vec();
        }
        let global = self.text(property, variable).unwrap_or_default();
        let words = global.split([',', ' ']).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    }

    pub(super) fn names(self, include: [&Words; 2], exclude: [&Words; 2]) -> Names {
        let words = |own, property: &str, variable: &str| {
            self.words(own, &format!("flume.ssl.{property}"), &format!("FLUME_SSL_{variable}"))
        };
        let mut names = Names {
            include_protocols: words(include[0], "include.protocols", "INCLUDE_PROTOCOLS"),
            exclude_protocols: words(exclude[0], "exclude.protocols", "EXCLUDE_PROTOCOLS"),
            include_suites: words(include[1], "include.cipherSuites", "INCLUDE_CIPHERSUITES"),
            exclude_suites: words(exclude[1], "exclude.cipherSuites", "EXCLUDE_CIPHERSUITES"),
        };
        names.exclude_protocols.push(NEVER.to_owned());
        names
    }

    fn place(
        self,
        own: (&Option<PathBuf>, &Option<Password>, &Option<String>),
        key_path: Option<PathBuf>,
        [named_by, property, variable]: [&'static str; 3],
    ) -> Result<Option<Place>, OpenError> {
        let (path, password, kind) = own;
        let text = |property_end: &str, variable_end: &str| {
            self.text(
                &format!("javax.net.ssl.{property}{property_end}"),
                &format!("FLUME_SSL_{variable}_{variable_end}"),
            )
        };
        let Some(path) = path.clone().or_else(|| text("", "PATH").map(PathBuf::from)) else {
            return Ok(None);
        };
        let kind = kind.clone().or_else(|| text("Type", "TYPE")).unwrap_or_default();
        if !kind.is_empty() && !KINDS.iter().any(|known| known.eq_ignore_ascii_case(&kind)) {
            return Err(OpenError::config(format!(
                "key stores of type {kind} are not read; convert {} with `keytool -importkeystore -deststoretype PKCS12`",
                path.display()
            )));
        }
        let password =
            password.clone().or_else(|| text("Password", "PASSWORD").map(Password)).filter(
                // An empty password is none, as a file of settings cannot tell the two apart.
                |password| !password.0.is_empty(),
            );
        Ok(Some(Place { path, key_path, password, named_by }))
    }

    pub(super) fn key_store(
        self,
        own: (&Option<PathBuf>, &Option<Password>, &Option<String>),
        key_path: Option<PathBuf>,
    ) -> Result<Option<Place>, OpenError> {
        self.place(own, key_path, ["keystore", "keyStore", "KEYSTORE"])
    }

    pub(super) fn trust_store(
        self,
        own: (&Option<PathBuf>, &Option<Password>, &Option<String>),
    ) -> Result<Option<Place>, OpenError> {
        self.place(own, None, ["truststore", "trustStore", "TRUSTSTORE"])
    }
}

impl ServerTls {
    pub(super) fn names(&self, global: Global<'_>) -> Names {
        global.names(
            [&self.include_protocols, &self.include_cipher_suites],
            [&self.exclude_protocols, &self.exclude_cipher_suites],
        )
    }

    pub(super) fn key_store(&self, global: Global<'_>) -> Result<Option<Place>, OpenError> {
        let own = (&self.keystore, &self.keystore_password, &self.keystore_type);
        global.key_store(own, self.private_key.clone())
    }

    pub(super) fn trust_store(&self, global: Global<'_>) -> Result<Option<Place>, OpenError> {
        global.trust_store((&self.truststore, &self.truststore_password, &self.truststore_type))
    }
}

impl ClientTls {
    pub(super) fn names(&self, global: Global<'_>) -> Names {
        global.names(
            [&self.include_protocols, &self.include_cipher_suites],
            [&self.exclude_protocols, &self.exclude_cipher_suites],
        )
    }

    pub(super) fn trust_store(&self, global: Global<'_>) -> Result<Option<Place>, OpenError> {
        global.trust_store((&self.truststore, &self.truststore_password, &self.truststore_type))
    }

    /// The key to show, which only a component itself can name, as Flume's clients show none.
    pub(super) fn key_store(&self, global: Global<'_>) -> Result<Option<Place>, OpenError> {
        if self.keystore.is_none() {
            return Ok(None);
        }
        let own = (&self.keystore, &self.keystore_password, &self.keystore_type);
        global.key_store(own, self.private_key.clone())
    }
}
