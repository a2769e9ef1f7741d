//! Java's names of protocols and cipher suites, and which of them are spoken here: TLS 1.2 and 1.3, with suites that
//! keep what was sent secret even when the key is lost later.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// Names of protocols that nobody should speak any more (RFC 7568, RFC 8996).
const OLD_PROTOCOLS: &[&str] = &["SSLv2Hello", "SSLv3", "TLSv1", "TLSv1.1"];

/// Java's name of each protocol that is spoken.
const PROTOCOLS: [(&str, &SupportedProtocolVersion); 2] =
    [("TLSv1.3", &version::TLS13), ("TLSv1.2", &version::TLS12)];

/// Which protocols and suites to use, by Java's names. An empty list includes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) include_protocols: Vec<String>,
    pub(super) exclude_protocols: Vec<String>,
    pub(super) include_suites: Vec<String>,
    pub(super) exclude_suites: Vec<String>,
}

/// What is left of what is spoken here.
pub(super) struct Allowed {
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl Names {
    /// What these names leave.
    ///
    /// # Errors
    /// Why it is nothing, and what to write instead.
    pub(super) fn allowed(&self) -> Result<Allowed, String> {
        let chosen = |include: &[String], exclude: &[String], name: &str| {
            let is = |other: &String| other == name;
            (include.is_empty() || include.iter().any(is)) && !exclude.iter().any(is)
        };
        let versions: Vec<_> = PROTOCOLS
            .iter()
            .filter(|(name, _)| chosen(&self.include_protocols, &self.exclude_protocols, name))
            .map(|(_, version)| *version)
            .collect();
        if versions.is_empty() {
            return Err("`include-protocols` and `exclude-protocols` leave no protocol, of TLSv1.2 and TLSv1.3, which are \
                        the ones spoken here; include one of these, which every Java since 8 speaks"
                .into());
        }
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| {
            chosen(&self.include_suites, &self.exclude_suites, &suite_name(*suite))
                && versions.contains(&suite.version())
        });
        if provider.cipher_suites.is_empty() {
            return Err(format!(
                "`include-cipher-suites` and `exclude-cipher-suites` leave no suite for the protocols in use; those spoken \
                 here are {}",
                suite_names().join(", ")
            ));
        }
        let used = |version: &&SupportedProtocolVersion| {
            provider.cipher_suites.iter().any(|suite| suite.version() == *version)
        };
        let versions = versions.into_iter().filter(used).collect();
        Ok(Allowed { versions, provider: Arc::new(provider) })
    }

    /// What is asked for and not spoken here, with the reason, as clauses.
    pub(super) fn not_spoken(&self) -> Vec<(&'static str, String)> {
        let known = suite_names();
        let protocols = self.include_protocols.iter().filter_map(|name| {
            if OLD_PROTOCOLS.contains(&name.as_str()) {
                Some(format!("{name} is not spoken here, as it is no longer safe"))
            } else if PROTOCOLS.iter().all(|(known, _)| known != name) {
                Some(format!("{name} is no protocol of TLS; there are TLSv1.2 and TLSv1.3"))
            } else {
                None
            }
        });
        let suites = self.include_suites.iter().filter(|name| !known.contains(name)).map(|name| {
            let why = if name.contains("_CBC_") {
                "as suites with CBC are no longer safe"
            } else if name.starts_with("TLS_RSA_") {
                "as suites without forward secrecy are not"
            } else {
                "or no name of a suite"
            };
            format!("{name} is not spoken here, {why}")
        });
        let protocols = protocols.map(|clause| ("include-protocols", clause));
        protocols.chain(suites.map(|clause| ("include-cipher-suites", clause))).collect()
    }
}

/// Java's names of the suites that are spoken, best first.
pub(super) fn suite_names() -> Vec<String> {
    aws_lc_rs::ALL_CIPHER_SUITES.iter().map(|suite| suite_name(*suite)).collect()
}

/// Java's name, which is that of the standard.
fn suite_name(suite: SupportedCipherSuite) -> String {
    let name = suite.suite();
    let name = name.as_str().unwrap_or_default();
    name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(include: &str, exclude: &str, suites: &str, no_suites: &str) -> Names {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Names {
            include_protocols: words(include),
            exclude_protocols: words(exclude),
            include_suites: words(suites),
            exclude_suites: words(no_suites),
        }
    }

    #[test]
    fn lists_are_cut_to_what_is_spoken() {
        const ECDHE: &str = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        let check = |names: Names, want: Option<(usize, usize)>| {
            let allowed = names.allowed().ok();
            let got = allowed.map(|a| (a.versions.len(), a.provider.cipher_suites.len()));
            assert_eq!(got, want, "{names:?}");
        };
        check(names("", "SSLv3", "", ""), Some((2, 9)));
        check(names("TLSv1.2", "SSLv3", "", ""), Some((1, 6)));
        check(names("TLSv1.1 TLSv1.2 TLSv1.3", "TLSv1.2", "", ""), Some((1, 3)));
        check(names("", "", ECDHE, ""), Some((1, 1)));
        check(names("", "", &format!("{ECDHE} TLS_AES_256_GCM_SHA384 NONE"), ""), Some((2, 2)));
        check(names("", "", "", ECDHE), Some((2, 8)));
        check(names("", "", ECDHE, ECDHE), None);
        check(names("TLSv1.3", "", ECDHE, ""), None);
        check(names("TLSv1 TLSv1.1", "", "", ""), None);
        check(names("", "TLSv1.2 TLSv1.3", "", ""), None);
    }

    #[test]
    fn what_is_not_spoken_is_explained() {
        let check = |names: Names, want: &[&str]| {
            let clauses = names.not_spoken();
            assert_eq!(clauses.len(), want.len(), "{clauses:?}");
            for ((_, clause), want) in clauses.iter().zip(want) {
                assert!(clause.contains(want), "{clause}");
            }
        };
        check(names("TLSv1.2 TLSv1.3", "SSLv3 TLSv1", "TLS_AES_128_GCM_SHA256", "x"), &[]);
        check(names("TLSv1.1 TLS1.2", "", "", ""), &["no longer safe", "no protocol"]);
        let suites = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256 TLS_RSA_WITH_AES_128_GCM_SHA256 AES";
        check(names("", "", suites, ""), &["with CBC", "forward secrecy", "no name of a suite"]);
    }
}
