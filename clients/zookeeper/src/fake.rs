//! A server of one node, on a free port of this machine, with moods.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::{Node, Server};

/// How it behaves to those who come from now on, and how to those who are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    #[default]
    Well,
    /// It hangs up on everybody.
    Away,
    /// It takes everything and answers nothing.
    Silent,
    /// It knows no session.
    Forgetful,
    /// It answers every request with this error.
    Refuses(i32),
    /// Its answers are longer than any client takes.
    Endless,
}

/// A running server. It ends with the runtime.
pub struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Counts what connections have to look at.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    node: Option<Bytes>,
    zxid: i64,
    mood: Mood,
    timeout: Duration,
    /// The last session that was given.
    given: i64,
    seen: Visits,
}

/// What came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visits {
    /// Session and last change seen, of everybody who came.
    pub sessions: Vec<(i64, i64)>,
    /// Paths that were asked for.
    pub paths: Vec<String>,
    /// Pings.
    pub pings: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fake {
    /// One that holds no node, and grants sessions of `timeout`.
    ///
    /// # Errors
    /// No port could be had.
    pub async fn start(timeout: Duration) -> std::io::Result<Fake> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Mutex::new(State { timeout, ..State::default() });
        let shared = Arc::new(Shared { state, changed: watch::Sender::new(0) });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        Ok(Fake { address, shared })
    }

    /// Where it is.
    pub fn server(&self) -> Server {
        Server { host: self.address.ip().to_string().into(), port: self.address.port() }
    }

    /// Lets there be this, and tells those who watch.
    pub fn set(&self, node: Node) {
        let mut state = self.shared.state();
        state.zxid += 1;
        state.node = match node {
            Node::Absent => None,
            Node::Data(data) => Some(data),
        };
        drop(state);
        self.shared.changed.send_modify(|count| *count += 1);
    }

    /// Changes how it behaves.
    pub fn mood(&self, mood: Mood) {
        self.shared.state().mood = mood;
        self.shared.changed.send_modify(|count| *count += 1);
    }

    /// What came in so far.
    pub fn visits(&self) -> Visits {
        self.shared.state().seen.clone()
    }
}

/// One client, until either hangs up.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let mut changed = shared.changed.subscribe();
    let mut buffer = BytesMut::new();
    let mut greeted = false;
    let mut watches = None;
    loop {
        if shared.state().mood == Mood::Away {
            return None;
        }
        let zxid = shared.state().zxid;
        if watches.is_some_and(|at| at < zxid) && shared.state().mood == Mood::Well {
            watches = None;
            stream
                .write_all(&framed(&[&(-1i32).to_be_bytes(), &[0xff; 8], &[0; 16]]))
                .await
                .ok()?;
        }
        let packet = tokio::select! {
            packet = next(&mut stream, &mut buffer) => packet?,
            _ = changed.changed() => continue,
        };
        let answer = {
            let mut state = shared.state();
            if state.mood == Mood::Silent {
                continue;
            }
            if greeted {
                state.answer(packet, &mut watches)?
            } else {
                greeted = true;
                state.welcome(packet)?
            }
        };
        stream.write_all(&answer).await.ok()?;
    }
}

impl State {
    fn welcome(&mut self, mut packet: Bytes) -> Option<Bytes> {
        packet.try_get_i32().ok()?;
        let zxid = packet.try_get_i64().ok()?;
        packet.try_get_i32().ok()?;
        let session = packet.try_get_i64().ok()?;
        self.seen.sessions.push((session, zxid));
        // As the real one, which has not seen what this client has.
        if zxid > self.zxid {
            return None;
        }
        let known = self.mood != Mood::Forgetful || session == 0;
        let millis = if known { u32::try_from(self.timeout.as_millis()).ok()? } else { 0 };
        self.given += i64::from(session == 0);
        let session = if session == 0 { self.given } else { session };
        let (millis, session) = (millis.to_be_bytes(), session.to_be_bytes());
        Some(framed(&[&[0; 4], &millis, &session, &16u32.to_be_bytes(), &[7; 16]]))
    }

    fn answer(&mut self, mut packet: Bytes, watches: &mut Option<i64>) -> Option<Bytes> {
        let xid = packet.try_get_i32().ok()?;
        let operation = packet.try_get_i32().ok()?;
        let (xid, zxid) = (xid.to_be_bytes(), self.zxid.to_be_bytes());
        if operation == 11 {
            self.seen.pings += 1;
            return Some(framed(&[&xid, &zxid, &[0; 4]]));
        }
        let length = usize::try_from(packet.try_get_u32().ok()?).ok()?;
        let path = packet.split_to(length.min(packet.len()));
        self.seen.paths.push(String::from_utf8_lossy(&path).into_owned());
        match self.mood {
            Mood::Refuses(code) => return Some(framed(&[&xid, &zxid, &code.to_be_bytes()])),
            Mood::Endless => return Some(Bytes::from_static(&[0x7f; 4])),
            _ => {}
        }
        let exists = operation == 3;
        if packet.last() == Some(&1) && (exists || self.node.is_some()) {
            *watches = Some(self.zxid);
        }
        Some(match &self.node {
            None => framed(&[&xid, &zxid, &(-101i32).to_be_bytes()]),
            Some(_) if exists => framed(&[&xid, &zxid, &[0; 4], &[0; 68]]),
            Some(data) => {
                let length = u32::try_from(data.len()).ok()?.to_be_bytes();
                framed(&[&xid, &zxid, &[0; 4], &length, data, &[0; 68]])
            }
        })
    }
}

async fn next(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<Bytes> {
    loop {
        if let Some(packet) = crate::packet::cut(buffer).ok()? {
            return Some(packet);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn framed(parts: &[&[u8]]) -> Bytes {
    let mut packet = BytesMut::new();
    let length: usize = parts.iter().map(|part| part.len()).sum();
    packet.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    parts.iter().for_each(|part| packet.put_slice(part));
    packet.freeze()
}
