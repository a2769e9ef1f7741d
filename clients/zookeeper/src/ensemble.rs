//! Who to ask, as ZooKeeper's connect strings name them, and paths of nodes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::NoAnswer;
use crate::connection::{Broken, Connection};
use crate::packet::{Node, Session};

/// ZooKeeper's port where none is given.
pub const PORT: u16 = 2181;

/// What a reader who keeps nothing open asks for.
const BRIEF_SESSION: Duration = Duration::from_secs(30);

/// Host and port of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name or IP address.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
}

/// Servers that stand for one another, and the node under which all paths are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensemble {
    /// At least one.
    servers: Vec<Server>,
    /// Empty, or a path.
    root: String,
}

/// The path of a node: `/` and names with `/` between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePath(String);

/// What is wrong with a connect string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{written}` names no ZooKeeper: {what}; write host:port,host:port or host:port/path")]
pub struct EnsembleError {
    written: String,
    what: String,
}

/// What is wrong with a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{written}` is no path in ZooKeeper: {what}")]
pub struct PathError {
    written: String,
    what: &'static str,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colons = self.host.contains(':');
        let (open, close) = if colons { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let (host, port) = match written.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or("the `]` is missing")?;
                let odd = "after `]` a colon and a port may stand";
                let port =
                    if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(odd)?) };
                (host, port)
            }
            None => match written.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (written, None),
            },
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err("a host's name is missing or holds a blank".into());
        }
        let port = match port {
            None => PORT,
            Some(port) => port.parse().map_err(|_| format!("`{port}` is no port"))?,
        };
        Ok(Server { host: host.into(), port })
    }
}

impl FromStr for Ensemble {
    type Err = EnsembleError;

    /// As ZooKeeper's own client reads them: servers with commas between them, each with its port
    /// or on 2181, then perhaps a path that stands before all paths.
    fn from_str(written: &str) -> Result<Self, EnsembleError> {
        let refuse = |what: String| EnsembleError { written: written.to_owned(), what };
        let (servers, root) = match written.find('/') {
            Some(at) => written.split_at(at),
            None => (written, ""),
        };
        let servers = servers.split(',').map(str::trim).filter(|server| !server.is_empty());
        let servers: Vec<Server> =
            servers.map(str::parse).collect::<Result<_, _>>().map_err(refuse)?;
        let root = match root {
            "" | "/" => String::new(),
            root => root.parse::<NodePath>().map_err(|wrong| refuse(wrong.what.into()))?.0,
        };
        Ensemble::new(servers, root).ok_or_else(|| refuse("it holds no server".into()))
    }
}

impl Ensemble {
    /// Servers without a common root; nothing where there is none.
    #[must_use]
    pub fn of(servers: Vec<Server>) -> Option<Self> {
        Ensemble::new(servers, String::new())
    }

    fn new(servers: Vec<Server>, root: String) -> Option<Self> {
        (!servers.is_empty()).then_some(Ensemble { servers, root })
    }

    /// How many servers there are.
    pub(crate) fn count(&self) -> usize {
        self.servers.len()
    }

    /// The server whose turn it is, counted round and round.
    pub(crate) fn server(&self, turn: usize) -> &Server {
        &self.servers[turn % self.servers.len()]
    }

    /// The path as the servers know it.
    pub(crate) fn full(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }

    /// Reads the node at `path` in a session of its own, asking the servers one after another,
    /// from the one at `first` on, until one answers. Each has `patience` for all of it.
    ///
    /// # Errors
    /// What each of them did instead.
    pub async fn read(
        &self,
        path: &str,
        first: usize,
        patience: Duration,
    ) -> Result<Node, NoAnswer> {
        let path = self.full(path);
        let first = first % self.count();
        let mut failures = Vec::new();
        for turn in first..first + self.count() {
            let server = self.server(turn);
            match timeout(patience, read_once(server, &path, patience)).await {
                Ok(Ok(node)) => return Ok(node),
                Ok(Err(broken)) => failures.push(format!("{server}: {broken}")),
                Err(_) => failures.push(format!("{server}: no answer within {patience:?}")),
            }
        }
        Err(NoAnswer(failures.join("; ")))
    }
}

async fn read_once(server: &Server, path: &str, patience: Duration) -> Result<Node, Broken> {
    let mut session = Session::new(BRIEF_SESSION);
    let mut connection = Connection::open(server, &mut session, patience).await?;
    let node = connection.read(path, &mut session).await?;
    connection.close().await;
    Ok(node)
}

impl NodePath {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NodePath {
    type Err = PathError;

    /// By ZooKeeper's own rules.
    fn from_str(written: &str) -> Result<Self, PathError> {
        let refuse = |what| Err(PathError { written: written.to_owned(), what });
        let Some(names) = written.strip_prefix('/') else {
            return refuse("it must start with `/`");
        };
        if written.len() > 1 {
            for name in names.split('/') {
                match name {
                    "" => return refuse("a name in it is empty; leave out a `/`"),
                    "." | ".." => return refuse("`.` and `..` mean nothing there"),
                    _ => {}
                }
            }
        }
        let odd =
            |c: char| c.is_control() || ('\u{f000}'..='\u{f8ff}').contains(&c) || c == '\u{fffd}';
        if written.contains(odd) {
            return refuse("it holds a character that is not allowed there");
        }
        Ok(NodePath(written.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_strings_are_read_as_zookeeper_reads_them() {
        let check = |written: &str, servers: &[&str], root: &str| {
            let ensemble: Ensemble = written.parse().unwrap();
            let named: Vec<String> = ensemble.servers.iter().map(Server::to_string).collect();
            assert_eq!(named, servers, "{written}");
            assert_eq!(ensemble.root, root, "{written}");
        };
        check("zk", &["zk:2181"], "");
        check("zk1:1, zk2 ,,[::1]:3", &["zk1:1", "zk2:2181", "[::1]:3"], "");
        check("[fe80::1]", &["[fe80::1]:2181"], "");
        check("zk:1/", &["zk:1"], "");
        check("a:1,b:2/one/two", &["a:1", "b:2"], "/one/two");
        let ensemble: Ensemble = "zk/one".parse().unwrap();
        assert_eq!(ensemble.full("/flume/a1"), "/one/flume/a1");
    }

    #[test]
    fn what_names_no_server_is_refused_with_a_reason() {
        let check = |written: &str, why: &str| {
            let said = written.parse::<Ensemble>().unwrap_err().to_string();
            assert!(said.contains(why), "{written}: {said}");
        };
        check("", "no server");
        check("/flume", "no server");
        check("zk:", "`` is no port");
        check("zk:x", "`x` is no port");
        check("zk:70000", "`70000` is no port");
        check("::1", "host's name is missing");
        check("[::1", "`]` is missing");
        check("[::1]1", "after `]`");
        check("zk/a//b", "a name in it is empty");
        check("zk/a/", "a name in it is empty");
    }

    #[test]
    fn paths_follow_zookeepers_rules() {
        let check = |written: &str, fine: bool| {
            assert_eq!(written.parse::<NodePath>().is_ok(), fine, "{written:?}");
        };
        check("/", true);
        check("/flume/a1", true);
        check("/a.b/..c", true);
        check("", false);
        check("flume", false);
        check("/flume/", false);
        check("//a1", false);
        check("/a/./b", false);
        check("/a/..", false);
        check("/a\0", false);
        check("/a\u{1f}", false);
        check("/\u{f000}", false);
    }
}
