//! The model itself: what it must accept, and what it must not.

use splashdam_sim::dice::Dice;
use splashdam_sim::oracle::{EventId, Fate, Oracle};

/// Takes of events of a stored put of five, by index; those named in `refused` did not happen,
/// the others failed. Says whether it is fine that only `left` are there after a start.
fn check(takes: &[&[u32]], refused: &[usize], left: &[u32]) -> Result<(), String> {
    let mut oracle = Oracle::default();
    let mut ids = (0..).map(|seed| oracle.put(&mut Dice::new(seed), vec![0])).take(200);
    let last = ids.by_ref().last().expect("200 of them");
    let id = (1..=last).find(|id| oracle.count(*id).events == 5).expect("one has five events");
    for other in (1..=last).filter(|other| *other != id) {
        oracle.answered(other, Fate::Gone);
    }
    oracle.answered(id, Fate::Stored);
    let event = |index: &u32| -> EventId { (0, id, *index) };
    for (number, take) in takes.iter().enumerate() {
        let take = oracle.taking(take.iter().map(event).collect());
        if refused.contains(&number) {
            oracle.took(take, false);
        }
    }
    oracle.settle(&[left.iter().map(event).collect()])
}

#[test]
fn every_take_of_unknown_outcome_may_have_been_done() {
    let good: &[(&[&[u32]], &[usize], &[u32])] = &[
        (&[], &[], &[0, 1, 2, 3, 4]),
        (&[&[0, 1]], &[], &[0, 1, 2, 3, 4]),
        (&[&[0, 1]], &[], &[2, 3, 4]),
        // Taken again and refused, since the directory had died: the first one may be there.
        (&[&[0, 1], &[0, 1]], &[1], &[2, 3, 4]),
        (&[&[0], &[0, 1, 2]], &[1], &[1, 2, 3, 4]),
        // Taken again in other portions, which failed too.
        (&[&[0, 1], &[1, 2]], &[], &[2, 3, 4]),
        (&[&[0, 1], &[1, 2]], &[], &[0, 3, 4]),
        (&[&[0, 1], &[1, 2]], &[], &[3, 4]),
    ];
    for (takes, refused, left) in good {
        let went = check(takes, refused, left);
        assert!(went.is_ok(), "{takes:?}, {refused:?} refused, {left:?} left: {went:?}");
    }
}

#[test]
fn half_a_take_and_what_nobody_took_are_noticed() {
    let bad: &[(&[&[u32]], &[usize], &[u32])] = &[
        (&[], &[], &[0, 1, 2, 3]),
        (&[&[0, 1]], &[], &[1, 2, 3, 4]),
        (&[&[0, 1]], &[0], &[2, 3, 4]),
        (&[&[0, 1], &[1, 2]], &[1], &[0, 3, 4]),
        (&[&[0, 1], &[1, 2]], &[], &[0, 2, 3, 4]),
    ];
    for (takes, refused, left) in bad {
        let went = check(takes, refused, left);
        assert!(went.is_err(), "{takes:?}, {refused:?} refused, {left:?} left: nothing noticed");
    }
}
