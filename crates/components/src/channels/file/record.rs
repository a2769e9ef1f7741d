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

    /// The same with the bytes parted at other places, so that events at rest are none.
    #[cfg(test)]
    pub(super) fn parted(batch: Batch, lengths: Vec<u32>) -> Datums {
        Datums { batch, lengths }
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

/// The events of a lease, with the number that the queue gave to each. Stored events that are none,
/// though their checksums are right, are left out and counted: a mistake of whoever wrote them, which
/// must not keep the rest from the sink.
pub(super) struct Leased {
    /// As it was put, if that is what was leased, or made of clones and of slices of what was read.
    pub(super) batch: Batch,
    /// The numbers of the batch's events, in order.
    pub(super) numbers: Vec<Range<u64>>,
    /// How many were left out.
    pub(super) bad: usize,
}

impl Leased {
    pub(super) fn of(pieces: &[Piece<Datums>]) -> Leased {
        if let [piece @ Piece { chunk: Chunk::Live(record), events, .. }] = pieces
            && events.len() == record.events()
        {
            let batch = record.batch.clone().with_origin(None);
            return Leased { batch, numbers: vec![piece.numbers()], bad: 0 };
        }
        let (mut numbers, mut bad) = (Vec::new(), 0);
        let mut events: Vec<Event> =
            Vec::with_capacity(pieces.iter().map(|p| p.events.len()).sum());
        for piece in pieces {
            match &piece.chunk {
                Chunk::Live(record) => {
                    events.extend_from_slice(&record.batch.events()[piece.events.clone()]);
                    append(&mut numbers, piece.numbers());
                }
                Chunk::Stored(bytes, offsets) => {
                    let bytes = Bytes::from_owner(Run(bytes.clone()));
                    for (number, event) in piece.numbers().zip(piece.events.clone()) {
                        let datum = offsets[event] as usize..offsets[event + 1] as usize;
                        match datum::decode(&bytes.slice(datum)) {
                            Ok(event) => {
                                events.push(event);
                                append(&mut numbers, number..number + 1);
                            }
                            Err(_) => bad += 1,
                        }
                    }
                }
            }
        }
        Leased { batch: Batch::from(events), numbers, bad }
    }
}

/// Adds numbers behind those that are there, as one run where they follow one another.
fn append(ranges: &mut Vec<Range<u64>>, numbers: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == numbers.start => last.end = numbers.end,
        _ => ranges.push(numbers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events as a read from disk gives them; `None` is bytes that are no event.
    fn stored(first: u64, bodies: &[Option<&str>]) -> Piece<Datums> {
        let (mut bytes, mut offsets) = (Vec::new(), vec![0]);
        for body in bodies {
            match body {
                Some(body) => {
                    let event = Event::new((*body).to_owned());
                    datum::put_head(&event, &mut bytes);
                    bytes.extend_from_slice(&event.body);
                }
                None => bytes.extend_from_slice(&[0xff; 12]),
            }
            offsets.push(u32::try_from(bytes.len()).unwrap());
        }
        let chunk = Chunk::Stored(Arc::new(bytes), Arc::new(offsets));
        Piece { first, chunk, events: 0..bodies.len(), directory: 0 }
    }

    fn live(first: u64, bodies: &[&str], events: Range<usize>) -> Piece<Datums> {
        let batch: Vec<Event> = bodies.iter().map(|body| Event::new((*body).to_owned())).collect();
        let chunk = Chunk::Live(Arc::new(Datums::new(batch.into())));
        Piece { first, chunk, events, directory: 0 }
    }

    #[test]
    fn each_event_keeps_its_number_whatever_is_left_out() {
        let check = |pieces: &[Piece<Datums>], want: &[(&str, u64)], bad: usize| {
            let leased = Leased::of(pieces);
            let bodies = leased.batch.events().iter().map(|event| &event.body[..]);
            let got: Vec<_> = bodies.zip(leased.numbers.iter().cloned().flatten()).collect();
            let want: Vec<_> =
                want.iter().map(|(body, number)| (body.as_bytes(), *number)).collect();
            assert_eq!((got, leased.bad), (want, bad));
            assert_eq!(leased.numbers.iter().cloned().flatten().count(), leased.batch.len());
        };
        check(&[live(5, &["a", "b"], 0..2)], &[("a", 5), ("b", 6)], 0);
        check(&[live(5, &["a", "b"], 1..2)], &[("b", 5)], 0);
        check(&[stored(7, &[Some("a"), None, Some("c")])], &[("a", 7), ("c", 9)], 1);
        check(&[stored(7, &[None])], &[], 1);
        check(
            &[stored(0, &[None, Some("b")]), live(2, &["c"], 0..1), stored(9, &[Some("d"), None])],
            &[("b", 1), ("c", 2), ("d", 9)],
            2,
        );
        check(&[], &[], 0);
    }
}
