//! Tells a directory whose last frame is broken from one that never had it.

use super::{Candidate, WALK_BYTES};
use crate::frame::{self, ALIGN, HEADER_BYTES};
use crate::storage::read_full_at;

/// Whether a broken frame stands where there is none, and it is the one numbered `last`: two of the
/// three fields by which a header knows its place are right. If only that one is missing, its number
/// may be the one that is wrong.
pub(super) fn of(candidate: &Candidate, bad: &[(u64, u64)], expected: u64, last: u64) -> bool {
    let number = candidate.header.number;
    let mut buffer = vec![0; WALK_BYTES];
    for (from, to) in bad {
        let mut at = *from;
        while at + HEADER_BYTES as u64 <= *to {
            let wanted = usize::try_from(*to - at).unwrap_or(usize::MAX).min(buffer.len());
            // What cannot be read shows nothing.
            let file = &*candidate.file.file;
            let read = read_full_at(file, &mut buffer[..wanted], at).unwrap_or(0);
            let places = (at..).step_by(ALIGN as usize);
            let shown = places
                .zip(buffer[..read].windows(HEADER_BYTES).step_by(ALIGN as usize))
                .any(|(place, head)| {
                    let (segment, offset, lsn) = frame::place_of(head);
                    let here = [segment == number, offset == place];
                    let both = here == [true, true] && expected == last;
                    both || (lsn == last && here.contains(&true))
                });
            if shown {
                return true;
            }
            let step = read.saturating_sub(HEADER_BYTES - ALIGN as usize) as u64;
            at += (step - step % ALIGN).max(ALIGN);
        }
    }
    false
}
