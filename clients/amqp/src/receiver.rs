//! A [`Link`] over a connection, and the clock that it does not know.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::link::{Delivery, Link};
use crate::performative::Verdict;
use crate::{Fault, Settings};

/// Silence after which the broker counts as gone: twice what is announced.
const SILENCE: Duration = Duration::from_secs(60);
/// The whole conversation until messages may come, TLS aside.
const OPENING: Duration = Duration::from_secs(30);
/// How long a broker may take to say good-bye.
const CLOSING: Duration = Duration::from_secs(3);
/// Messages are given back in groups of so many, so that what is to be written stays small.
const GIVEN_AT_ONCE: usize = 512;
/// How long a broker may take to say that nothing more comes.
const QUIET: Duration = Duration::from_secs(10);
/// What is read at once.
const READ_BYTES: usize = 64 * 1024;
/// With less room than this a buffer is full.
const ROOM_BYTES: usize = 8 * 1024;

/// What goes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Receives messages.
pub struct Receiver<S> {
    link: Link,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    inbox: BytesMut,
    /// Whether what was written may still lie in the stream.
    unflushed: bool,
    heard: Instant,
    spoke: Instant,
    /// Since when the broker has taken nothing of what is to be written.
    blocked: Option<Instant>,
}

impl<S: Stream> Receiver<S> {
    /// Logs in over `stream` and asks for messages.
    ///
    /// # Errors
    /// [`Fault`], after 30 seconds at the latest.
    pub async fn open(stream: S, settings: Settings) -> Result<Self, Fault> {
        let (reader, writer) = split(stream);
        let now = Instant::now();
        let mut receiver = Receiver {
            link: Link::new(settings),
            reader,
            writer,
            inbox: BytesMut::new(),
            unflushed: false,
            heard: now,
            spoke: now,
            blocked: None,
        };
        let opened = timeout(OPENING, async {
            while !receiver.link.is_open() {
                receiver.step().await?;
            }
            Ok::<_, Fault>(())
        });
        opened.await.map_err(|_| Fault::Silent(OPENING))??;
        Ok(receiver)
    }

    /// Waits until a message lies ready. Cancel-safe.
    ///
    /// # Errors
    /// [`Fault`]: the connection is over.
    pub async fn wait(&mut self) -> Result<(), Fault> {
        while !self.link.has_ready() {
            self.step().await?;
        }
        Ok(())
    }

    /// Reads what has arrived already, until `messages` lie ready.
    ///
    /// # Errors
    /// [`Fault`]: the connection is over.
    pub fn gather(&mut self, messages: usize) -> Result<(), Fault> {
        while self.link.ready() < messages {
            match self.step().now_or_never() {
                Some(stepped) => stepped?,
                None => break,
            }
        }
        Ok(())
    }

    /// Takes what lies ready, in order.
    pub fn take(&mut self) -> Option<Delivery> {
        self.link.take()
    }

    /// Gives back what was taken, as `runs` of numbers, and all that came behind it, and has the broker give nothing
    /// until [`Receiver::resume`]. The newest goes back first, so that whichever end a broker puts it to, the order is
    /// what it was; but where more is on its way than there is room for, some of it goes back before the rest has come.
    ///
    /// # Errors
    /// [`Fault`]: the connection is over, and the broker has it all back.
    pub async fn give_back(&mut self, runs: &[(u32, u32)]) -> Result<(), Fault> {
        self.link.hold();
        // A broker that does not answer is not waited for: what it sends then comes out of order.
        let until = Instant::now() + QUIET;
        let mut runs = runs;
        loop {
            while !self.link.is_quiet() && !self.link.is_full() && Instant::now() < until {
                if let Ok(stepped) = timeout_at(until, self.step()).await {
                    stepped?;
                }
            }
            let ready: Vec<_> = std::iter::from_fn(|| self.link.take()).collect();
            let ready = ready.iter().rev().map(|delivery| delivery.id);
            let taken = std::mem::take(&mut runs).iter().rev().flat_map(|&(first, last)| {
                (0..=last.wrapping_sub(first)).rev().map(move |n| first.wrapping_add(n))
            });
            for (nth, id) in ready.chain(taken).enumerate() {
                if nth % GIVEN_AT_ONCE == GIVEN_AT_ONCE - 1 {
                    self.flush().await?;
                }
                self.link.settle(id, id, &Verdict::Released);
            }
            if self.link.is_quiet() || Instant::now() >= until {
                return self.flush().await;
            }
        }
    }

    /// Has the broker give again.
    pub fn resume(&mut self) {
        self.link.resume();
    }

    /// Says what becomes of the messages from `first` to `last`; [`Receiver::flush`] sends it.
    pub fn settle(&mut self, first: u32, last: u32, verdict: &Verdict) {
        self.link.settle(first, last, verdict);
    }

    /// Sends all that was said. Cancel-safe.
    ///
    /// # Errors
    /// [`Fault`]: the connection is over, and what was settled may come again.
    pub async fn flush(&mut self) -> Result<(), Fault> {
        while !self.link.out.is_empty() || self.unflushed {
            self.step().await?;
        }
        Ok(())
    }

    /// Keeps the connection alive and takes in as much as there is room for, while its owner has other things to
    /// do. Never ends well. Cancel-safe.
    pub async fn idle(&mut self) -> Fault {
        loop {
            if let Err(fault) = self.step().await {
                return fault;
            }
        }
    }

    /// Says good-bye, and waits a moment until the broker has heard everything.
    pub async fn close(mut self) {
        self.link.close();
        // The answer, which ends the link, says that it is through all that was said before. A broker that says
        // nothing any more is hung up on.
        drop(timeout(CLOSING, self.idle()).await);
    }

    /// Reads, writes or waits, whichever is possible first. Cancel-safe: bytes are in a buffer or in the stream.
    async fn step(&mut self) -> Result<(), Fault> {
        let Receiver { link, reader, writer, inbox, unflushed, heard, spoke, blocked } = self;
        // What was read is shared with the messages in it, so that a new buffer is begun only when this one is full.
        if inbox.capacity() - inbox.len() < ROOM_BYTES {
            inbox.reserve(READ_BYTES);
        }
        let silent_at = *heard + SILENCE;
        let idle = Duration::from_millis(u64::from(link.idle_millis) / 2);
        let speaks = link.is_open() && !idle.is_zero() && link.out.is_empty();
        let writes = !link.out.is_empty();
        // A broker that speaks and does not listen is gone, too.
        let deaf_at = match writes || *unflushed {
            true => *blocked.get_or_insert_with(Instant::now) + SILENCE,
            false => silent_at,
        };
        tokio::select! {
            biased;
            wrote = write(writer, &mut link.out), if writes || *unflushed => {
                *unflushed = wrote?;
                *blocked = None;
                *spoke = Instant::now();
            }
            read = reader.read_buf(inbox) => {
                if read? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                *heard = Instant::now();
                link.feed(inbox)?;
            }
            () = sleep_until(*spoke + idle), if speaks => link.sign_of_life(),
            () = sleep_until(silent_at.min(deaf_at)) => return Err(Fault::Silent(SILENCE)),
        }
        Ok(())
    }
}

/// Writes some of `out`, or flushes what was written where there is nothing left; tells whether there is more to flush.
/// Cancel-safe.
async fn write<W: AsyncWrite + Unpin>(writer: &mut W, out: &mut BytesMut) -> io::Result<bool> {
    if out.is_empty() {
        writer.flush().await?;
        return Ok(false);
    }
    match writer.write_buf(out).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(true),
    }
}

impl<S> std::fmt::Debug for Receiver<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("link", &self.link).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
