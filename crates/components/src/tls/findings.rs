//! What `check` says of settings for TLS before anything is opened.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use splashdam_config::{Diagnostic, Section};

use super::names::Names;
use super::{ClientTls, ServerTls};

/// Others may read.
const WORLD_READS: u32 = 0o004;

impl ServerTls {
    /// Findings for a source that listens on `bind`, whose keys lie in `section`.
    pub fn findings(&self, bind: &str, section: &Section) -> Vec<Diagnostic> {
        if !self.ssl {
            return plain_listener(bind, section).into_iter().collect();
        }
        let mut findings = of_names(&own(self), section);
        findings.extend(of_secret(self.keystore.as_deref(), "keystore", section));
        findings.extend(of_secret(self.private_key.as_deref(), "private-key", section));
        findings
    }
}

impl ClientTls {
    /// Findings for a sink whose keys lie in `section`.
    pub fn findings(&self, section: &Section) -> Vec<Diagnostic> {
        if !self.ssl {
            return Vec::new();
        }
        let mut findings = of_names(&own_of_client(self), section);
        findings.extend(of_secret(self.keystore.as_deref(), "keystore", section));
        findings.extend(of_secret(self.private_key.as_deref(), "private-key", section));
        if self.trust_all_certs {
            let message = "`trust-all-certs` takes whoever answers for the server";
            let finding = Diagnostic::warning("trust-all-certs", message);
            findings.push(
                finding
                    .at(section.key_span("trust-all-certs"))
                    .help("set `truststore` to a file with the server's certificate instead"),
            );
        }
        findings
    }
}

/// A warning for a listener that anybody on the network can read along with and write to, when `bind` is not this
/// machine's loopback.
pub fn plain_listener(bind: &str, section: &Section) -> Option<Diagnostic> {
    let loopback = bind.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if loopback || bind.eq_ignore_ascii_case("localhost") {
        return None;
    }
    let message = format!("listens on {bind} without encryption");
    let place = section.value_span("bind").or_else(|| section.value_span("host"));
    let finding = Diagnostic::warning("plain-listener", message).at(place.or(section.span()));
    Some(finding.help("set `ssl` and `keystore`, or listen on 127.0.0.1 if senders are local"))
}

fn own(tls: &ServerTls) -> Names {
    Names {
        include_protocols: tls.include_protocols.to_vec(),
        exclude_protocols: tls.exclude_protocols.to_vec(),
        include_suites: tls.include_cipher_suites.to_vec(),
        exclude_suites: tls.exclude_cipher_suites.to_vec(),
    }
}

fn own_of_client(tls: &ClientTls) -> Names {
    Names {
        include_protocols: tls.include_protocols.to_vec(),
        exclude_protocols: tls.exclude_protocols.to_vec(),
        include_suites: tls.include_cipher_suites.to_vec(),
        exclude_suites: tls.exclude_cipher_suites.to_vec(),
    }
}

fn of_names(names: &Names, section: &Section) -> Vec<Diagnostic> {
    let clause = |(key, clause): (&str, String)| {
        Diagnostic::warning("not-spoken", clause)
            .at(section.value_span(key))
            .help("TLS 1.2 and 1.3 are spoken, with suites of ECDHE and AES-GCM or ChaCha20")
    };
    let mut findings: Vec<_> = names.not_spoken().into_iter().map(clause).collect();
    if let Err(message) = names.allowed() {
        let keys = ["include-protocols", "exclude-protocols", "include-cipher-suites"];
        let place = keys.iter().find_map(|key| section.value_span(key));
        findings.push(Diagnostic::error("not-spoken", message).at(place.or(section.span())));
    }
    findings
}

/// A file that is a secret and that everybody may read.
fn of_secret(path: Option<&Path>, key: &str, section: &Section) -> Option<Diagnostic> {
    let path = path?;
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & WORLD_READS != 0).then(|| {
        let message = format!("every user of this machine can read the key in {}", path.display());
        Diagnostic::warning("readable-secret", message)
            .at(section.value_span(key))
            .help(format!("`chmod o-r {}`", path.display()))
    })
}
