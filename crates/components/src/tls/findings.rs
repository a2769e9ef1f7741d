//! What `check` says of settings for TLS before anything is opened.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use splashdam_config::{Diagnostic, Section};

use super::names::Names;
use super::{ClientAuthentication, ClientTls, ServerTls};

/// Others may read.
const WORLD_READS: u32 = 0o004;

impl ServerTls {
    /// Findings for a source that listens on `bind`, whose keys lie in `section`.
    pub fn findings(&self, bind: &str, section: &Section) -> Vec<Diagnostic> {
        let asks = self.client_authentication != ClientAuthentication::None;
        if !self.ssl {
            let help = "set `ssl` and `keystore`, or listen on 127.0.0.1 if senders are local";
            let plain = plain_listener(bind, section, help);
            // Who may connect would seem to be decided here.
            let asks = asks.then_some("client-authentication");
            let ssl = "set `ssl = true` and `keystore`, or take the key away";
            let unused = unused(asks, "as `ssl` is not true", ssl, section);
            return plain.into_iter().chain(unused).collect();
        }
        let mut findings = of_names(&own(self), section);
        findings.extend(readable_secret(self.keystore.as_deref(), "keystore", section));
        findings.extend(readable_secret(self.private_key.as_deref(), "private-key", section));
        findings.extend(missing_files(asks, section));
        let trusts = (!asks && self.truststore.is_some()).then_some("truststore");
        let why = "as clients are not asked for a certificate";
        let help = "set `client-authentication = needed`, or take the key away";
        findings.extend(unused(trusts, why, help, section));
        findings
    }
}

impl ClientTls {
    /// Findings for a sink whose keys lie in `section`.
    pub fn findings(&self, section: &Section) -> Vec<Diagnostic> {
        if !self.ssl {
            let trusts = self.truststore.is_some().then_some("truststore");
            let verifies = self.verify_host_name.then_some("verify-host-name");
            let why = "as connections are not encrypted";
            let help = "set `ssl = true`, or `https` where a URL says it, or take the key away";
            return unused(trusts.into_iter().chain(verifies), why, help, section).collect();
        }
        let mut findings = of_names(&own_of_client(self), section);
        findings.extend(readable_secret(self.keystore.as_deref(), "keystore", section));
        findings.extend(readable_secret(self.private_key.as_deref(), "private-key", section));
        findings.extend(missing_files(!self.trust_all_certs, section));
        if self.trust_all_certs {
            let message = "`trust-all-certs` takes whoever answers for the server";
            let finding = Diagnostic::warning("trust-all-certs", message);
            findings.push(
                finding
                    .at(section.key_span("trust-all-certs"))
                    .help("set `truststore` to a file with the server's certificate instead"),
            );
            let verifies = self.verify_host_name.then_some("verify-host-name");
            let why = "as `trust-all-certs` takes any certificate";
            let help = "set `truststore` instead of `trust-all-certs`";
            findings.extend(unused(verifies, why, help, section));
        }
        findings
    }
}

/// Warnings for keys that seem to protect and have no effect, where they are written.
fn unused(
    keys: impl IntoIterator<Item = &'static str>,
    why: &str,
    help: &str,
    section: &Section,
) -> impl Iterator<Item = Diagnostic> {
    let written = keys.into_iter().filter(|key| section.get(key).is_some());
    written.map(move |key| {
        Diagnostic::warning("no-effect", format!("`{key}` has no effect, {why}"))
            .at(section.key_span(key))
            .help(help)
    })
}

/// A warning for a listener that anybody on the network can read along with and write to, when `bind` is not this
/// machine's loopback. `help` says what to do about it.
pub fn plain_listener(bind: &str, section: &Section, help: &str) -> Option<Diagnostic> {
    let loopback = bind.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if loopback || bind.eq_ignore_ascii_case("localhost") {
        return None;
    }
    let message = format!("listens on {bind} without encryption");
    let place = section.value_span("bind").or_else(|| section.value_span("host"));
    let finding = Diagnostic::warning("plain-listener", message).at(place.or(section.span()));
    Some(finding.help(help))
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

/// Warnings for files that are not there, or not yet: without them nothing is opened. The trust store is
/// read only by one that `judges` its peers.
fn missing_files(judges: bool, section: &Section) -> impl Iterator<Item = Diagnostic> {
    let keys = ["keystore", "private-key"].into_iter().chain(judges.then_some("truststore"));
    let written = keys.filter_map(|key| Some((key, Path::new(section.get(key)?))));
    let missing = written.filter(|(_, path)| is_missing(path));
    missing.map(|(key, path)| {
        Diagnostic::warning("missing-file", format!("`{key}`: there is no {}", path.display()))
            .at(section.value_span(key))
            .with_note("it is waited for, and until then nothing is opened")
            .help("put the file there, or mend the path")
    })
}

/// Whether it is known that there is no such file. Who runs `check` may see less than the agent's user.
fn is_missing(path: &Path) -> bool {
    match path.try_exists() {
        Ok(exists) => !exists,
        Err(error) => error.kind() == ErrorKind::NotADirectory,
    }
}

/// A warning for a file that is a secret, named by `key`, and that everybody may read.
pub fn readable_secret(path: Option<&Path>, key: &str, section: &Section) -> Option<Diagnostic> {
    let path = path?;
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & WORLD_READS != 0).then(|| {
        let message = format!("every user of this machine can read the key in {}", path.display());
        Diagnostic::warning("readable-secret", message)
            .at(section.value_span(key))
            .help(format!("`chmod o-r {}`", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use splashdam_config::Section;

    use super::*;

    #[test]
    fn settings_are_judged_at_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let store = |name: &str, mode| {
            let path = dir.path().join(name);
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        store("open", 0o644);
        store("shut", 0o640);
        let check = |bind: &str, keys: &str, want: &[&str]| {
            let keys = keys.replace("DIR", &dir.path().display().to_string());
            let section = Section::parse(&keys);
            let tls: ServerTls = section.read().value.unwrap();
            let findings = tls.findings(bind, &section);
            let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
            assert_eq!(codes, want, "{keys}");
            assert!(findings.iter().all(|finding| finding.span.is_some() || keys.is_empty()));
            assert!(findings.iter().all(|f| f.is_error() || f.help.is_some()));
        };
        check("127.0.0.1", "", &[]);
        check("localhost", "", &[]);
        check("::1", "", &[]);
        check("0.0.0.0", "bind = 0.0.0.0", &["plain-listener"]);
        check("192.0.2.1", "", &["plain-listener"]);
        check("0.0.0.0", "ssl = true\nkeystore = DIR/shut", &[]);
        let keys = "ssl = true\nkeystore = DIR";
        check("0.0.0.0", &format!("{keys}/none"), &["missing-file"]);
        check("0.0.0.0", &format!("{keys}/shut/none"), &["missing-file"]);
        check("0.0.0.0", &format!("{keys}/shut\nprivate-key = DIR/none"), &["missing-file"]);
        // Whether it is there cannot be told, as behind a directory that is shut.
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        check("0.0.0.0", &format!("{keys}/loop"), &[]);
        let trusts = format!("{keys}/shut\ntruststore = DIR/none");
        check("0.0.0.0", &trusts, &["no-effect"]);
        check("0.0.0.0", &format!("{trusts}\nclient-authentication = none"), &["no-effect"]);
        check("0.0.0.0", &format!("{trusts}\nclient-authentication = wanted"), &["missing-file"]);
        check("127.0.0.1", "client-authentication = needed", &["no-effect"]);
        check("127.0.0.1", "client-authentication = wanted\nssl = false", &["no-effect"]);
        check("127.0.0.1", "client-authentication = none", &[]);
        let both = ["plain-listener", "no-effect"];
        check("0.0.0.0", "bind = 0.0.0.0\nclient-authentication = needed", &both);
        check("0.0.0.0", "ssl = true\nkeystore = DIR/open", &["readable-secret"]);
        check("0.0.0.0", "ssl = true\nprivate-key = DIR/open", &["readable-secret"]);
        check("0.0.0.0", "ssl = true\ninclude-protocols = TLSv1.1 TLSv1.2", &["not-spoken"]);
        let both = ["not-spoken", "not-spoken"];
        check("0.0.0.0", "ssl = true\ninclude-protocols = TLSv1", &both);
        check("0.0.0.0", "ssl = true\nexclude-protocols = TLSv1", &[]);
    }

    #[test]
    fn every_source_that_listens_off_loopback_without_encryption_is_warned_of() {
        let at = |kind: &str, keys: &str, found: bool| {
            let keys = format!("type = {kind}\nchannels = c1\n{keys}");
            let entry = splashdam_core::find(crate::SOURCES, kind).unwrap();
            let findings = entry.look(&Section::parse(&keys)).findings;
            let warned = findings.iter().any(|finding| finding.code == "plain-listener");
            assert_eq!(warned, found, "{keys}: {findings:?}");
        };
        let bind = "bind = 0.0.0.0\nport = 4141";
        let host = "host = 0.0.0.0\nport = 4141";
        for (kind, keys) in [
            ("avro", bind),
            ("thrift", bind),
            ("netcat", bind),
            ("netcatudp", bind),
            ("http", bind),
            ("org.apache.flume.source.scribe.ScribeSource", "port = 4141"),
            ("org.apache.flume.source.avroLegacy.AvroLegacySource", host),
            ("org.apache.flume.source.thriftLegacy.ThriftLegacySource", host),
            ("syslogtcp", host),
            ("syslogudp", host),
            ("multiport_syslogtcp", "host = 0.0.0.0\nports = 4141"),
        ] {
            at(kind, keys, true);
        }
        at("avro", "bind = 127.0.0.1\nport = 4141", false);
        at("syslogtcp", "host = localhost\nport = 4141", false);
    }

    #[test]
    fn clients_are_warned_of_trusting_all_and_of_keys_without_effect() {
        let check = |keys: &str, want: &[&str]| {
            let section = Section::parse(keys);
            let tls: ClientTls = section.read().value.unwrap();
            let codes: Vec<_> = tls.findings(&section).iter().map(|f| f.code).collect();
            assert_eq!(codes, want, "{keys}");
        };
        check("trust-all-certs = true", &[]);
        check("truststore = /none", &["no-effect"]);
        check("ssl = false\nverify-host-name = true", &["no-effect"]);
        check("truststore = /none\nverify-host-name = true", &["no-effect", "no-effect"]);
        check("verify-host-name = false", &[]);
        check("ssl = true\nverify-host-name = true", &[]);
        let all = "ssl = true\ntrust-all-certs = true";
        check(&format!("{all}\nverify-host-name = true"), &["trust-all-certs", "no-effect"]);
        check("ssl = true", &[]);
        check("ssl = true\ntrust-all-certs = true", &["trust-all-certs"]);
        check("ssl = true\ntruststore = /none", &["missing-file"]);
        check("ssl = true\ntruststore = /none\ntrust-all-certs = true", &["trust-all-certs"]);
        let old = "TLS_RSA_WITH_AES_128_CBC_SHA";
        let good = "TLS_AES_128_GCM_SHA256";
        check(&format!("ssl = true\ninclude-cipher-suites = {old} {good}"), &["not-spoken"]);
    }
}
