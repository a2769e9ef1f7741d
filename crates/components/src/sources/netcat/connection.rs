//! One netcat connection: read, cut into lines, put, answer.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use splashdam_core::{Batch, Context, Event, Outlet, PutError, Size, Stop, Trouble, World};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tracing::{debug, info, warn};

use super::super::smaller_group;
use super::Config;
use crate::accepting::Counted;
use crate::charset::{Charset, OnMalformed};

/// Bytes that are read at once.
pub(super) const READ_BYTES: usize = 16 * 1024;
/// Lines in one transaction at the most, however many arrived together.
const GROUP_LINES: usize = 100;

/// What all connections share.
pub(super) struct Service {
    pub(super) out: Outlet,
    name: Arc<str>,
    world: Arc<dyn World>,
    stop: Stop,
    charset: Charset,
    max_chars: usize,
    acks: bool,
    /// Lines in one transaction; becomes smaller when a channel says that it takes no more.
    group: AtomicUsize,
    trouble: Mutex<Trouble>,
    /// Lines that are not in the charset.
    foreign: Mutex<Trouble>,
    /// Lines that are too long.
    oversized: Mutex<Trouble>,
}

/// What the bytes at hand begin with.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    /// A line that ends there; the next begins behind its line end.
    Line(usize),
    /// A line longer than allowed.
    TooLong,
    /// Part of a line.
    Part,
}

/// Whole lines at the start of some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Each without its line end.
    lines: Vec<Range<usize>>,
    /// Where the last one and its line end are over.
    end: usize,
    /// Whether the line after them is longer than allowed.
    too_long: bool,
}

impl Service {
    pub(super) fn new(config: &Config, cx: &Context, out: Outlet, stop: Stop) -> Self {
        Service {
            out,
            name: cx.name.clone(),
            world: cx.world.clone(),
            stop,
            charset: config.encoding,
            max_chars: config.max_line_length.get() as usize,
            acks: config.ack_every_event,
            group: AtomicUsize::new(GROUP_LINES),
            trouble: Mutex::new(Trouble::new()),
            foreign: Mutex::new(Trouble::new()),
            oversized: Mutex::new(Trouble::new()),
        }
    }

    /// Serves a client until it closes, sends too long a line, or a stop is asked for.
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let _open = Counted::new(self.out.metrics());
        // So that who vanished without a word does not hold his place for ever.
        if let Err(error) = splashdam_client::keep_alive(&stream) {
            debug!(component = %self.name, %peer, %error, "a connection goes on without its options");
        }
        if let Err(error) = self.converse(stream, peer).await {
            debug!(component = %self.name, %peer, %error, "a client is gone");
        }
    }

    async fn converse(&self, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        let mut charset = None;
        // Bytes at the start of the buffer that are known to hold no line end.
        let mut searched = 0;
        loop {
            let Some(read) = self.stop.or(fill(&stream, &mut buffer)).await else { return Ok(()) };
            if read? == 0 {
                return Ok(());
            }
            let charset = match charset {
                Some(charset) => charset,
                None if buffer.len() < self.charset.unit_bytes() => continue,
                None => {
                    let (resolved, mark) = self.charset.resolve(&buffer);
                    buffer.advance(mark);
                    *charset.insert(resolved)
                }
            };
            let too_long = self.take_lines(&mut stream, &mut buffer, charset, searched).await?;
            if too_long {
                self.oversized(peer);
                let most = self.max_chars;
                let answer = format!(
                    "FAILED: Event exceeds the maximum length ({most} chars, including newline)\n"
                );
                return self.answer(&mut stream, answer.as_bytes()).await;
            }
            if self.stop.requested() {
                return Ok(());
            }
            searched = buffer.len() - buffer.len() % charset.unit_bytes();
            if buffer.is_empty() {
                // Most clients are idle most of the time, and then cost no buffer.
                buffer = BytesMut::new();
            }
        }
    }

    /// Puts and answers all whole lines of `buffer`; true when the one after them is too long.
    async fn take_lines(
        &self,
        stream: &mut TcpStream,
        buffer: &mut BytesMut,
        charset: Charset,
        mut searched: usize,
    ) -> io::Result<bool> {
        loop {
            let found = lines(charset, buffer, searched, self.max_chars);
            let count = found.lines.len();
            if count > 0 {
                // One copy, so that events do not hold on to the whole of the read buffer.
                let text = Bytes::copy_from_slice(&buffer[..found.end]);
                let batch = found.lines.into_iter().map(|line| self.event(charset, &text, line));
                let batch = batch.collect();
                buffer.advance(found.end);
                searched = 0;
                let answers = self.put(batch).await;
                self.answer(stream, &answers).await?;
            }
            if found.too_long || count < GROUP_LINES || self.stop.requested() {
                return Ok(found.too_long);
            }
        }
    }

    /// Puts lines in as few transactions as the channels allow; the answers for all of them, or,
    /// when a stop is asked for meanwhile, for those that were put.
    async fn put(&self, mut lines: Batch) -> Vec<u8> {
        let mut answers = Vec::new();
        while !lines.is_empty() && !self.stop.requested() {
            let group = lines.split_front(self.group());
            let count = group.len();
            // A busy client must not keep a worker to itself.
            consume_budget().await;
            match self.put_group(group).await {
                None => break,
                Some(Ok(())) => {
                    self.settled();
                    if self.acks {
                        answers.extend_from_slice(&b"OK\n".repeat(count));
                    }
                }
                Some(Err(error)) => {
                    self.refused(&error);
                    let reason = error.to_string().replace(['\r', '\n'], " ");
                    answers
                        .extend_from_slice(format!("FAILED: {reason}\n").repeat(count).as_bytes());
                }
            }
        }
        answers
    }

    /// Puts lines in one transaction, or in several when a channel turns out to take fewer. Those
    /// are what interceptors left of the lines, so no answer is for a part of them: should one
    /// transaction fail, all lines count as refused. `None` when a stop was asked for in between.
    async fn put_group(&self, group: Batch) -> Option<Result<(), PutError>> {
        let mut parts = vec![group];
        while let Some(mut rest) = parts.pop() {
            if self.stop.requested() {
                return None;
            }
            let part = rest.split_front(self.group());
            if !rest.is_empty() {
                parts.push(rest);
            }
            match self.out.put(part).await {
                Ok(()) => {}
                Err(error) => match smaller_group(&error) {
                    Some(events) => {
                        self.group.fetch_min(events, Relaxed);
                        parts.push(error.batch);
                    }
                    None => return Some(Err(error)),
                },
            }
        }
        Some(Ok(()))
    }

    fn group(&self) -> Size {
        Size::events(self.group.load(Relaxed))
    }

    /// Sends answers. A client that does not read them is not read either; a stop leaves it
    /// behind, but not before a write was tried: what was put should be answered.
    async fn answer(&self, stream: &mut TcpStream, answers: &[u8]) -> io::Result<()> {
        tokio::select! {
            biased;
            written = stream.write_all(answers) => written,
            () = self.stop.wait() => Ok(()),
        }
    }

    /// The event of one line: a slice of `text` where that is UTF-8.
    fn event(&self, charset: Charset, text: &Bytes, line: Range<usize>) -> Event {
        let bytes = &text[line.clone()];
        match charset.decode(bytes, OnMalformed::Fail) {
            Ok(Cow::Borrowed(_)) => Event::new(text.slice(line)),
            Ok(Cow::Owned(decoded)) => Event::new(decoded),
            Err(_) => {
                self.not_in_charset();
                // Replacing never fails.
                let decoded = charset.decode(bytes, OnMalformed::Replace).unwrap_or_default();
                Event::new(decoded.into_owned())
            }
        }
    }

    fn not_in_charset(&self) {
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repeats) = foreign.happened(self.world.instant(), "") {
            let charset = self.charset;
            warn!(component = %self.name, %charset, repeats, "a line has bytes that mean nothing in the charset, U+FFFD stands for them; set `encoding` to what clients send");
        }
    }

    fn oversized(&self, peer: SocketAddr) {
        self.out.metrics().read_failures.add(1);
        let mut oversized = self.oversized.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repeats) = oversized.happened(self.world.instant(), "") {
            let most = self.max_chars;
            warn!(component = %self.name, %peer, most, repeats, "a line is too long: its client was answered FAILED and its connection closed; raise `max-line-length` if such lines are meant");
        }
    }

    fn refused(&self, error: &PutError) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.happened(self.world.instant(), &error.key()).is_some() {
            warn!(component = %self.name, %error, "channels refuse lines; clients are answered FAILED");
        }
    }

    fn settled(&self) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lasted) = trouble.ended(self.world.instant()) {
            info!(component = %self.name, ?lasted, "channels take lines again");
        }
    }
}

/// Waits for bytes before it makes room for them. 0 is the end of the stream. Cancel-safe.
async fn fill(stream: &TcpStream, buffer: &mut BytesMut) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        buffer.reserve(READ_BYTES);
        match stream.try_read_buf(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// Whole lines at the start of `bytes`, as many as go into one transaction. The first `searched`
/// bytes are known to hold no line end.
fn lines(charset: Charset, bytes: &[u8], searched: usize, max_chars: usize) -> Found {
    let mut found = Found::default();
    while found.lines.len() < GROUP_LINES {
        let searched = searched.saturating_sub(found.end);
        match cut(charset, &bytes[found.end..], searched, max_chars) {
            Cut::Line(length) => {
                found.lines.push(found.end..found.end + length);
                found.end += length + charset.unit_bytes();
            }
            Cut::TooLong => {
                found.too_long = true;
                break;
            }
            Cut::Part => break,
        }
    }
    found
}

fn cut(charset: Charset, bytes: &[u8], searched: usize, max_chars: usize) -> Cut {
    let line_end = charset.find(&bytes[searched..], b'\n').map(|at| searched + at);
    let line = &bytes[..line_end.unwrap_or(bytes.len())];
    // The line end counts as well, so `max_chars` without one are too many.
    if charset.prefix(line, max_chars, OnMalformed::Replace).is_some() {
        return Cut::TooLong;
    }
    line_end.map_or(Cut::Part, Cut::Line)
}
