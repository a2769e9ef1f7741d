//! Why a broker cannot be received from, whether somebody has to mend that, and how.

use std::fmt;
use std::net::SocketAddr;

use splashdam_amqp::Fault;
use splashdam_core::OpenError;

use super::{Config, findings};
use crate::tls::HandshakeError;

/// See the module.
#[derive(Debug)]
pub(super) struct Hindrance {
    text: String,
    needs_hand: bool,
}

impl Hindrance {
    /// What may be over the next time.
    pub(super) fn passing(why: impl fmt::Display) -> Self {
        Hindrance { text: why.to_string(), needs_hand: false }
    }

    /// What ended a connection, or kept it from being one.
    pub(super) fn of_fault(fault: &Fault, config: &Config) -> Self {
        if let Fault::Io(error) = fault
            && let Some(refused) = HandshakeError::behind_it(error)
        {
            return Hindrance::of_handshake(&refused);
        }
        let text = match remedy(fault, config) {
            Some(remedy) => format!("{fault}; {remedy}"),
            None => fault.to_string(),
        };
        Hindrance { text, needs_hand: fault.needs_hand() }
    }

    /// Without the port that a connection had at our end, by which a broker may call it: the same trouble says the same
    /// each time.
    pub(super) fn without_port(mut self, ours: Option<SocketAddr>) -> Self {
        if let Some(ours) = ours {
            self.text = self.text.replace(&ours.to_string(), &ours.ip().to_string());
        }
        self
    }

    /// What came of TLS.
    pub(super) fn of_handshake(error: &HandshakeError) -> Self {
        Hindrance { text: error.to_string(), needs_hand: error.needs_hand() }
    }

    /// What all brokers have, each at its address. Somebody has to act where one of them would serve if it were mended:
    /// the others may be down for good reason, as those are that stand by.
    pub(super) fn of_all(brokers: &[(String, Hindrance)]) -> Self {
        let each = brokers.iter().map(|(address, hindrance)| format!("{address}: {hindrance}"));
        Hindrance {
            text: format!(
                "cannot receive from the broker: {}",
                each.collect::<Vec<_>>().join("; ")
            ),
            needs_hand: brokers.iter().any(|(_, hindrance)| hindrance.needs_hand),
        }
    }

    /// Whether it stays so until somebody acts.
    pub(super) fn needs_hand(&self) -> bool {
        self.needs_hand
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Hindrance> for OpenError {
    fn from(hindrance: Hindrance) -> Self {
        match hindrance.needs_hand {
            true => OpenError::unmended(hindrance.text),
            false => OpenError::unavailable(hindrance.text),
        }
    }
}

/// What to do, by the names of the keys.
fn remedy(fault: &Fault, config: &Config) -> Option<String> {
    let (name, kind) = findings::address(config);
    let kind = kind.name();
    let condition = match fault {
        Fault::Login { .. } if fault.needs_hand() => return Some(login(config).to_owned()),
        Fault::Mechanism { .. } => {
            let how = "let its connector offer that, or log in by `userName` and `passwordFile`, or over TLS by the \
                       certificate in `keystore`";
            return Some(how.to_owned());
        }
        Fault::Unselected => {
            return Some("unset `messageSelector`, and receive from a queue of its own".to_owned());
        }
        Fault::NotAmqp { .. } => return Some("see `providerURL`".to_owned()),
        Fault::Ended { reason, .. } => &*reason.condition,
        _ => return None,
    };
    Some(match condition {
        "amqp:unauthorized-access" => {
            let who = match &config.user_name {
                Some(user) => format!("the user {}", user.trim()),
                None if config.tls.keystore.is_some() => {
                    "the user of the certificate in `keystore`".to_owned()
                }
                None => "who logs in without a name".to_owned(),
            };
            format!(
                "let the broker allow {who} to receive from the {kind} {name}, or set another `userName`"
            )
        }
        "amqp:not-found" => {
            format!("make the {kind} {name} at the broker, or correct `destinationName`")
        }
        "amqp:invalid-field" if fault.needs_hand() && config.message_selector.is_some() => {
            "correct `messageSelector`".to_owned()
        }
        "amqp:invalid-field" if !fault.needs_hand() && config.client_id.is_some() => {
            "see that nobody else has this `clientId`".to_owned()
        }
        "amqp:invalid-field" | "amqp:not-allowed" | "amqp:not-implemented" => {
            "see the broker's log, `destinationName` and `destinationType`".to_owned()
        }
        _ => return None,
    })
}

fn login(config: &Config) -> &'static str {
    match (&config.user_name, &config.tls.keystore) {
        (Some(_), _) => "check `userName` and the password in `passwordFile`",
        (None, Some(_)) => {
            "let the broker know a user by the certificate in `keystore`, or set `userName` and `passwordFile`"
        }
        (None, None) => "set `userName` and `passwordFile`",
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use splashdam_amqp::Reason;
    use splashdam_config::Section;

    use super::*;

    #[test]
    fn what_somebody_has_to_mend_says_how() {
        let check = |keys: &str, fault: Fault, says: Option<&str>| {
            let keys = format!(
                "providerURL = amqp://b\ndestinationName = orders\ndestinationType = queue\n{keys}"
            );
            let config = Section::parse(&keys).read::<Config>().into_result().unwrap();
            let alone = fault.to_string();
            let hindrance = Hindrance::of_fault(&fault, &config);
            let text = hindrance.to_string();
            match says {
                Some(says) => assert!(text.contains(says), "{text}"),
                None => assert_eq!(text, alone),
            }
            let (needs_hand, error) = (fault.needs_hand(), OpenError::from(hindrance));
            assert_eq!((error.needs_hand(), error.to_string()), (needs_hand, text));
        };
        let user = "userName = ada\npasswordFile = /p";
        let certificate = "ssl = true\nkeystore = /k";
        let refused = || Fault::Login { code: 1 };
        check(user, refused(), Some("check `userName` and the password in `passwordFile`"));
        check(certificate, refused(), Some("know a user by the certificate in `keystore`"));
        check("", refused(), Some("; set `userName` and `passwordFile`"));
        check(user, Fault::Login { code: 4 }, None);
        let offered = || Fault::Mechanism { wanted: "ANONYMOUS", offered: "PLAIN".to_owned() };
        check("", offered(), Some("by: PLAIN; let its connector offer that, or log in by"));
        check("messageSelector = x", Fault::Unselected, Some("unset `messageSelector`"));
        check("", Fault::NotAmqp { began: Bytes::new() }, Some("see `providerURL`"));
        let ended = |what, condition: &str| Fault::Ended {
            what,
            reason: Reason { condition: condition.to_owned(), description: "why".to_owned() },
        };
        let forbidden = || ended("the link", "amqp:unauthorized-access");
        check(user, forbidden(), Some("allow the user ada to receive from the queue orders"));
        check(certificate, forbidden(), Some("the user of the certificate in `keystore`"));
        check("", forbidden(), Some("who logs in without a name"));
        let link = |condition: &str| ended("the link", condition);
        check("", link("amqp:not-found"), Some("make the queue orders at the broker, or correct"));
        let invalid = || link("amqp:invalid-field");
        check("messageSelector = x", invalid(), Some("correct `messageSelector`"));
        check("", invalid(), Some("see the broker's log"));
        let named = ended("the connection", "amqp:invalid-field");
        check("clientId = c", named, Some("nobody else has this `clientId`"));
        check("", link("amqp:not-allowed"), Some("see the broker's log"));
        check("", link("amqp:resource-deleted"), None);
        check("", Fault::Io(std::io::ErrorKind::ConnectionReset.into()), None);
    }

    #[test]
    fn the_same_trouble_is_said_alike_over_each_connection() {
        let said = |port: u16| {
            let text = format!("amqp:unauthorized-access: who is 127.0.0.1:{port}? not user 5");
            let ours = SocketAddr::from(([127, 0, 0, 1], port));
            Hindrance::passing(text).without_port(Some(ours)).to_string()
        };
        assert_eq!(said(4001), "amqp:unauthorized-access: who is 127.0.0.1? not user 5");
        assert_eq!(said(4001), said(50_002));
        assert_eq!(Hindrance::passing("x").without_port(None).to_string(), "x");
    }

    #[test]
    fn one_broker_that_can_be_mended_is_enough() {
        let passing = || Hindrance::passing("nobody listens");
        let lasting = || Hindrance { text: "no".to_owned(), needs_hand: true };
        let check = |brokers: Vec<Hindrance>, want| {
            let named = brokers.into_iter().zip(["a:1", "b:2"].map(ToOwned::to_owned));
            let named: Vec<_> = named.map(|(hindrance, name)| (name, hindrance)).collect();
            assert_eq!(Hindrance::of_all(&named).needs_hand(), want, "{named:?}");
        };
        check(vec![passing(), passing()], false);
        check(vec![passing(), lasting()], true);
        check(vec![lasting()], true);
        let both = [("a:1".to_owned(), passing()), ("b:2".to_owned(), lasting())];
        let want = "cannot receive from the broker: a:1: nobody listens; b:2: no";
        assert_eq!(Hindrance::of_all(&both).to_string(), want);
    }
}
