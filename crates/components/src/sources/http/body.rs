//! The body of a request: received within limits of bytes and time, and unpacked within them.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::handler::Answer;

/// Bytes of all large bodies that are received, unpacked or put at one time; who comes then waits.
pub(in crate::sources) const ROOM_BYTES: u64 = 256 * 1024 * 1024;
/// The semaphore counts in these, as it counts in 32 bits.
const UNIT_BYTES: usize = 1024;
/// What a body may have without asking for room, as most have no more.
pub(in crate::sources) const FREE_BYTES: usize = 64 * 1024;
/// What is unpacked without handing it to another thread.
const QUICK_BYTES: usize = 16 * FREE_BYTES;
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

    /// Waits until there is room for a body of so many bytes.
    async fn take(&self, bytes: usize) -> Taken<'_> {
        let units = bytes.div_ceil(UNIT_BYTES).min(self.units);
        // The semaphore is never closed.
        self.free.acquire_many(u32::try_from(units).unwrap_or(u32::MAX)).await.ok()
    }

    /// Receives a body; what comes after `cut_after` bytes is let go. One that does not say how
    /// long it is may be as long as allowed, once it has grown large.
    pub(super) async fn receive(
        &self,
        mut body: Incoming,
        cut_after: Option<usize>,
    ) -> Result<(Bytes, Taken<'_>), Answer> {
        let most = cut_after.unwrap_or(usize::MAX).min(self.most_bytes);
        let said = body.size_hint().exact().map(|said| usize::try_from(said).unwrap_or(usize::MAX));
        if cut_after.is_none() && said.is_some_and(|said| said > most) {
            return Err(self.too_large());
        }
        let expected = said.unwrap_or(most).min(most);
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        let (mut taken, mut received) = (None, 0);
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
            if received > FREE_BYTES && taken.is_none() {
                let waits = Instant::now();
                taken = self.take(expected).await;
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
            let taken = self.take(QUICK_BYTES.min(most)).await;
            if let Some(unpacked) = unpack(packing, &packed, QUICK_BYTES.min(most))? {
                return Ok((unpacked, taken));
            }
        }
        let taken = self.take(most).await;
        let unpacked = tokio::task::spawn_blocking(move || unpack(packing, &packed, most));
        let unpacked = unpacked.await.map_err(|panicked| {
            Answer::new(StatusCode::INTERNAL_SERVER_ERROR, panicked.to_string())
        })?;
        Ok((unpacked?.ok_or_else(|| self.too_large())?, taken))
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

fn slow() -> Answer {
    Answer::new(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time")
}

fn lost(error: &hyper::Error) -> Answer {
    Answer::new(StatusCode::BAD_REQUEST, format!("the request did not arrive whole: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

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
            let held = room.take(room.units * UNIT_BYTES).await;
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

    #[test]
    fn encodings_are_named() {
        assert_eq!(Packing::named("GZIP"), Ok(Some(Packing::Gzip)));
        assert_eq!(Packing::named("identity"), Ok(None));
        assert_eq!(Packing::named("br").unwrap_err().status, 415);
        assert_eq!(Packing::named("gzip, gzip").unwrap_err().status, 415);
    }
}
