//! As much of a client of AMQP 1.0 as it takes to receive from a queue or a topic of a broker: ActiveMQ Classic and
//! Artemis, Qpid and others.
//!
//! A [`Receiver`] owns its connection and does nothing but when it is asked: [`Receiver::wait`] until a message lies
//! ready, [`Receiver::take`] it, [`Receiver::settle`] it, and [`Receiver::idle`] while its owner is busy elsewhere.
//! Messages that are not settled are the broker's to give again.
//!
//! It sends no messages, has no transactions, and logs in by name and password, by certificate or not at all. The
//! crate `fe2o3-amqp` speaks far more of the protocol; the values in a message, though, are read there by functions that
//! call themselves for each level of nesting, without a limit, and what anybody sends to a queue must not end an agent.
//! Here nothing does that, and memory is bounded by [`HELD_BYTES`] and the longest message that is taken.

mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod link;
mod message;
mod performative;
mod receiver;
mod value;

#[cfg(any(test, feature = "fake"))]
#[doc(hidden)]
pub mod fake;

use bytes::Bytes;

pub use link::{Delivery, HELD_BYTES, TooLong};
pub use message::{Body, Message, PROPERTIES_LIMIT};
pub use performative::{Reason, Verdict};
pub use receiver::{Receiver, Stream};
pub use value::{Descriptor, Elements, Malformed, Value};

/// What a connection is for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who connects, which a broker may allow once only: JMS calls it the client's identifier.
    pub container: String,
    /// The host that is connected to, which tells some brokers which of theirs is meant.
    pub host: String,
    /// How to log in.
    pub login: Login,
    /// What to receive; a connection without it only shows that there could be one.
    pub subscription: Option<Subscription>,
    /// Messages that the broker may send before they are taken, at least 1.
    pub prefetch_messages: u32,
    /// Longer messages are counted and not kept.
    pub message_limit_bytes: u64,
}

/// How to log in.
#[derive(Clone)]
pub enum Login {
    /// Without a name (`ANONYMOUS`).
    Anonymous,
    /// With the certificate that TLS has shown (`EXTERNAL`), or without a name where the broker does not ask for one.
    Certificate,
    /// With a name and a password (`PLAIN`).
    Password {
        /// The name.
        user: String,
        /// The password, which goes over the wire as it is.
        password: String,
    },
}

impl Login {
    /// The first of these that the broker offers is used.
    fn mechanisms(&self) -> &'static [&'static str] {
        match self {
            Login::Anonymous => &["ANONYMOUS"],
            Login::Certificate => &["EXTERNAL", "ANONYMOUS"],
            Login::Password { .. } => &["PLAIN"],
        }
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.mechanisms()[0])
    }
}

/// What to receive.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The link's name, by which a broker knows a lasting subscription, together with the container.
    pub name: String,
    /// The name of the queue or topic.
    pub address: String,
    /// Which of both.
    pub kind: Kind,
    /// Which messages, as JMS writes it.
    pub selector: Option<String>,
    /// Whether the broker keeps what comes while nobody is connected: of a topic, a durable subscription.
    pub lasting: bool,
}

/// What receivers of an address share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each message goes to one of them.
    Queue,
    /// Each message goes to each of them.
    Topic,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The network failed, or the broker hung up.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// The broker said nothing for so long that it must be gone.
    #[error("the broker said nothing for {0:?}")]
    Silent(std::time::Duration),
    /// The broker ended it.
    #[error("the broker ended {what}: {reason}")]
    Ended {
        /// The link, the session or the connection.
        what: &'static str,
        /// Why.
        reason: Reason,
    },
    /// The broker refuses the login.
    #[error("the broker refuses the login (SASL outcome {code})")]
    Login {
        /// Its verdict: 1 for wrong credentials, more for its own trouble.
        code: u8,
    },
    /// The broker has another idea of logging in.
    #[error("the broker does not offer to log in by {wanted}, but by: {offered}")]
    Mechanism {
        /// What the settings ask for.
        wanted: &'static str,
        /// What there is.
        offered: String,
    },
    /// The broker would give what the selector leaves to others, too.
    #[error(
        "the broker does not know the selector, and would give messages that are not meant for it"
    )]
    Unselected,
    /// Somebody else answers there.
    #[error("what answers does not speak AMQP 1.0{}", heard_instead(.began))]
    NotAmqp {
        /// Its first bytes, up to 16.
        began: Bytes,
    },
    /// The broker does not keep to the protocol.
    #[error("the broker does not keep to AMQP 1.0: {0}")]
    Malformed(#[from] Malformed),
}

impl Fault {
    /// Whether it stays so until somebody changes the settings, or the broker: what is tried again fails again, unlike
    /// with a broker that is down for a while.
    pub fn needs_hand(&self) -> bool {
        match self {
            // Others are the broker's own trouble: it cannot tell now (2), or not for the time being (4).
            Fault::Login { code } => matches!(code, 1 | 3),
            Fault::Mechanism { .. } | Fault::Unselected | Fault::NotAmqp { .. } => true,
            Fault::Ended { what, reason } => match &*reason.condition {
                "amqp:unauthorized-access"
                | "amqp:not-found"
                | "amqp:not-allowed"
                | "amqp:not-implemented" => true,
                // Of a connection, it may be its name, which is another one's until that has gone.
                "amqp:invalid-field" => *what == "the link",
                _ => false,
            },
            Fault::Io(_) | Fault::Silent(_) | Fault::Malformed(_) => false,
        }
    }
}

/// What it might be that answers so.
fn heard_instead(began: &[u8]) -> &'static str {
    match began {
        b"AMQP\x00\x01\x00\x00" => ", or wants no login, which is not spoken here",
        [b'A', b'M', b'Q', b'P', 0, 0, ..] | [b'A', b'M', b'Q', b'P', 1, 1, ..] => {
            " but AMQP 0.9.1, as RabbitMQ does before version 4"
        }
        [b'A', b'M', b'Q', b'P', ..] => " as it is spoken here",
        [_, _, _, _, 1, b'A', b'c', b't', ..] => {
            " but OpenWire; connect to the port of the broker's AMQP connector, mostly 5672"
        }
        [b'H', b'T', b'T', b'P', ..] => " but HTTP",
        [0x15, 3, ..] => " but TLS; write `amqps://`",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_somebody_can_mend_is_told_from_what_passes() {
        let check = |fault: Fault, want| assert_eq!(fault.needs_hand(), want, "{fault}");
        for (code, want) in [(1, true), (2, false), (3, true), (4, false), (u8::MAX, false)] {
            check(Fault::Login { code }, want);
        }
        check(Fault::Mechanism { wanted: "PLAIN", offered: "EXTERNAL".to_owned() }, true);
        check(Fault::Unselected, true);
        check(Fault::NotAmqp { began: Bytes::from_static(b"HTTP") }, true);
        for (what, condition, want) in [
            ("the link", "amqp:unauthorized-access", true),
            ("the connection", "amqp:unauthorized-access", true),
            ("the link", "amqp:not-found", true),
            ("the link", "amqp:not-allowed", true),
            ("the link", "amqp:not-implemented", true),
            ("the link", "amqp:invalid-field", true),
            ("the connection", "amqp:invalid-field", false),
            ("the connection", "amqp:connection:forced", false),
            ("the link", "amqp:resource-limit-exceeded", false),
            ("the link", "amqp:resource-deleted", false),
            ("the session", "", false),
        ] {
            let reason = Reason { condition: condition.to_owned(), description: String::new() };
            check(Fault::Ended { what, reason }, want);
        }
        check(Fault::Io(std::io::ErrorKind::ConnectionRefused.into()), false);
        check(Fault::Silent(std::time::Duration::from_secs(1)), false);
        check(Fault::Malformed(Malformed { what: "something", left: 0 }), false);
    }
}
