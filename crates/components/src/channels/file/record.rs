//! Batches as the log stores them: one Avro datum for each event.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use splashdam_core::{Batch, Event};
use splashdam_wal::{Chunk, Parts, Piece, Record};
use splashdam_wire::avro::datum;

/// A batch and the lengths of its events at rest.
pub(super) struct Datums {
    pub(super) batch: Batch,
    lengths: Vec<u32>,
}

impl Datums {
    pub(super) fn new(batch: Batch) -> Datums {
        // What is longer than any record may be is refused when it is put.
        let length = |event| u32::try_from(datum::length(event)).unwrap_or(u32::MAX);
        Datums { lengths: batch.events().iter().map(length).collect(), batch }
    }

    /// Bytes of all events at rest.
    pub(super) fn bytes(&self) -> u64 {
        self.lengths.iter().map(|length| u64::from(*length)).sum()
    }
}

impl Record for Datums {
    fn events(&self) -> usize {
        self.lengths.len()
    }

    fn event_bytes(&self, event: usize) -> usize {
        self.lengths[event] as usize
    }

    fn encode(&self, parts: &mut Parts) {
        let mut head = Vec::new();
        for (part, event) in self.batch.events().iter().enumerate() {
            head.clear();
            datum::put_head(event, &mut head);
            parts.copy(&head);
            parts.keep(part, &event.body);
        }
    }

    fn part(&self, part: usize) -> &[u8] {
        &self.batch.events()[part].body
    }
}

/// A run of stored bytes, shared with the log.
struct Run(Arc<Vec<u8>>);

impl AsRef<[u8]> for Run {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The events of a lease: the batch as it was put, if that is what was leased, or one made of clones
/// and of slices of what was read. Also says how many stored events are none, though their checksums
/// are right: a mistake of whoever wrote them, which must not keep the rest from the sink.
pub(super) fn leased(pieces: &[Piece<Datums>]) -> (Batch, usize) {
    if let [Piece { chunk: Chunk::Live(record), events, .. }] = pieces
        && events.len() == record.events()
    {
        return (record.batch.clone().with_origin(None), 0);
    }
    let mut events: Vec<Event> = Vec::with_capacity(pieces.iter().map(|p| p.events.len()).sum());
    let mut bad = 0;
    for piece in pieces {
        match &piece.chunk {
            Chunk::Live(record) => {
                events.extend_from_slice(&record.batch.events()[piece.events.clone()]);
            }
            Chunk::Stored(bytes, offsets) => {
                let bytes = Bytes::from_owner(Run(bytes.clone()));
                for event in piece.events.clone() {
                    let datum = offsets[event] as usize..offsets[event + 1] as usize;
                    match datum::decode(&bytes.slice(datum)) {
                        Ok(event) => events.push(event),
                        Err(_) => bad += 1,
                    }
                }
            }
        }
    }
    (Batch::from(events), bad)
}

/// The numbers of the pieces' events, in order.
pub(super) fn numbers(pieces: &[Piece<Datums>]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for numbers in pieces.iter().map(Piece::numbers) {
        match ranges.last_mut() {
            Some(last) if last.end == numbers.start => last.end = numbers.end,
            _ => ranges.push(numbers),
        }
    }
    ranges
}
