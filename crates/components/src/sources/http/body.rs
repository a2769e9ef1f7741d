//! The body of a request: received within limits of bytes and time, and unpacked within them.

use std::fmt::Display;
use std::io::{self, Read};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use super::handler::Answer;

/// Bytes of all large bodies that are received, unpacked or put at one time; who comes then waits
/// for a while.
pub(in crate::sources) const ROOM_BYTES: u64 = 256 * 1024 * 1024;
/// The semaphore counts in these, as it counts in 32 bits.
const UNIT_BYTES: usize = 1024;
/// What a body may have without asking for room, as most have no more.
pub(in crate::sources) const FREE_BYTES: usize = 64 * 1024;
/// What is unpacked without handing it to another thread.
const QUICK_BYTES: usize = 16 * FREE_BYTES;
/// How long a body waits for room each time it needs more: others may keep theirs for long.
const ROOM_TIME: Duration = Duration::from_secs(5);
/// What a body has to arrive in: this …
const BODY_TIME: Duration = Duration::from_secs(30);
/// … and a second for each of these.
const BODY_BYTES_A_SECOND: usize = 128 * 1024;

/// The room for bodies that several connections share.
pub(super) struct Room {
    free: Semaphore,
    units: usize,
    most_bytes: usize,
}

/// What a large body takes of the room, given back when dropped.
pub(super) type Taken<'a> = Option<SemaphorePermit<'a>>;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Deflate,
    Zstd,
}

impl Room {
    /// Room for bodies of up to `most_bytes`.
    pub(super) fn new(most_bytes: usize) -> Self {
        let all = usize::try_from(ROOM_BYTES).unwrap_or(usize::MAX).max(most_bytes);
        let units = all.div_ceil(UNIT_BYTES);
        Room { free: Semaphore::new(units), units, most_bytes }
    }

    /// Waits, not for long, until there is room for so many bytes.
    async fn take(&self, bytes: usize) -> Result<Taken<'_>, Answer> {
        let units = u32::try_from(units(bytes).min(self.units)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let taken = timeout(ROOM_TIME, self.free.acquire_many(units)).await;
        Ok(taken.map_err(|_| crowded())?.ok())
    }

    /// Waits, not for long, until what is taken is room for so many bytes.
    async fn take_up_to<'a>(&'a self, taken: &mut Taken<'a>, bytes: usize) -> Result<(), Answer> {
        let held = taken.as_ref().map_or(0, SemaphorePermit::num_permits);
        let missing = units(bytes).saturating_sub(held) * UNIT_BYTES;
        match (taken, self.take(missing).await?) {
            (Some(taken), Some(more)) => taken.merge(more),
            (taken, more) => *taken = more,
        }
        Ok(())
    }

    /// Receives a body; what comes after `cut_after` bytes is let go. It takes room as it grows, twice
    /// as much each time, lest who announces much and sends little keeps the others out.
    pub(super) async fn receive<B>(
        &self,
        mut body: B,
        cut_after: Option<usize>,
    ) -> Result<(Bytes, Taken<'_>), Answer>
    where
        B: Body<Data = Bytes, Error: Display> + Unpin,
    {
        let most = cut_after.unwrap_or(usize::MAX).min(self.most_bytes);
        let said = body.size_hint().exact().map(|said| usize::try_from(said).unwrap_or(usize::MAX));
        if cut_after.is_none() && said.is_some_and(|said| said > most) {
            return Err(self.too_large());
        }
        let expected = said.unwrap_or(most).min(most);
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        let (mut taken, mut received, mut room) = (None, 0, FREE_BYTES);
        let mut began = Instant::now();
        loop {
            let due = began + time_for(received);
            let Some(frame) = timeout_at(due, body.frame()).await.map_err(|_| slow())? else {
                break;
            };
            let Ok(data) = frame.map_err(|error| lost(&error))?.into_data() else { continue };
            received += data.len();
            if received > self.most_bytes {
                // Who cuts has had enough, and nobody sends for ever.
                match cut_after {
                    Some(cut) if cut <= self.most_bytes => break,
                    _ => return Err(self.too_large()),
                }
            }
            let wanted = received.min(expected);
            if wanted > room {
                room = wanted.max(room.saturating_mul(2)).min(expected);
                let waits = Instant::now();
                self.take_up_to(&mut taken, room).await?;
                began += waits.elapsed();
            }
            // What comes in one piece is not copied.
            if first.is_empty() && all.is_empty() {
                first = data;
                continue;
            }
            if all.is_empty() {
                all.reserve(expected.min(FREE_BYTES).max(first.len() + data.len()));
                all.extend_from_slice(&first);
                first.clear();
            }
            let left = most.saturating_sub(all.len()).min(data.len());
            all.extend_from_slice(&data[..left]);
        }
        let mut whole = if all.is_empty() { first } else { all.freeze() };
        whole.truncate(most);
        let taken = without_surplus(taken, whole.len());
        Ok((whole, taken))
    }

    /// Unpacks a body. What becomes more than a body may have without asking waits for room first,
    /// like those that came so: at the most [`QUICK_BYTES`] are unpacked here, more by a thread that
    /// may block.
    pub(super) async fn unpack<'a>(
        &'a self,
        packing: Packing,
        packed: Bytes,
        taken: Taken<'a>,
    ) -> Result<(Bytes, Taken<'a>), Answer> {
        let most = self.most_bytes;
        let is_small = packed.len() <= FREE_BYTES;
        if is_small && let Some(unpacked) = unpack(packing, &packed, FREE_BYTES.min(most))? {
            return Ok((unpacked, taken));
        }
        // What it has of the room it gives back first: two that wait for each other would never end.
        drop(taken);
        if is_small && most > FREE_BYTES {
            let taken = self.take(QUICK_BYTES.min(most)).await?;
            if let Some(unpacked) = unpack(packing, &packed, QUICK_BYTES.min(most))? {
                let taken = without_surplus(taken, unpacked.len());
                return Ok((unpacked, taken));
            }
        }
        let taken = self.take(most).await?;
        let unpacked = tokio::task::spawn_blocking(move || unpack(packing, &packed, most));
        let unpacked = unpacked.await.map_err(|panicked| {
            Answer::new(StatusCode::INTERNAL_SERVER_ERROR, panicked.to_string())
        })?;
        let unpacked = unpacked?.ok_or_else(|| self.too_large())?;
        let taken = without_surplus(taken, unpacked.len());
        Ok((unpacked, taken))
    }

    fn too_large(&self) -> Answer {
        let most = self.most_bytes;
        let why = format!("the request has more than {most} bytes, which maxRequestBytes allows");
        Answer::new(StatusCode::PAYLOAD_TOO_LARGE, why)
    }
}

impl Packing {
    /// What a `Content-Encoding` says; `None` for a body that is not packed.
    pub(super) fn named(name: &str) -> Result<Option<Packing>, Answer> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Packing::Gzip)),
            "deflate" | "zlib" => Ok(Some(Packing::Deflate)),
            "zstd" => Ok(Some(Packing::Zstd)),
            _ => {
                let why = "the content encoding is not read here; use gzip, deflate or zstd";
                Err(Answer::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why))
            }
        }
    }
}

/// Unpacks; `None` if that is more than `most` bytes, of which no more are made.
fn unpack(packing: Packing, packed: &[u8], most: usize) -> Result<Option<Bytes>, Answer> {
    let unpacked = match packing {
        Packing::Gzip => read(MultiGzDecoder::new(packed), most),
        // By the standard it is zlib; some send bare deflate.
        Packing::Deflate if packed.first().is_some_and(|byte| byte & 0x0f == 8) => {
            read(ZlibDecoder::new(packed), most)
        }
        Packing::Deflate => read(DeflateDecoder::new(packed), most),
        Packing::Zstd => {
            zstd::stream::read::Decoder::with_buffer(packed).and_then(|mut decoder| {
                // A window is memory, too: what a file of at most 8 MiB windows needs.
                decoder.window_log_max(23)?;
                read(decoder, most)
            })
        }
    };
    unpacked.map_err(|error| {
        let why = format!("the body cannot be unpacked: {error}");
        Answer::new(StatusCode::BAD_REQUEST, why)
    })
}

fn read(unpacked: impl Read, most: usize) -> io::Result<Option<Bytes>> {
    let mut all = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    unpacked.take(limit).read_to_end(&mut all)?;
    Ok((all.len() <= most).then(|| all.into()))
}

fn time_for(received: usize) -> Duration {
    BODY_TIME + Duration::from_secs((received / BODY_BYTES_A_SECOND) as u64)
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES)
}

/// What a body of so many bytes keeps of what it took: none, if it turned out to be small.
fn without_surplus(taken: Taken<'_>, bytes: usize) -> Taken<'_> {
    let needed = if bytes > FREE_BYTES { units(bytes) } else { 0 };
    let mut taken = taken?;
    let surplus = taken.num_permits().saturating_sub(needed);
    drop(taken.split(surplus));
    (needed > 0).then_some(taken)
}

fn crowded() -> Answer {
    let why = "there is no room for a large request now, as others are on their way; send it again";
    Answer::new(StatusCode::SERVICE_UNAVAILABLE, why)
}

fn slow() -> Answer {
    Answer::new(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time")
}

fn lost(error: &impl Display) -> Answer {
    Answer::new(StatusCode::BAD_REQUEST, format!("the request did not arrive whole: {error}"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::Write;
    use std::pin::Pin;
    use std::task::{self, Poll};

    use hyper::body::{Frame, SizeHint};

    use super::*;

    fn packed(packing: Packing, text: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        match packing {
            Packing::Gzip => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), level);
                writer.write_all(text).unwrap();
                writer.finish().unwrap()
            }
            Packing::Deflate => {
                let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), level);
                writer.write_all(text).unwrap();
                writer.finish().unwrap()
            }
            Packing::Zstd => zstd::encode_all(text, 3).unwrap(),
        }
    }

    #[test]
    fn bodies_are_unpacked_up_to_a_limit() {
        for packing in [Packing::Gzip, Packing::Deflate, Packing::Zstd] {
            let text = b"what is sent".repeat(100);
            let packed = packed(packing, &text);
            let whole = Some(Bytes::from(text.clone()));
            assert_eq!(unpack(packing, &packed, text.len()), Ok(whole), "{packing:?}");
            assert_eq!(unpack(packing, &packed, text.len() - 1), Ok(None), "{packing:?}");
            for end in 0..packed.len() {
                let cut = unpack(packing, &packed[..end], text.len());
                assert!(
                    cut.is_err() || cut.unwrap().unwrap().len() < text.len(),
                    "{packing:?} {end}"
                );
            }
            assert_eq!(unpack(packing, b"no such thing", 100).unwrap_err().status, 400);
        }
        let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        bare.write_all(b"bare").unwrap();
        let bare = bare.finish().unwrap();
        assert_eq!(unpack(Packing::Deflate, &bare, 9), Ok(Some(Bytes::from_static(b"bare"))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_large_waits_for_room_before_it_is_unpacked() {
        let most = 2 * QUICK_BYTES;
        let check = async |bytes: usize, waits: bool| {
            let room = Room::new(most);
            let text = vec![b'x'; bytes];
            let small = Bytes::from(packed(Packing::Gzip, &text));
            assert!(small.len() <= FREE_BYTES, "{bytes}");
            let held = room.take(room.units * UNIT_BYTES).await.unwrap();
            let mut unpacking = std::pin::pin!(room.unpack(Packing::Gzip, small, None));
            let waited = tokio::time::timeout(Duration::from_secs(1), &mut unpacking).await;
            assert_eq!(waited.is_err(), waits, "{bytes}");
            drop(held);
            let (unpacked, taken) = match waited {
                Ok(unpacked) => unpacked.unwrap(),
                Err(_) => unpacking.await.unwrap(),
            };
            let took = taken.map_or(0, |permit| permit.num_permits() * UNIT_BYTES);
            assert_eq!(unpacked.len(), bytes);
            assert!(!waits || took >= bytes, "{bytes} in room for {took}");
        };
        check(FREE_BYTES, false).await;
        check(FREE_BYTES + 1, true).await;
        check(QUICK_BYTES, true).await;
        check(QUICK_BYTES + 1, true).await;
        check(most, true).await;
    }

    /// A body that comes in pieces and may have no end.
    struct Pieces {
        pieces: Vec<Bytes>,
        said: Option<u64>,
        ends: bool,
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut task::Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.pieces.pop() {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }

        fn size_hint(&self) -> SizeHint {
            self.said.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    fn pieces(bytes: usize, said: bool, ends: bool) -> Pieces {
        const PIECE: usize = 10_000;
        let all = Bytes::from(vec![b'x'; bytes]);
        let at = |start: usize| all.slice(start..(start + PIECE).min(bytes));
        let pieces = (0..bytes).step_by(PIECE).map(at).rev().collect();
        Pieces { pieces, said: said.then_some(bytes as u64), ends }
    }

    const MOST: usize = 128 << 20;

    #[tokio::test(start_paused = true)]
    async fn room_is_taken_as_a_body_grows_and_what_it_does_not_need_is_given_back() {
        let check = async |bytes: usize, said: bool, cut: Option<usize>, want: usize| {
            let room = Room::new(MOST);
            let (whole, taken) = room.receive(pieces(bytes, said, true), cut).await.unwrap();
            assert_eq!(whole.len(), cut.unwrap_or(bytes).min(bytes));
            assert_eq!(taken.map_or(0, |taken| taken.num_permits()), want, "{bytes} {cut:?}");
            assert_eq!(room.free.available_permits(), room.units);
        };
        for said in [true, false] {
            check(FREE_BYTES, said, None, 0).await;
            check(100_000, said, None, units(100_000)).await;
            check(5_000_000, said, None, units(5_000_000)).await;
            check(5_000_000, said, Some(300_000), units(300_000)).await;
            check(5_000_000, said, Some(3000), 0).await;
        }
        let room = Room::new(MOST);
        let packed = Bytes::from(packed(Packing::Gzip, &vec![b'x'; 3 * QUICK_BYTES]));
        let (_, taken) = room.unpack(Packing::Gzip, packed, None).await.unwrap();
        assert_eq!(taken.map(|taken| taken.num_permits()), Some(units(3 * QUICK_BYTES)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_stalls_keeps_no_more_room_than_twice_what_he_sent() {
        let room = Room::new(MOST);
        let announced = Pieces { said: Some(MOST as u64), ..pieces(100_000, false, false) };
        let stalled = [pieces(100_000, false, false), announced];
        let mut stalled = stalled.map(|body| Box::pin(room.receive(body, None)));
        for receiving in &mut stalled {
            assert!(timeout(Duration::from_secs(1), receiving).await.is_err());
        }
        assert!(room.units - room.free.available_permits() <= 2 * units(2 * 100_000));
        let (whole, _) = room.receive(pieces(5_000_000, true, true), None).await.unwrap();
        assert_eq!(whole.len(), 5_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_is_told_to_come_again() {
        let room = Room::new(MOST);
        let held = room.take(room.units * UNIT_BYTES).await.unwrap();
        let small = room.receive(pieces(FREE_BYTES, false, true), None).await;
        assert!(small.is_ok());
        let began = Instant::now();
        let refused = room.receive(pieces(FREE_BYTES + 1, false, true), None).await;
        assert_eq!(refused.unwrap_err().status, 503);
        assert_eq!(began.elapsed(), ROOM_TIME);
        let packed = Bytes::from(packed(Packing::Gzip, &vec![b'x'; FREE_BYTES + 1]));
        let refused = room.unpack(Packing::Gzip, packed, None).await;
        assert_eq!(refused.unwrap_err().status, 503);
        drop(held);
        assert_eq!(room.free.available_permits(), room.units);
    }

    #[test]
    fn encodings_are_named() {
        assert_eq!(Packing::named("GZIP"), Ok(Some(Packing::Gzip)));
        assert_eq!(Packing::named("identity"), Ok(None));
        assert_eq!(Packing::named("br").unwrap_err().status, 415);
        assert_eq!(Packing::named("gzip, gzip").unwrap_err().status, 415);
    }
}
