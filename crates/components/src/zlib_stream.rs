//! A connection whose bytes are compressed, as Avro's peers do with `compression-type=deflate`: in
//! each direction one zlib stream for as long as the connection lasts, flushed after each write so
//! that the peer can read what was sent.
//!
//! Reading inflates into the reader's own buffer and no further, so a peer that sends little that
//! becomes much is held by whoever reads. What is written waits here compressed, at most
//! [`MOST_WAITING`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use splashdam_config::{Diagnostic, Section};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A warning where `compression-type` is something that peers of Avro do not speak: as in Flume all
/// but `deflate` means that nothing is compressed.
pub(crate) fn unspoken(kind: &str, section: &Section) -> Option<Diagnostic> {
    let known = ["deflate", "none", ""].iter().any(|known| kind.eq_ignore_ascii_case(known));
    (!known).then(|| {
        let message = format!("`compression-type` cannot be `{kind}`");
        Diagnostic::warning("value-replaced", message)
            .at(section.value_span("compression-type"))
            .label("nothing is compressed")
            .help("write `deflate` here and at the peer, or `none`")
    })
}

/// Compressed bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Room for the compressor's next bytes.
const WRITE_BYTES: usize = 16 * 1024;
/// Compressed bytes that wait to be sent; who writes more waits.
const MOST_WAITING: usize = 64 * 1024;

/// A compressed connection over `S`.
pub(crate) struct ZlibStream<S> {
    inner: S,
    inflate: Decompress,
    /// What was read and not inflated yet.
    compressed: Box<[u8]>,
    unread: std::ops::Range<usize>,
    deflate: Compress,
    waiting: Vec<u8>,
    /// How much of `waiting` was sent.
    sent: usize,
    end: End,
}

/// What the compressor still owes the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing.
    Flushed,
    /// A flush.
    Open,
    /// The end of the stream was written.
    Finished,
}

impl<S> ZlibStream<S> {
    /// Compresses what goes over `inner` with this level, 0 to 9; 0 is taken for 1.
    pub(crate) fn new(inner: S, level: u32) -> Self {
        ZlibStream {
            inner,
            inflate: Decompress::new(true),
            compressed: vec![0; READ_BYTES].into(),
            unread: 0..0,
            // What is only stored is not all there after a flush.
            deflate: Compress::new(Compression::new(level.clamp(1, 9)), true),
            waiting: Vec::new(),
            sent: 0,
            end: End::Flushed,
        }
    }

    /// Inflates what was read into `out`; how much that made, and whether the stream is over.
    fn inflated(&mut self, out: &mut [u8]) -> io::Result<(usize, bool)> {
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let input = &self.compressed[self.unread.clone()];
        let status = self
            .inflate
            .decompress(input, out, FlushDecompress::None)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let taken = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
        self.unread.start += taken(self.inflate.total_in(), before_in);
        let made = taken(self.inflate.total_out(), before_out);
        Ok((made, status == Status::StreamEnd))
    }

    /// Compresses until the compressor has nothing more to say.
    fn finish(&mut self, flush: FlushCompress) -> io::Result<()> {
        loop {
            self.waiting.reserve(WRITE_BYTES);
            let status = self.deflate.compress_vec(&[], &mut self.waiting, flush)?;
            if status == Status::StreamEnd || self.waiting.len() < self.waiting.capacity() {
                return Ok(());
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> ZlibStream<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            let rest = &self.waiting[self.sent..];
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.waiting.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ZlibStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let (made, over) = this.inflated(out.initialize_unfilled())?;
            if made > 0 || over {
                out.advance(made);
                return Poll::Ready(Ok(()));
            }
            if !this.unread.is_empty() {
                // There is room, so whatever is there must have led somewhere.
                let stuck = "compressed data that leads nowhere";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, stuck)));
            }
            let mut buffer = ReadBuf::new(&mut this.compressed);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buffer))?;
            this.unread = 0..buffer.filled().len();
            if this.unread.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ZlibStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.waiting.len() >= MOST_WAITING {
            ready!(this.poll_send(cx))?;
        }
        let mut taken = 0;
        while taken < bytes.len() && this.waiting.len() < MOST_WAITING {
            this.waiting.reserve(WRITE_BYTES);
            let before = this.deflate.total_in();
            let rest = &bytes[taken..];
            this.deflate.compress_vec(rest, &mut this.waiting, FlushCompress::None)?;
            taken += usize::try_from(this.deflate.total_in() - before).unwrap_or(0);
        }
        this.end = End::Open;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.end == End::Open {
            this.finish(FlushCompress::Sync)?;
            this.end = End::Flushed;
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.end != End::Finished {
            this.finish(FlushCompress::Finish)?;
            this.end = End::Finished;
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn both_sides_read_what_was_flushed() {
        for level in [0, 1, 6, 9] {
            let (one, other) = duplex(1000);
            let (mut one, mut other) = (ZlibStream::new(one, level), ZlibStream::new(other, 6));
            for length in [1, 100, 1_000_000] {
                let sent: Vec<u8> =
                    (0..length as u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
                let mut got = vec![0; length];
                let (wrote, read) = tokio::join!(
                    async {
                        one.write_all(&sent).await?;
                        one.flush().await
                    },
                    other.read_exact(&mut got)
                );
                wrote.unwrap();
                read.unwrap();
                assert!(got == sent, "level {level}, {length} bytes");
            }
            one.shutdown().await.unwrap();
            assert_eq!(other.read(&mut [0; 10]).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn an_unused_connection_ends_as_flumes() {
        let (one, mut other) = duplex(100);
        ZlibStream::new(one, 6).shutdown().await.unwrap();
        let mut got = Vec::new();
        other.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"\x78\x9c\x03\0\0\0\0\x01");
    }

    #[tokio::test]
    async fn what_is_not_compressed_is_an_error() {
        let (mut one, other) = duplex(100);
        one.write_all(b"\0\0\0\x01\0\0\0\x02").await.unwrap();
        let error = ZlibStream::new(other, 6).read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_bomb_fills_the_readers_buffer_only() {
        let (one, other) = duplex(100_000);
        let mut one = ZlibStream::new(one, 9);
        one.write_all(&vec![0; 10_000_000]).await.unwrap();
        one.flush().await.unwrap();
        let mut other = ZlibStream::new(other, 6);
        let mut read = 0;
        while read < 10_000_000 {
            read += other.read(&mut [0; 5000]).await.unwrap();
            assert!(other.unread.len() <= READ_BYTES);
        }
    }
}
