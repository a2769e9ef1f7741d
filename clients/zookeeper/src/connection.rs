//! One connection to one server, and the session on it.

use std::time::Duration;
use std::{fmt, io};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::ensemble::Server;
use crate::packet::{self, Heard, Malformed, Node, Outcome, Question, Session};

/// Room for the next read.
const READ_BYTES: usize = 8 << 10;
/// However short a session's timeout, nobody is pinged more often.
const PING_AT_MOST_EVERY: Duration = Duration::from_millis(50);

/// An open connection.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What has come in and is no whole packet yet.
    buffer: BytesMut,
    xid: i32,
    /// A node that is watched has changed since it was last read.
    touched: bool,
    patience: Duration,
}

/// Why a connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The server knows no such session: a new one is needed.
    Expired,
    Because(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Expired => f.write_str("it refused a session"),
            Broken::Because(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        Broken::Because(match error.kind() {
            BrokenPipe | ConnectionReset | UnexpectedEof => {
                "it closed the connection; is ZooKeeper ready, and is it ZooKeeper?".into()
            }
            _ => error.to_string(),
        })
    }
}

impl From<Malformed> for Broken {
    fn from(malformed: Malformed) -> Self {
        Broken::Because(malformed.to_string())
    }
}

impl Connection {
    /// Connects and begins or takes up `session`. Connecting and each answer may take `patience`.
    pub(crate) async fn open(
        server: &Server,
        session: &mut Session,
        patience: Duration,
    ) -> Result<Connection, Broken> {
        let stream = TcpStream::connect((&*server.host, server.port));
        let stream = in_time(patience, stream).await??;
        stream.set_nodelay(true)?;
        let mut connection =
            Connection { stream, buffer: BytesMut::new(), xid: 0, touched: false, patience };
        connection.send(session.connect_packet()).await?;
        let welcome = in_time(patience, connection.next()).await??;
        if session.welcomed(welcome)? { Ok(connection) } else { Err(Broken::Expired) }
    }

    /// What there is at `path`.
    pub(crate) async fn read(&mut self, path: &str, session: &mut Session) -> Result<Node, Broken> {
        Ok(match self.ask(Question::Data, path, false, session).await? {
            Some(body) => Node::Data(packet::data(body)?),
            None => Node::Absent,
        })
    }

    /// What there is at `path`; any change of it from then on ends [`Connection::quiet`].
    pub(crate) async fn watch(
        &mut self,
        path: &str,
        session: &mut Session,
    ) -> Result<Node, Broken> {
        self.touched = false;
        loop {
            if let Some(body) = self.ask(Question::Data, path, true, session).await? {
                return Ok(Node::Data(packet::data(body)?));
            }
            // Asking for the data of no node leaves no watch. If it has appeared in between, the
            // data is asked for again.
            if self.ask(Question::Existence, path, true, session).await?.is_none() {
                return Ok(Node::Absent);
            }
        }
    }

    /// Keeps the session alive until a watched node has changed.
    pub(crate) async fn quiet(&mut self, session: &Session) -> Result<(), Broken> {
        let ping_every = (session.timeout / 3).max(PING_AT_MOST_EVERY);
        let silent_for = ping_every * 2;
        let mut last_heard = Instant::now();
        while !self.touched {
            match timeout(ping_every, self.next()).await {
                Ok(record) => {
                    self.take_note(packet::heard(record?)?);
                    last_heard = Instant::now();
                }
                Err(_) if last_heard.elapsed() >= silent_for => {
                    return Err(Broken::Because(format!("silent for {silent_for:?}")));
                }
                Err(_) => self.send(packet::ping()).await?,
            }
        }
        Ok(())
    }

    /// The session would end by itself; saying so spares the server from keeping it. What it
    /// answers is of no interest.
    pub(crate) async fn close(mut self) {
        self.send(packet::close(self.xid.wrapping_add(1))).await.ok();
    }

    /// The body of the answer, or nothing where there is no node.
    async fn ask(
        &mut self,
        question: Question,
        path: &str,
        watch: bool,
        session: &mut Session,
    ) -> Result<Option<Bytes>, Broken> {
        // Negative numbers have meanings of their own.
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        self.send(packet::ask(self.xid, question, path, watch)).await?;
        let patience = self.patience;
        let answer = async {
            loop {
                let heard = packet::heard(self.next().await?)?;
                match heard {
                    Heard::Reply { xid, zxid, outcome } if xid == self.xid => {
                        return Ok::<_, Broken>((zxid, outcome));
                    }
                    Heard::Reply { xid, .. } => {
                        let why = format!("a reply to request {xid}, which was not made");
                        return Err(Broken::Because(why));
                    }
                    heard => self.take_note(heard),
                }
            }
        };
        let (zxid, outcome) = in_time(patience, answer).await??;
        session.last_zxid = session.last_zxid.max(zxid);
        match outcome {
            Outcome::Fine(body) => Ok(Some(body)),
            Outcome::NoNode => Ok(None),
            Outcome::Refused(code) => Err(Broken::Because(packet::meaning(code))),
        }
    }

    fn take_note(&mut self, heard: Heard) {
        self.touched |= heard == Heard::Event;
    }

    async fn send(&mut self, packet: Bytes) -> Result<(), Broken> {
        Ok(in_time(self.patience, self.stream.write_all(&packet)).await??)
    }

    /// The next packet. Cancel-safe.
    async fn next(&mut self) -> Result<Bytes, Broken> {
        loop {
            if let Some(packet) = packet::cut(&mut self.buffer)? {
                return Ok(packet);
            }
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

async fn in_time<T>(patience: Duration, work: impl Future<Output = T>) -> Result<T, Broken> {
    let late = |_| Broken::Because(format!("no answer within {patience:?}"));
    timeout(patience, work).await.map_err(late)
}
