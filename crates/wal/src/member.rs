//! Who a directory belongs to: the log, its siblings and the names of the queues, in two copies.

use std::io::IoSlice;
use std::sync::Arc;

use crate::error::OpenError;
use crate::options::Loss;
use crate::record::{Input, checksum, put_len16};
use crate::segment;
use crate::storage::{Asked, DiskError, Storage, Surroundings, read_full_at, write_all_at};

const MAGIC: &[u8; 8] = b"SPLDMEMB";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 32;
const MOST_BYTES: usize = 1 << 20;
const COPIES: [&str; 2] = ["member-a", "member-b"];
const TEMPORARY: &str = "member.new";

/// What all directories of a log know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Counts the changes; the higher one is right.
    pub generation: u64,
    /// The log's identity.
    pub log: [u8; 16],
    /// Which of `directories` this one is.
    pub index: u16,
    /// Whether every directory has been told of this list.
    pub complete: bool,
    /// Identity and path of each directory; one that has left has an empty path, so that the others
    /// keep their places.
    pub directories: Vec<([u8; 16], String)>,
    /// The queues' names in order of their numbers.
    pub queues: Vec<String>,
}

impl Member {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.log);
        body.extend_from_slice(&self.index.to_le_bytes());
        body.extend_from_slice(&u16::from(self.complete).to_le_bytes());
        put_len16(&mut body, self.directories.len());
        for (identity, path) in &self.directories {
            body.extend_from_slice(identity);
            put_text(&mut body, path);
        }
        put_len16(&mut body, self.queues.len());
        for queue in &self.queues {
            put_text(&mut body, queue);
        }
        let mut out = Vec::with_capacity(HEAD_BYTES + body.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        let crc = crc32c::crc32c_append(checksum(&out), &body);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&body);
        out
    }

    /// From bytes: the version found if it is not ours.
    pub fn decode(bytes: &[u8]) -> Result<Option<Member>, u32> {
        let Some((head, body)) = bytes.split_at_checked(HEAD_BYTES) else { return Ok(None) };
        let mut input = Input(&head[8..]);
        let (Some(version), Some(length), Some(generation), Some(crc)) =
            (input.u32(), input.u32(), input.u64(), input.u32())
        else {
            return Ok(None);
        };
        if !head.starts_with(MAGIC)
            || body.len() != length as usize
            || head[28..] != [0; 4]
            || crc32c::crc32c_append(checksum(&head[..24]), body) != crc
        {
            return Ok(None);
        }
        if version != VERSION {
            return Err(version);
        }
        let mut input = Input(body);
        let mut read = || {
            let member = Member {
                generation,
                log: *input.take(16)?.first_chunk()?,
                index: input.u16()?,
                complete: input.u16()? == 1,
                directories: input
                    .list16(|input| Some((*input.take(16)?.first_chunk()?, text(input)?)))?,
                queues: input.list16(text)?,
            };
            (input.0.is_empty() && usize::from(member.index) < member.directories.len())
                .then_some(member)
        };
        Ok(read())
    }

    /// The places of the directories that have not left.
    pub fn present(&self) -> Vec<usize> {
        let there = |(place, (_, path)): (usize, &(_, String))| (!path.is_empty()).then_some(place);
        self.directories.iter().enumerate().filter_map(there).collect()
    }

    /// The identities of those that have left.
    pub fn left(&self) -> impl Iterator<Item = [u8; 16]> {
        let gone = self.directories.iter().filter(|(_, path)| path.is_empty());
        gone.map(|(identity, _)| *identity)
    }

    /// Writes it over the older copy: aside, synced, renamed, directory synced.
    fn write(&self, storage: &dyn Storage) -> Result<(), DiskError> {
        let bytes = self.encode();
        if storage.list().asked("list", "", storage)?.iter().any(|name| name == TEMPORARY) {
            storage.remove(TEMPORARY).asked("remove", TEMPORARY, storage)?;
        }
        let file = storage.create(TEMPORARY).asked("create", TEMPORARY, storage)?;
        write_all_at(&*file, &mut [IoSlice::new(&bytes)], 0).asked("write", TEMPORARY, storage)?;
        file.sync_data().asked("sync", TEMPORARY, storage)?;
        let copy = COPIES[usize::from(self.generation.is_multiple_of(2))];
        storage.rename(TEMPORARY, copy).asked("rename", TEMPORARY, storage)?;
        storage.sync_dir().asked("sync the names in", "", storage)
    }

    /// Tells all directories, those that have not left, as the next generation.
    pub(crate) fn announce(&mut self, storages: &[Arc<dyn Storage>]) -> Result<(), DiskError> {
        self.generation += 1;
        for (index, storage) in self.present().into_iter().zip(storages) {
            self.index = u16::try_from(index).unwrap_or(u16::MAX);
            self.write(&**storage)?;
        }
        Ok(())
    }

    /// The newer good copy, and whether there is anything of a log in the directory at all.
    pub(crate) fn read(storage: &dyn Storage) -> Result<(Option<Member>, bool), OpenError> {
        let names = storage.list().asked("list", "", storage)?;
        let mut newest: Option<Member> = None;
        for copy in COPIES.into_iter().filter(|copy| names.iter().any(|name| name == copy)) {
            let file = storage.open(copy).asked("open", copy, storage)?;
            let length = file.length().asked("look at", copy, storage)?;
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(MOST_BYTES).min(MOST_BYTES)];
            let read = read_full_at(&*file, &mut bytes, 0).asked("read", copy, storage)?;
            match Member::decode(&bytes[..read]) {
                Err(version) => {
                    return Err(OpenError::Version { place: storage.place(), version, flags: 0 });
                }
                Ok(Some(member))
                    if newest.as_ref().is_none_or(|held| held.generation < member.generation) =>
                {
                    newest = Some(member);
                }
                Ok(_) => {}
            }
        }
        Ok((newest, names.iter().any(|name| segment::number(name).is_some())))
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len16(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn text(input: &mut Input<'_>) -> Option<String> {
    let length = input.u16()?;
    String::from_utf8(input.take(usize::from(length))?.to_vec()).ok()
}

/// Reads who each directory is, and writes nothing. Where `known` is a log that was open, each must
/// be one of its directories, and its queues must have their numbers.
pub(crate) fn read_all(
    storages: &[Arc<dyn Storage>],
    known: Option<&Member>,
) -> Result<Vec<Option<Member>>, OpenError> {
    let mut found = Vec::new();
    for storage in storages {
        let refuse =
            |why: &str| Err(OpenError::Membership { place: storage.place(), why: why.into() });
        let (member, segments) = Member::read(&**storage)?;
        match (&member, known) {
            (None, _) if segments => {
                return refuse(
                    "it holds segments but no readable member file; restore member-a or member-b",
                );
            }
            (None, Some(_)) => {
                return refuse("it holds nothing of the log that was open; is its disk mounted?");
            }
            (Some(own), Some(known)) if own.log != known.log => {
                return refuse(
                    "it belongs to another log than the one that was open; is its disk mounted?",
                );
            }
            _ => found.push(member),
        }
    }
    let newest = found.iter().flatten().max_by_key(|member| member.generation);
    if let (Some(newest), Some(known), [first, ..]) = (newest, known, storages)
        && !newest.queues.starts_with(&known.queues)
    {
        return Err(OpenError::Membership {
            place: first.place(),
            why: "it does not know the queues of the log that was open; it was restored from an older copy, or is its disk not mounted?".into(),
        });
    }
    Ok(found)
}

/// The directories, by the places that the log of `storages` knows them by, that belong to it and are
/// not among these. Writes nothing.
pub fn absent(storages: &[Arc<dyn Storage>]) -> Result<Vec<String>, OpenError> {
    let found: Vec<_> = read_all(storages, None)?.into_iter().flatten().collect();
    let Some(newest) = found.iter().max_by_key(|member| member.generation) else {
        return Ok(Vec::new());
    };
    let here = |place: &usize| {
        let identity = newest.directories[*place].0;
        found.iter().any(|own| own.directories[usize::from(own.index)].0 == identity)
    };
    let absent = newest.present().into_iter().filter(|place| !here(place));
    Ok(absent.map(|place| newest.directories[place].1.clone()).collect())
}

/// Finds out that `storages` are all the directories of one log and no others, or makes them one;
/// gives them back in the log's own order, with what they know. `queues` are added to the known ones.
/// Directories that `loss` names need not be there and are of the log no more. Whatever is given up, one
/// more has left from then on, be it one that never was: who is told numbers of a queue goes by
/// [`Member::left`], as those of events that are gone may be given again. A log that is `known` is opened
/// again, never begun.
pub fn admit(
    storages: Vec<Arc<dyn Storage>>,
    queues: &[&str],
    loss: &Loss,
    surroundings: &dyn Surroundings,
    known: Option<&Member>,
) -> Result<(Member, Vec<Arc<dyn Storage>>), OpenError> {
    let members = read_all(&storages, known)?;
    let found: Vec<_> = storages.into_iter().zip(members).collect();
    let reference = found
        .iter()
        .filter_map(|(_, member)| member.as_ref())
        .max_by_key(|member| member.generation);
    let mut member = match reference {
        Some(reference) => reference.clone(),
        None => Member {
            generation: 0,
            log: identity(surroundings)?,
            index: 0,
            complete: false,
            directories: Vec::new(),
            queues: Vec::new(),
        },
    };
    let left = member.left().count();
    let mut ordered: Vec<Option<Arc<dyn Storage>>> = vec![None; member.directories.len()];
    let (mut added, mut stale) = (Vec::new(), !member.complete);
    for (storage, own) in found {
        let refuse = |why: String| Err(OpenError::Membership { place: storage.place(), why });
        match own {
            Some(own) if own.log != member.log => {
                return refuse(
                    "it belongs to another log; name the directories of one log only".into(),
                );
            }
            Some(own) => {
                stale |= own.generation != member.generation;
                let identity = own.directories[usize::from(own.index)].0;
                let place = member.directories.iter().position(|(known, _)| *known == identity);
                match place {
                    Some(place) if member.directories[place].1.is_empty() => {
                        return refuse(
                            "it has left the log and what was in it was given up; empty it to use it again"
                                .into(),
                        );
                    }
                    Some(place) if ordered[place].is_none() => ordered[place] = Some(storage),
                    Some(_) => return refuse("it is a copy of one of its siblings".into()),
                    None => return refuse("its siblings do not know it".into()),
                }
            }
            None => {
                let path = storage.place();
                match member.directories.iter().position(|(_, known)| *known == path) {
                    Some(place) if !member.complete && ordered[place].is_none() => {
                        ordered[place] = Some(storage);
                    }
                    Some(_) => {
                        return refuse(
                            "it is empty, but the log has data in it; is its disk mounted?".into(),
                        );
                    }
                    None => added.push(storage),
                }
            }
        }
    }
    for (place, named) in ordered.iter().enumerate() {
        let path = &mut member.directories[place].1;
        if named.is_some() || path.is_empty() {
            continue;
        }
        if !loss.directories.contains(path) {
            return Err(OpenError::Membership {
                place: path.clone(),
                why: "it is part of the log but was not named; name all directories of the log, or accept the loss of what is in it"
                    .into(),
            });
        }
        path.clear();
        stale = true;
        member.complete = false;
    }
    let there = ordered.into_iter().enumerate();
    let mut ordered: Vec<_> =
        there.filter_map(|(place, storage)| Some((place, storage?))).collect();
    for storage in added {
        member.directories.push((identity(surroundings)?, storage.place()));
        ordered.push((member.directories.len() - 1, storage));
        stale = true;
        member.complete = false;
    }
    if !loss.is_none() && member.left().count() == left {
        member.directories.push((identity(surroundings)?, String::new()));
        stale = true;
        member.complete = false;
    }
    for (place, storage) in &ordered {
        let moved = member.directories[*place].1 != storage.place();
        stale |= moved;
        member.directories[*place].1 = storage.place();
    }
    for queue in queues {
        if !member.queues.iter().any(|known| known == queue) {
            member.queues.push((*queue).to_owned());
            stale = true;
        }
    }
    let storages: Vec<_> = ordered.into_iter().map(|(_, storage)| storage).collect();
    if stale && !member.complete {
        member.announce(&storages)?;
        member.complete = true;
    }
    if stale {
        member.announce(&storages)?;
    } else {
        // The names that were read may so far be in the page cache only.
        for storage in &storages {
            storage.sync_dir().asked("sync the names in", "", &**storage)?;
        }
    }
    Ok((member, storages))
}

fn identity(surroundings: &dyn Surroundings) -> Result<[u8; 16], OpenError> {
    let mut bytes = [0; 16];
    surroundings.random(&mut bytes).map_err(|error| OpenError::Random(Arc::new(error)))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_comes_back_and_an_altered_one_does_not() {
        let member = Member {
            generation: 7,
            log: [1; 16],
            index: 1,
            complete: true,
            directories: vec![([2; 16], "/a".into()), ([3; 16], "/b".into())],
            queues: vec!["c1".into(), "c2".into()],
        };
        let good = member.encode();
        assert_eq!(Member::decode(&good), Ok(Some(member)));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            assert_eq!(Member::decode(&bad), Ok(None), "byte {at}");
            assert_eq!(Member::decode(&good[..at]), Ok(None), "cut at {at}");
        }
    }
}

#[cfg(all(test, not(explore)))]
mod losses {
    use super::*;
    use crate::options::Options;
    use crate::storage::Disk;

    #[test]
    fn each_loss_has_an_identity_of_its_own() {
        let place = tempfile::tempdir().expect("a directory");
        let path = |n: usize| place.path().join(n.to_string());
        let admitted = |there: std::ops::Range<usize>, loss: Loss| {
            let disk = |n| Arc::new(Disk::open(&path(n)).expect("a directory")) as Arc<dyn Storage>;
            let options = Options::default();
            let storages = there.map(disk).collect();
            let (member, storages) =
                admit(storages, &["c1"], &loss, &*options.surroundings, None).expect("a log");
            assert_eq!(member.present().len(), storages.len());
            member.left().collect::<Vec<_>>()
        };
        assert!(admitted(0..3, Loss::default()).is_empty());
        let gone = path(2).display().to_string();
        let first = admitted(0..2, Loss { directories: vec![gone.clone()], ..Loss::default() });
        assert_eq!(first.len(), 1, "the one that left");
        assert_eq!(admitted(0..2, Loss::default()), first, "nothing more is lost");
        let losses = [
            Loss { segments: true, ..Loss::default() },
            Loss { older: true, ..Loss::default() },
            Loss { copy: true, ..Loss::default() },
            Loss { directories: vec![gone], ..Loss::default() },
        ];
        let mut known = first;
        for loss in losses {
            let now = admitted(0..2, loss.clone());
            assert!(now.len() == known.len() + 1 && now.starts_with(&known), "{loss:?}");
            assert_eq!(admitted(0..2, Loss::default()), now, "it is kept");
            known = now;
        }
    }
}
