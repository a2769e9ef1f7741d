//! What the directories of a log know of each other.

use std::sync::Arc;

use super::{Recovered, recover};
use crate::error::OpenError;
use crate::frame::Kind;
use crate::options::Options;
use crate::record::{PutMeta, Void};
use crate::replay::State;
use crate::storage::Storage;

/// What the other directories know of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Its frames up to this one were synced.
    pub seen: u64,
    /// What of it is void.
    pub void: Option<Void>,
}

impl Told {
    /// What `state` says of the directory at `place` in the log's list.
    fn by(state: &State, place: usize) -> Told {
        let seen = state.watermarks.get(place).copied().unwrap_or(0);
        let void = u16::try_from(place).ok().and_then(|place| state.voids.get(&place)).copied();
        Told { seen, void }
    }

    /// From where on the frames of a segment are void.
    pub fn void_from(&self, segment: u64) -> u64 {
        let void = self.void.filter(|void| segment <= void.segment);
        void.map_or(u64::MAX, |void| void.above.saturating_add(1))
    }

    /// The lowest number for the next segment: what is void of one must not be of another.
    pub fn next_number(&self) -> u64 {
        self.void.map_or(1, |void| void.segment.saturating_add(1))
    }
}

/// A directory of a log.
pub struct Directory<'a> {
    /// Where it is.
    pub storage: &'a Arc<dyn Storage>,
    /// Its place in the log's list.
    pub place: usize,
    /// Its identity.
    pub identity: [u8; 16],
}

/// Reads all directories of the log `log` as one: without what they say is void of each other, and
/// without what failed in one and is stored in another. Says what they add up to.
pub fn recover_all(
    directories: &[Directory<'_>],
    log: [u8; 16],
    options: &Options,
) -> Result<(Vec<Recovered>, State), OpenError> {
    let read = |one: &Directory<'_>, told| recover(one.storage, log, one.identity, told, options);
    let mut all: Vec<_> = directories
        .iter()
        .map(|one| read(one, Told::default()))
        .collect::<Result<_, OpenError>>()?;
    let state = sum(&all);
    for (one, recovered) in directories.iter().zip(&mut all) {
        let Told { void, .. } = Told::by(&state, one.place);
        if void.is_some() {
            *recovered = read(one, Told { seen: 0, void })?;
        }
    }
    // What siblings have seen synced is durable, though nothing in the directory itself may say so
    // yet: its numbers must not be given again, or the siblings would miss them at the next start.
    let state = sum(&all);
    for (one, recovered) in directories.iter().zip(&mut all) {
        let told = Told::by(&state, one.place);
        if told.seen > recovered.watermark {
            *recovered = read(one, told)?;
        }
    }
    forget_stored_elsewhere(&mut all);
    let state = sum(&all);
    Ok((all, state))
}

/// What directories add up to.
fn sum(all: &[Recovered]) -> State {
    let mut state = State::default();
    all.iter().for_each(|one| state.join(&one.state));
    state
}

/// A put whose sync failed in one directory may have been sent again and stored in another.
fn forget_stored_elsewhere(all: &mut [Recovered]) {
    for index in 0..all.len() {
        let mut tail = std::mem::take(&mut all[index].tail);
        let mut forgotten = Vec::new();
        tail.retain(|frame| {
            let put = (frame.kind == Kind::Put).then(|| PutMeta::decode(&frame.meta)).flatten();
            let Some(origin) = put.and_then(|put| put.origin) else { return true };
            let one = (origin.sender, origin.order());
            let elsewhere = (0..all.len()).any(|i| i != index && all[i].origins.contains(&one));
            if elsewhere {
                forgotten.push(one);
            }
            !elsewhere
        });
        all[index].origins.retain(|one| !forgotten.contains(one));
        all[index].tail = tail;
    }
}
