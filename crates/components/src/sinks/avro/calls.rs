//! Which events go into which call, and what each call says of where its events come from.

use splashdam_core::{Event, Place};
use splashdam_wire::claim::Claim;

/// Bytes of the bodies and headers of a call, and of all that are under way at once. Our source takes
/// 64 MiB, unless it is told otherwise.
pub(super) const CALL_BYTES: usize = 8 * 1024 * 1024;
/// Events of a call at the most: our source takes no more.
const CALL_EVENTS: usize = 1 << 18;
/// Headers of all events of a call, for the same reason.
const CALL_HEADERS: usize = 1 << 20;

/// How many events each call has: up to `batch_events`, and no more than a peer takes; at least one.
pub(super) fn lengths(events: &[Event], batch_events: usize) -> Vec<usize> {
    let most = batch_events.min(CALL_EVENTS);
    let mut lengths = Vec::with_capacity(events.len().div_ceil(most));
    let (mut count, mut bytes, mut headers) = (0, 0, 0);
    for event in events {
        let (more_bytes, more_headers) = (event.bytes(), event.headers.len());
        let fits = count < most
            && bytes + more_bytes <= CALL_BYTES
            && headers + more_headers <= CALL_HEADERS;
        if count > 0 && !fits {
            lengths.push(count);
            (count, bytes, headers) = (0, 0, 0);
        }
        count += 1;
        bytes += more_bytes;
        headers += more_headers;
    }
    if count > 0 {
        lengths.push(count);
    }
    lengths
}

/// What calls of so many events each say of where these come from. `None` where one would have to
/// name more ranges than a peer reads: the batch is then sent as if nothing were known of it.
pub(super) fn claims(place: &Place, calls: &[usize]) -> Option<Vec<Claim>> {
    let mut rest = Claim::of(place);
    let claims = calls.iter().map(|call| {
        let (own, others) = rest.split(*call as u64);
        rest = others;
        own
    });
    let claims: Vec<Claim> = claims.collect();
    claims.iter().all(Claim::is_readable).then_some(claims)
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "claims are lists of ranges")]
mod tests {
    use std::ops::Range;

    use splashdam_wire::claim::MOST_RANGES;

    use super::*;

    #[test]
    fn calls_have_what_a_peer_takes() {
        let check = |events: &[(usize, usize)], batch_events: usize, want: &[usize]| {
            let events = events.iter().map(|(bytes, headers)| {
                let mut event = Event::new(vec![b'x'; *bytes]);
                for number in 0..*headers {
                    event.headers.insert(number.to_string(), "");
                }
                event
            });
            assert_eq!(lengths(&events.collect::<Vec<_>>(), batch_events), want);
        };
        check(&[], 5, &[]);
        check(&[(1, 1); 12], 5, &[5, 5, 2]);
        check(&[(CALL_BYTES / 4, 0); 9], 100, &[4, 4, 1]);
        check(&[(CALL_BYTES, 0), (1, 0), (CALL_BYTES + 1, 0), (1, 0)], 100, &[1, 1, 1, 1]);
        check(&vec![(0, 0); CALL_EVENTS + 1], usize::MAX, &[CALL_EVENTS, 1]);
        let most = CALL_HEADERS / 32;
        check(&vec![(0, 32); most + 1], usize::MAX, &[most, 1]);
    }

    #[test]
    fn each_call_claims_its_own() {
        let ranges = vec![5..10, 20..23, 30..34];
        let place = Place { queue: [1; 16], low: 2, began: 0, ranges, lasting: true };
        let check = |calls: &[usize], want: &[&[Range<u64>]]| {
            let got = claims(&place, calls).unwrap();
            let ranges: Vec<_> = got.iter().map(|claim| &claim.ranges[..]).collect();
            assert_eq!(ranges, want, "{calls:?}");
            assert!(got.iter().all(|claim| (claim.sender, claim.low) == ([1; 16], 2)));
        };
        check(&[12], &[&[5..10, 20..23, 30..34]]);
        check(&[5, 5, 2], &[&[5..10], &[20..23, 30..32], &[32..34]]);
        check(&[4, 4, 4], &[&[5..9], &[9..10, 20..23], &[30..34]]);
        check(&[7, 5], &[&[5..10, 20..22], &[22..23, 30..34]]);
        check(&[1, 11], &[&[5..6], &[6..10, 20..23, 30..34]]);
    }

    #[test]
    fn who_would_claim_more_than_is_read_claims_nothing() {
        let ranges = (0..10_000_u64).map(|number| number * 2..number * 2 + 1).collect();
        let place = Place { queue: [1; 16], began: 0, low: 0, ranges, lasting: true };
        let claimed = |call: usize| claims(&place, &[call; 2]).map(|claims| claims.len());
        assert_eq!(claimed(MOST_RANGES), Some(2));
        assert_eq!(claimed(MOST_RANGES + 1), None);
    }
}
