//! Frames on their way to the disk: numbered, sealed, written with one vectored write, synced.

use std::io::IoSlice;

use super::{Directory, Outgoing};
use crate::frame::{ALIGN, HEADER_BYTES, Header, Kind, MOST_META, SEALED, TAG_BYTES};
use crate::options::sabotaged;
use crate::record::checksum;
use crate::recovery::count_put;
use crate::seal::{Cipher, MOST_ALIAS, Part, Sealed};
use crate::segment::{self, FIRST_FRAME, SegmentHeader};
use crate::storage::{Asked, DiskError, StorageFile, write_all_at};

/// A frame as it will be stored.
struct Built<'a> {
    header: Header,
    head: [u8; HEADER_BYTES],
    /// Meta part and body where they had to be sealed.
    sealed: Option<(Vec<u8>, Vec<u8>)>,
    frame: &'a Outgoing<'a>,
}

impl Directory {
    /// Gives a new segment the active key, if there is one.
    pub(super) fn lock_up(
        &self,
        mut header: SegmentHeader,
    ) -> Result<(SegmentHeader, Option<Cipher>), DiskError> {
        let active = self.options.keys.as_ref().and_then(|keys| keys.active());
        let Some((alias, key)) = active else { return Ok((header, None)) };
        if alias.len() > MOST_ALIAS {
            let why = std::io::Error::other("the alias of the active key has more than 256 bytes");
            return Err(why).asked("encrypt", &segment::name(header.number), &*self.storage);
        }
        let (cipher, check) = Cipher::derive(&key, &header);
        header.sealed = Some(Sealed { alias, check });
        Ok((header, Some(cipher)))
    }

    /// Refuses what no start could read; nothing is written then, and nothing is wrong with the disk.
    pub(super) fn check_meta(&self, meta: &[u8]) -> Result<(), DiskError> {
        let most = MOST_META as usize - TAG_BYTES;
        if meta.len() <= most {
            return Ok(());
        }
        let why = format!(
            "the meta part of a frame has {} bytes, at most {most} can be read again; take events out, so that segments go",
            meta.len()
        );
        Err(std::io::Error::other(why)).asked("write in", "", &*self.storage)
    }

    /// Writes frames, and before them what the segment opens with, with its header or without.
    pub(super) fn write(
        &mut self,
        frames: &[Outgoing<'_>],
        with_header: bool,
        synced: bool,
    ) -> Result<Vec<Header>, DiskError> {
        let Some(current) = &mut self.current else {
            return Err(std::io::Error::other("no segment is open")).asked(
                "write in",
                "",
                &*self.storage,
            );
        };
        let (number, seed) = (current.file.number, current.file.seed);
        let opening = current.opening.take();
        let cursor =
            opening.as_ref().map(|(header, meta)| Outgoing::bare(Kind::Cursor, meta, header.begun));
        let copy = opening.as_ref().filter(|_| with_header).map(|(header, _)| header.encode());
        let (mut lsn, mut offset) = (self.next_lsn, current.offset);
        let mut start = offset;
        if cursor.is_some() {
            start = if with_header { 0 } else { FIRST_FRAME };
            offset = FIRST_FRAME;
        }
        let first = lsn + u64::from(cursor.is_some());
        let watermark = match sabotaged!(self.options, WatermarkAhead) {
            true => first + frames.len() as u64,
            false => self.watermark,
        };
        let mut built = Vec::with_capacity(frames.len() + 1);
        for frame in cursor.iter().chain(frames) {
            let header = Header {
                segment: number,
                offset,
                lsn,
                watermark: watermark.min(lsn - 1),
                ..header_of(frame)
            };
            let one = build(frame, header, current.file.cipher.as_ref(), seed);
            offset = one.header.end();
            lsn += 1;
            built.push(one);
        }
        assert!(offset <= current.length, "frames are written only where they fit");
        let mut slices = Vec::with_capacity(built.len() * 4 + 2);
        if let Some(copy) = &copy {
            slices.extend([IoSlice::new(copy), IoSlice::new(copy)]);
        }
        for one in &built {
            slices.push(IoSlice::new(&one.head));
            match &one.sealed {
                Some((meta, body)) => slices.extend([IoSlice::new(meta), IoSlice::new(body)]),
                None => {
                    slices.push(IoSlice::new(one.frame.meta));
                    slices.extend(one.frame.body.iter().map(|part| IoSlice::new(part)));
                }
            }
            slices.push(IoSlice::new(padding(&one.header)));
        }
        let name = segment::name(number);
        let file = &current.file.file;
        let mut done =
            write_all_at(&**file, &mut slices, start).asked("write", &name, &*self.storage);
        if done.is_ok() && synced && !sabotaged!(self.options, AnswerBeforeSync) {
            done = file.sync_data().asked("sync", &name, &*self.storage);
            if done.is_err() && sabotaged!(self.options, SyncAgain) {
                done = file.sync_data().asked("sync", &name, &*self.storage);
            }
        }
        done?;
        let headers: Vec<_> =
            built.iter().skip(usize::from(cursor.is_some())).map(|one| one.header).collect();
        self.unsynced += offset - current.offset;
        current.offset = offset;
        self.next_lsn = lsn;
        self.written = lsn - 1;
        if synced || sabotaged!(self.options, WrittenIsSynced) {
            self.watermark = self.written;
            self.unsynced = 0;
        }
        if let Some(entry) = self.table.get_mut(&number) {
            entry.last_lsn = lsn - 1;
            entry.end = offset;
            for (frame, header) in frames.iter().zip(&headers) {
                if let Some(put) = frame.put {
                    count_put(entry, put, header);
                }
            }
        }
        Ok(headers)
    }
}

/// A frame's header as far as the frame itself knows it.
fn header_of(frame: &Outgoing<'_>) -> Header {
    Header {
        kind: frame.kind,
        flags: frame.flags,
        meta_bytes: length(frame.meta.len()),
        meta_crc: 0,
        body_bytes: length(frame.body_bytes),
        body_crc: frame.body_crc,
        segment: 0,
        offset: 0,
        lsn: 0,
        watermark: 0,
        time: frame.time,
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("limited where it was encoded")
}

/// Seals a frame if its segment is encrypted, and computes the checksums of what is stored.
fn build<'a>(
    frame: &'a Outgoing<'a>,
    mut header: Header,
    cipher: Option<&Cipher>,
    seed: crate::frame::Seed,
) -> Built<'a> {
    let sealed = cipher.map(|cipher| {
        header.flags |= SEALED;
        header.meta_bytes = length(frame.meta.len() + TAG_BYTES);
        if frame.body_bytes > 0 {
            header.body_bytes = length(frame.body_bytes + TAG_BYTES);
        }
        let mut meta = Vec::with_capacity(header.meta_bytes as usize);
        meta.extend_from_slice(frame.meta);
        cipher.seal(&header, Part::Meta, &mut meta);
        let mut body = Vec::with_capacity(header.body_bytes as usize);
        if frame.body_bytes > 0 {
            frame.body.iter().for_each(|part| body.extend_from_slice(part));
            cipher.seal(&header, Part::Body, &mut body);
        }
        header.body_crc = checksum(&body);
        (meta, body)
    });
    header.meta_crc = checksum(sealed.as_ref().map_or(frame.meta, |(meta, _)| meta));
    Built { head: header.encode(seed), header, sealed, frame }
}

/// The zeros behind a frame.
fn padding(header: &Header) -> &'static [u8] {
    const ZEROS: [u8; ALIGN as usize] = [0; ALIGN as usize];
    let bytes = HEADER_BYTES + header.meta_bytes as usize + header.body_bytes as usize;
    &ZEROS[..bytes.next_multiple_of(ALIGN as usize) - bytes]
}
