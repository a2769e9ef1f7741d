//! What of the machine a component works with, where others may be in its way: the checker compares
//! this between all components of an agent.

use std::fmt;
use std::net::IpAddr;
use std::path::{Component as Step, Path, PathBuf};

use splashdam_config::Severity;

/// A file, a directory or a port that a component says is its own, or that of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The key that names it, or would.
    pub key: &'static str,
    /// What it is.
    pub to: Claimed,
    /// With whom it can be shared.
    pub hold: Hold,
}

/// What is claimed. Of a path that nobody wrote, `~` at its start is the home directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// A file.
    File(PathBuf),
    /// A directory, with what lies right in it.
    Directory(PathBuf),
    /// Files of a directory.
    Files {
        /// The directory.
        directory: PathBuf,
        /// What their names begin with.
        prefix: String,
        /// What their names end with.
        suffix: String,
    },
    /// A port to listen on.
    Port {
        /// Of which kind.
        transport: Transport,
        /// Host name or address, as it is written.
        host: String,
        /// Its number; 0 is another one each time.
        port: u16,
    },
}

/// With whom something can be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// With nobody; so bad is it when it is.
    Alone(Severity),
    /// With others whose log lies here, if they have all directories of it in common.
    Log,
    /// A Flume with these keys kept something here. It is only read, and no log lies here.
    OfFlume,
}

/// What a port is a port of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// The log that lies in the directories that a channel holds as [`Hold::Log`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTerms {
    /// Keys with what they come to, in which channels of one log must agree, as what the one says
    /// that opens first counts for all. A key that another does not list is not compared.
    pub agree: Vec<(&'static str, String)>,
    /// Whether a take from this channel and a put into another of its log can be one commit.
    pub joint: bool,
}

impl Claim {
    /// A file of the component's own.
    pub fn file(key: &'static str, path: impl AsRef<Path>, severity: Severity) -> Claim {
        Claim { key, to: Claimed::File(plain(path)), hold: Hold::Alone(severity) }
    }

    /// A directory.
    pub fn directory(key: &'static str, path: impl AsRef<Path>, hold: Hold) -> Claim {
        Claim { key, to: Claimed::Directory(plain(path)), hold }
    }

    /// Files of a directory whose names begin with `prefix` and end with `suffix`, of the component's own.
    pub fn files(
        key: &'static str,
        directory: impl AsRef<Path>,
        prefix: &str,
        suffix: &str,
        severity: Severity,
    ) -> Claim {
        let (prefix, suffix) = (prefix.to_owned(), suffix.to_owned());
        let to = Claimed::Files { directory: plain(directory), prefix, suffix };
        Claim { key, to, hold: Hold::Alone(severity) }
    }

    /// A port to listen on.
    #[must_use]
    pub fn port(key: &'static str, transport: Transport, host: &str, port: u16) -> Claim {
        let to = Claimed::Port { transport, host: host.to_owned(), port };
        Claim { key, to, hold: Hold::Alone(Severity::Error) }
    }
}

impl Claimed {
    /// Whether who has one is in the way of who has the other.
    #[must_use]
    pub fn meets(&self, other: &Claimed) -> bool {
        use Claimed::{Directory, File, Files, Port};
        match (self, other) {
            // In between stand numbers only.
            (Files { .. }, Files { .. }) => self == other,
            (Port { transport, host, port }, Port { transport: of, host: on, port: number }) => {
                transport == of && port == number && *port != 0 && same_host(host, on)
            }
            (Port { .. }, _) | (_, Port { .. }) => false,
            (File(a) | Directory(a) | Files { directory: a, .. }, _) => match other {
                File(b) | Directory(b) | Files { directory: b, .. } => a == b,
                Port { .. } => false,
            },
        }
    }
}

impl fmt::Display for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claimed::File(path) | Claimed::Directory(path) => write!(f, "{}", path.display()),
            Claimed::Files { directory, .. } => write!(f, "{}", directory.display()),
            Claimed::Port { transport: Transport::Tcp, port, .. } => write!(f, "TCP port {port}"),
            Claimed::Port { transport: Transport::Udp, port, .. } => write!(f, "UDP port {port}"),
        }
    }
}

/// `a`, `a/` and `./a/.` are one.
fn plain(path: impl AsRef<Path>) -> PathBuf {
    let steps = path.as_ref().components().filter(|step| *step != Step::CurDir);
    let plain: PathBuf = steps.collect();
    if plain.as_os_str().is_empty() { ".".into() } else { plain }
}

/// Whether both take the same address: `::` takes those of IPv4, too. What a name stands for is not
/// looked up.
fn same_host(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => {
            let takes = |one: IpAddr, other: IpAddr| {
                one.is_unspecified() && (one.is_ipv6() || other.is_ipv4())
            };
            a == b || takes(a, b) || takes(b, a)
        }
        _ => one.eq_ignore_ascii_case(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_meet_where_they_are_to_the_same() {
        let bad = Severity::Error;
        let directory = |path| Claim::directory("d", path, Hold::Log);
        let files = |path, prefix, suffix| Claim::files("s", path, prefix, suffix, bad);
        let tcp = |host, port| Claim::port("port", Transport::Tcp, host, port);
        let udp = |host, port| Claim::port("port", Transport::Udp, host, port);
        for (one, other, meet) in [
            (directory("a"), directory("./a/."), true),
            (directory("/a/./b/"), directory("/a/b"), true),
            (directory("."), directory("./"), true),
            (directory("."), directory(".."), false),
            (directory("/a"), directory("/a/b"), false),
            (directory("/a"), Claim::file("f", "/a", bad), true),
            (directory("/a"), Claim::file("f", "/a/b", bad), false),
            (directory("/a"), files("/a/", "p", ".s"), true),
            (files("/a", "p", ".s"), files("/a/", "p", ".s"), true),
            (files("/a", "p", ".s"), files("/a", "q", ".s"), false),
            (files("/a", "p", ".s"), files("/a", "p", ".t"), false),
            (files("/a", "p", ".s"), files("/b", "p", ".s"), false),
            (tcp("mill", 1), tcp("Mill", 1), true),
            (tcp("mill", 1), tcp("mill", 2), false),
            (tcp("mill", 0), tcp("mill", 0), false),
            (tcp("mill", 1), udp("mill", 1), false),
            (tcp("0.0.0.0", 1), tcp("127.0.0.1", 1), true),
            (tcp("0.0.0.0", 1), tcp("::1", 1), false),
            (tcp("0.0.0.0", 1), tcp("::", 1), true),
            (tcp("127.0.0.1", 1), tcp("::", 1), true),
            (tcp("::1", 1), tcp("::", 1), true),
            (tcp("127.0.0.1", 1), tcp("::1", 1), false),
            (udp("0.0.0.0", 1), udp("::", 1), true),
            (tcp("0.0.0.0", 1), tcp("localhost", 1), false),
            (tcp("127.0.0.2", 1), tcp("127.0.0.1", 1), false),
            (tcp("::1", 1), tcp("0:0::1", 1), true),
            (tcp("/a", 1), directory("/a"), false),
        ] {
            assert_eq!(one.to.meets(&other.to), meet, "{one:?} {other:?}");
            assert_eq!(other.to.meets(&one.to), meet, "{other:?} {one:?}");
        }
    }
}
