//! What was promised, and whether it was kept: acknowledged ⊆ delivered, delivered ⊆ put, bytes
//! equal, transactions whole, order kept, every second delivery explained.

use std::collections::{BTreeMap, BTreeSet};

use splashdam_wal::{Chunk, Count, Lease, Parts, Record};

use crate::dice::Dice;

/// A batch whose events say what they are.
#[derive(Debug)]
pub struct Batch(Vec<Vec<u8>>);

impl Record for Batch {
    fn events(&self) -> usize {
        self.0.len()
    }

    fn event_bytes(&self, event: usize) -> usize {
        self.0[event].len()
    }

    fn encode(&self, parts: &mut Parts) {
        for (index, event) in self.0.iter().enumerate() {
            let (head, body) = event.split_at(16);
            parts.copy(head);
            if body.len() % 2 == 0 {
                parts.copy(body);
            } else {
                parts.keep(index, body);
            }
        }
    }

    fn part(&self, part: usize) -> &[u8] {
        &self.0[part][16..]
    }
}

/// The events of put `id`: number, index, count, and bytes that follow from these.
fn event(id: u64, index: u32, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 24);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(&index.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_le_bytes());
    let mut dice = Dice::new(id << 20 | u64::from(index));
    while bytes.len() < length + 16 {
        bytes.extend_from_slice(&dice.roll().to_le_bytes());
    }
    bytes.truncate(length + 16);
    bytes
}

fn read_event(bytes: &[u8]) -> Result<(u64, u32), String> {
    let head: Option<(&[u8; 16], &[u8])> = bytes.split_first_chunk();
    let (head, body) = head.ok_or("an event that nobody put: too short")?;
    let id = u64::from_le_bytes(head[..8].try_into().map_err(|_| "short")?);
    let index = u32::from_le_bytes(head[8..12].try_into().map_err(|_| "short")?);
    match event(id, index, body.len()) == bytes {
        true => Ok((id, index)),
        false => Err(format!("the bytes of event {index} of put {id} are not those that were put")),
    }
}

/// What is known of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Not answered yet.
    Waiting,
    /// Answered with success, or seen after a start.
    Stored,
    /// Failed, or the power did first: whole or not at all.
    Unknown,
    /// Answered with 'did not happen', or not there after a start.
    Gone,
}

/// A put as the oracle remembers it.
#[derive(Clone, Debug)]
pub struct Put {
    /// Where it went.
    pub queues: Vec<u16>,
    lengths: Vec<usize>,
    /// How it went.
    pub fate: Fate,
    /// Who sent it, if somebody did.
    pub sender: Option<usize>,
    /// The lane it was put in, if in any.
    pub lane: Option<u64>,
    posted: u64,
    answered: Option<u64>,
    /// An attempt in this life failed and may have left it whole: that a later one did not happen
    /// does not say that this one did not.
    perhaps: bool,
    damaged: bool,
}

/// Remembers everything.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    puts: BTreeMap<u64, Put>,
    taken: BTreeSet<EventId>,
    /// Takes that are under way or failed. An event may be in several: those that failed in this
    /// life may each be found done at the next start, whatever became of the later ones.
    takes: BTreeMap<u64, Vec<EventId>>,
    /// Which of these were to put something in the same breath.
    exchanges: BTreeMap<u64, u64>,
    next_take: u64,
    /// Puts and takes that were answered and that a power failure may undo.
    soft: (BTreeSet<u64>, BTreeSet<EventId>),
    clock: u64,
    /// Whether acknowledged events may be missing, since a test damaged the disk.
    pub losses_allowed: bool,
    /// Acknowledged events found missing, where that is allowed.
    pub lost: u64,
}

/// An event of a queue: queue, put, index.
pub type EventId = (u16, u64, u32);

impl Oracle {
    /// Invents a put.
    pub fn put(&mut self, dice: &mut Dice, queues: Vec<u16>) -> u64 {
        let id = self.puts.len() as u64 + 1;
        let events = match dice.below(10) {
            0 => 20,
            1..4 => dice.index(8) + 1,
            _ => 1,
        };
        let length = |dice: &mut Dice| match dice.below(40) {
            0 => 3000 + dice.index(3000),
            1..20 => dice.index(60),
            _ => 100 + dice.index(500),
        };
        let mut lengths: Vec<_> = (0..events).map(|_| length(dice)).collect();
        if dice.once_in(60) {
            // More than a segment holds by itself.
            lengths = vec![40_000];
        }
        self.clock += 1;
        let posted = self.clock;
        let fate = Fate::Waiting;
        let (sender, lane, answered, perhaps, damaged) = (None, None, None, false, false);
        let put = Put { queues, lengths, fate, sender, lane, posted, answered, perhaps, damaged };
        self.puts.insert(id, put);
        id
    }

    /// A sender's batches are put in the order of their ids.
    pub fn sent_by(&mut self, id: u64, sender: usize) {
        if let Some(put) = self.puts.get_mut(&id) {
            put.sender = Some(sender);
        }
    }

    /// Batches of a lane are put in the order of their ids.
    pub fn in_lane(&mut self, id: u64, lane: u64) {
        if let Some(put) = self.puts.get_mut(&id) {
            put.lane = Some(lane);
        }
    }

    /// Its bytes.
    pub fn batch(&self, id: u64) -> Batch {
        let lengths = self.puts[&id].lengths.iter();
        Batch((0..).zip(lengths).map(|(index, length)| event(id, index, *length)).collect())
    }

    /// How many events it has, and their bytes.
    pub fn count(&self, id: u64) -> Count {
        let lengths = &self.puts[&id].lengths;
        let bytes = lengths.iter().map(|length| *length as u64 + 16).sum();
        Count { events: lengths.len() as u64, bytes }
    }

    /// What is known of it.
    pub fn look(&self, id: u64) -> &Put {
        &self.puts[&id]
    }

    /// It is sent again.
    pub fn again(&mut self, id: u64) {
        if let Some(put) = self.puts.get_mut(&id) {
            put.fate = Fate::Waiting;
        }
    }

    /// It was answered.
    pub fn answered(&mut self, id: u64, fate: Fate) {
        self.clock += 1;
        if let Some(put) = self.puts.get_mut(&id) {
            put.perhaps |= fate == Fate::Unknown;
            put.fate = match fate {
                Fate::Gone if put.perhaps => Fate::Unknown,
                fate => fate,
            };
            put.answered = (fate == Fate::Stored).then_some(self.clock);
            if fate == Fate::Stored {
                self.soft.0.insert(id);
            }
        }
    }

    /// All that was answered lies synced.
    pub fn synced(&mut self) {
        self.soft.0.clear();
        self.soft.1.clear();
    }

    /// The power failed: what was answered without a sync is unknown.
    pub fn power_failed(&mut self) {
        let (puts, takes) = std::mem::take(&mut self.soft);
        for id in puts {
            if let Some(put) = self.puts.get_mut(&id).filter(|put| put.fate == Fate::Stored) {
                put.fate = Fate::Unknown;
            }
        }
        self.taken.retain(|event| !takes.contains(event));
        self.exchanges.clear();
        let open = std::mem::take(&mut self.takes).into_values().flatten();
        let loose: BTreeSet<_> = open.chain(takes).collect();
        for event in loose {
            // Each by itself: events of the same take may have gone along with their put.
            self.taking(vec![event]);
        }
    }

    /// Reads what a lease holds, and refuses what it must not hold.
    pub fn leased(&self, queue: u16, lease: &Lease<Batch>) -> Result<Vec<EventId>, String> {
        let mut ids = Vec::new();
        for piece in lease.pieces() {
            for index in piece.events.clone() {
                let (id, index) = match &piece.chunk {
                    Chunk::Live(batch) => read_event(&batch.0[index])?,
                    Chunk::Stored(bytes, offsets) => {
                        read_event(&bytes[offsets[index] as usize..offsets[index + 1] as usize])?
                    }
                };
                let put = self.puts.get(&id).ok_or("an event that nobody put")?;
                if !put.queues.contains(&queue) {
                    return Err(format!("put {id} was not for queue {queue}"));
                }
                if matches!(put.fate, Fate::Gone | Fate::Waiting) {
                    return Err(format!("put {id} is delivered but it is {:?}", put.fate));
                }
                if self.taken.contains(&(queue, id, index)) {
                    return Err(format!("event {index} of put {id} came back to queue {queue}"));
                }
                ids.push((queue, id, index));
            }
        }
        Ok(ids)
    }

    /// A lease seen while running holds only what was answered.
    pub fn only_stored(&self, ids: &[EventId]) -> Result<(), String> {
        match ids.iter().find(|(_, id, _)| self.puts[id].fate != Fate::Stored) {
            Some((_, id, _)) => Err(format!("put {id} was seen before its answer")),
            None => Ok(()),
        }
    }

    /// A take is under way, under this number.
    pub fn taking(&mut self, ids: Vec<EventId>) -> u64 {
        self.next_take += 1;
        self.takes.insert(self.next_take, ids);
        self.next_take
    }

    /// A take is under way that happens if and only if this put does.
    pub fn exchanging(&mut self, ids: Vec<EventId>, put: u64) -> u64 {
        let take = self.taking(ids);
        self.exchanges.insert(take, put);
        take
    }

    /// A take was answered with success, or did not happen.
    pub fn took(&mut self, take: u64, happened: bool) {
        self.exchanges.remove(&take);
        let ids = self.takes.remove(&take).unwrap_or_default();
        if happened {
            self.soft.1.extend(&ids);
            self.taken.extend(ids);
        }
    }

    /// A put of which nothing is there went along with its takes, which no sync had covered: it
    /// did not happen.
    pub fn went_with_its_takes(&mut self, id: u64) {
        let there = |put: &Put| {
            let queues = put.queues.iter();
            let mut events =
                queues.flat_map(|queue| (0u32..).zip(&put.lengths).map(|(i, _)| (*queue, id, i)));
            events.any(|event| !self.taken.contains(&event))
        };
        if !self.puts.get(&id).is_some_and(there) {
            self.taken.retain(|(_, of, _)| *of != id);
            self.answered(id, Fate::Gone);
        }
    }

    /// The process is gone: what was not answered is unknown.
    pub fn process_ended(&mut self) {
        for put in self.puts.values_mut().filter(|put| put.fate == Fate::Waiting) {
            put.fate = Fate::Unknown;
        }
    }

    /// All that the queues hold after a start, in order. Settles what was unknown.
    pub fn settle(&mut self, queues: &[Vec<EventId>]) -> Result<(), String> {
        let mut there = BTreeSet::new();
        for held in queues {
            let mut newest_post = 0;
            let mut last: Option<EventId> = None;
            let mut sent: BTreeMap<usize, u64> = BTreeMap::new();
            let mut lanes: BTreeMap<u64, u64> = BTreeMap::new();
            for event in held {
                if !there.insert(*event) {
                    return Err(format!("event {event:?} is there twice"));
                }
                let put = &self.puts[&event.1];
                if put.answered.is_some_and(|answered| answered < newest_post) {
                    return Err(format!("put {} comes after one that was put later", event.1));
                }
                newest_post = newest_post.max(put.posted);
                if let Some(before) = put.sender.and_then(|sender| sent.insert(sender, event.1))
                    && before > event.1
                {
                    return Err(format!("put {} of a sender comes after its {before}", event.1));
                }
                if let Some(before) = put.lane.and_then(|lane| lanes.insert(lane, event.1))
                    && before > event.1
                {
                    return Err(format!("put {} of a lane comes after its {before}", event.1));
                }
                if last.is_some_and(|last| last.1 == event.1 && last.2 >= event.2) {
                    return Err(format!("the events of put {} are out of order", event.1));
                }
                last = Some(*event);
            }
        }
        self.settle_takes(&there)?;
        self.settle_puts(&there)
    }

    /// A take of unknown outcome was done if nothing of it is left, and what it put in exchange is
    /// there. What is missing without one that was done is lost, or one was done by half.
    fn settle_takes(&mut self, there: &BTreeSet<EventId>) -> Result<(), String> {
        let takes = std::mem::take(&mut self.takes);
        let exchanges = std::mem::take(&mut self.exchanges);
        let stored = |put: &u64| there.iter().any(|event| event.1 == *put);
        let left = |ids: &Vec<EventId>| ids.iter().any(|event| there.contains(event));
        let half = |(take, put): &(&u64, &u64)| stored(put) && left(&takes[take]);
        if let Some((take, put)) = exchanges.iter().find(half)
            && !self.losses_allowed
        {
            return Err(format!(
                "put {put} is there, and so is what was to go for it in take {take}"
            ));
        }
        let exchanged = |take| exchanges.get(take).is_none_or(stored);
        let done = takes.iter().filter(|(take, ids)| !left(ids) && exchanged(take));
        self.taken.extend(done.flat_map(|(_, ids)| ids));
        let lost = |event: &EventId| !there.contains(event) && !self.taken.contains(event);
        match takes.iter().find(|(_, ids)| ids.iter().any(lost)) {
            Some((take, ids)) if !self.losses_allowed => {
                let left: Vec<_> = ids.iter().filter(|event| there.contains(event)).collect();
                Err(format!("take {take} of {ids:?} is half done: {left:?} are left"))
            }
            _ => Ok(()),
        }
    }

    fn settle_puts(&mut self, there: &BTreeSet<EventId>) -> Result<(), String> {
        self.clock += 1;
        for (id, put) in &mut self.puts {
            let events = || {
                let queues = put.queues.iter();
                queues.flat_map(|queue| (0u32..).zip(&put.lengths).map(|(i, _)| (*queue, *id, i)))
            };
            let missing: Vec<_> = events()
                .filter(|event| !there.contains(event) && !self.taken.contains(event))
                .collect();
            let present = events().filter(|event| there.contains(event)).count();
            match put.fate {
                Fate::Stored if missing.is_empty() || put.damaged => {}
                Fate::Stored if self.losses_allowed => {
                    self.lost += missing.len() as u64;
                    put.damaged = true;
                }
                Fate::Stored => {
                    return Err(format!("acknowledged events are lost: {missing:?}"));
                }
                Fate::Unknown if missing.is_empty() => {
                    put.perhaps = false;
                    put.fate = Fate::Stored;
                    put.answered = Some(self.clock);
                }
                Fate::Unknown if present == 0 => {
                    // A take that went along with it says nothing of what is put again.
                    put.perhaps = false;
                    put.fate = Fate::Gone;
                    self.taken.retain(|(_, of, _)| of != id);
                }
                Fate::Unknown => {
                    return Err(format!("put {id} is there in part, without {missing:?}"));
                }
                Fate::Gone if present > 0 => {
                    return Err(format!("put {id} did not happen and is there"));
                }
                Fate::Gone | Fate::Waiting => {}
            }
        }
        Ok(())
    }
}
