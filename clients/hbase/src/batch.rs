//! Many mutations at once: grouped by region and server, sent in rounds, each answered by itself.
//!
//! A round sends everything that is not settled yet, to all servers side by side. A server that gets
//! many gets them in several calls at a time, so that it has work while answers are on their way; the
//! mutations of a row stay together, in calls one behind the other. What failed in a round and may
//! pass goes into the next one, after the longest of the pauses that the failures ask for.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;

use crate::cell_block::{self, Cells};
use crate::client::{head, nonce, write_cells};
use crate::cluster::{About, Cluster, Failure};
use crate::connection::{CallError, Request, Service};
use crate::error::{Error, Malformed, ServerException};
use crate::frame::Body;
use crate::model::{Address, Mutation, MutationKind, Row, TableName};
use crate::proto;
use crate::region::Region;
use crate::retry::{Next, Tries};

/// Mutations in one call; servers warn above this and may refuse.
const CALL_MUTATIONS: usize = 5_000;

/// A call of fewer mutations would cost more by itself than it gains.
const LANE_MUTATIONS: usize = 128;

/// Rows without a server that are looked up in one round, so that a region that moves does not
/// cost a look-up for each of its rows, nor hold up other regions.
const FAILED_LOOK_UPS: u32 = 16;

/// How often a call is halved in one round to find those that are at fault; the rest of them goes into
/// the next round. Few in tests, where each call counts.
const MOST_HALVINGS: usize = if cfg!(test) { 8 } else { 256 };

/// Refusals that a server answers for all puts and deletes of a region in one call when one of them
/// is at fault, if they blame that: what checks them stops at the first.
const BLAMED_TOGETHER: [&str; 3] =
    ["DoNotRetryIOException", "ConstraintException", "IllegalArgumentException"];

/// What became of each mutation of a batch, in the order given. An increment that was carried out
/// answers with its row's new values, others with an empty row.
#[derive(Clone, Debug)]
#[must_use]
pub struct BatchResult {
    /// One result for each mutation.
    pub results: Vec<Result<Row, Error>>,
}

impl BatchResult {
    /// The first failure, if there is one.
    ///
    /// # Errors
    /// That failure, and at which mutation.
    pub fn all(&self) -> Result<(), (usize, &Error)> {
        let mut failures = self.results.iter().enumerate();
        let first = failures.find_map(|(index, result)| Some((index, result.as_ref().err()?)));
        first.map_or(Ok(()), Err)
    }

    /// How many were carried out.
    pub fn done(&self) -> usize {
        self.results.iter().filter(|result| result.is_ok()).count()
    }
}

/// Where each mutation stands.
struct Rounds<'a> {
    cluster: &'a Cluster,
    mutations: &'a [Mutation],
    nonces: Vec<Option<u64>>,
    settled: Vec<Option<Result<Row, Error>>>,
}

/// The mutations of one call, by region.
type Call = Vec<(Arc<Region>, Vec<usize>)>;

/// Calls to one server that go one behind the other, and how much is in the last of them.
#[derive(Default)]
struct Calls {
    done: Vec<Call>,
    mutations: usize,
    bytes: usize,
}

impl Calls {
    fn add(&mut self, region: &Arc<Region>, index: usize, bytes: usize, limit_bytes: usize) {
        let full = self.mutations >= CALL_MUTATIONS || self.bytes + bytes > limit_bytes;
        if self.done.is_empty() || (full && self.mutations > 0) {
            self.done.push(Call::new());
            (self.mutations, self.bytes) = (0, 0);
        }
        self.mutations += 1;
        self.bytes += bytes;
        let Some(call) = self.done.last_mut() else { return };
        match call.iter_mut().rev().find(|(known, _)| known.name == region.name) {
            Some((_, indexes)) => indexes.push(index),
            None => call.push((region.clone(), vec![index])),
        }
    }
}

/// Which of the calls at a time a row goes with: always the same one.
fn lane(row: &[u8], lanes: usize) -> usize {
    if lanes == 1 {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(row);
    usize::try_from(hasher.finish() % lanes as u64).unwrap_or(0)
}

/// What a round says of one mutation.
type Said = (usize, Result<Row, Failure>);

/// What a call says of its mutations.
#[derive(Default)]
struct Answer {
    said: Vec<Said>,
    /// Those that were refused together, perhaps for one of them.
    blamed: Vec<Blamed>,
    /// The failure of the whole call for which its server was left: there is nobody to ask.
    left: Option<Failure>,
}

/// The same failure for all mutations of a call.
fn all_failed(call: &Call, failure: &Failure) -> impl Iterator<Item = Said> {
    let indexes = call.iter().flat_map(|(_, indexes)| indexes);
    indexes.map(move |index| (*index, Err(failure.clone())))
}

/// Mutations of a region that were refused in the same words.
struct Blamed {
    region: Arc<Region>,
    indexes: Vec<usize>,
    why: ServerException,
}

pub(crate) async fn run(
    cluster: &Cluster,
    table: &TableName,
    mutations: &[Mutation],
) -> BatchResult {
    let limit = cluster.config.cell_limit_bytes;
    let mut rounds = Rounds {
        cluster,
        mutations,
        nonces: mutations.iter().map(|mutation| nonce(cluster, mutation)).collect(),
        settled: mutations.iter().map(|mutation| mutation.check(limit).err().map(Err)).collect(),
    };
    let mut tries = cluster.tries();
    loop {
        let Some((error, next)) = rounds.round(table, &tries).await else { break };
        let waited = tries.again(error, next).await;
        let enabled = match waited {
            Ok(()) => cluster.check_enabled(table, &tries).await,
            given_up => given_up,
        };
        if let Err(end) = enabled {
            rounds.settle_rest(&end);
            break;
        }
    }
    // Nothing is open any more: the loop ends when all is settled, or settles the rest.
    let unsettled = || Err(Error::invalid("a mutation that was not sent"));
    let settled = rounds.settled.into_iter();
    BatchResult { results: settled.map(|result| result.unwrap_or_else(unsettled)).collect() }
}

impl Rounds<'_> {
    /// Sends what is open. Answers with a failure that may pass and what to wait for, or `None` when
    /// all is settled.
    async fn round(&mut self, table: &TableName, tries: &Tries<'_>) -> Option<(Error, Next)> {
        let (lanes, unplaced) = self.group(table, tries).await;
        let mut worst: Option<(Error, Next)> = None;
        let mut note = |failure: Failure| match &worst {
            Some((_, next)) if *next >= failure.next => {}
            _ => worst = Some((failure.error, failure.next)),
        };
        match unplaced {
            // Without its table nothing can be sent, ever.
            Some(failure) if failure.error.is_permanent() => {
                self.settle_rest(&failure.error);
                return None;
            }
            Some(failure) => note(failure),
            None => {}
        }
        let this = &*self;
        let lanes = lanes.into_iter().map(|calls| async move {
            let mut said = Vec::new();
            let mut left = None;
            for call in calls {
                match &left {
                    Some(failure) => said.extend(all_failed(&call, failure)),
                    None => left = this.send(call, tries, &mut said).await,
                }
            }
            said
        });
        for (index, result) in join_all(lanes).await.into_iter().flatten() {
            match result {
                Ok(row) => self.settled[index] = Some(Ok(row)),
                Err(failure) if failure.error.is_permanent() => {
                    self.settled[index] = Some(Err(failure.error));
                }
                Err(failure) => note(failure),
            }
        }
        worst
    }

    fn settle_rest(&mut self, end: &Error) {
        for open in self.settled.iter_mut().filter(|result| result.is_none()) {
            *open = Some(Err(end.clone()));
        }
    }

    /// What is open as calls, those one behind the other together; and a look-up that failed. After
    /// some of those, or one that concerns all rows, rows whose region is not known wait for the next
    /// round.
    async fn group(
        &self,
        table: &TableName,
        tries: &Tries<'_>,
    ) -> (Vec<Vec<Call>>, Option<Failure>) {
        let mut calls: BTreeMap<(Address, usize), Calls> = BTreeMap::new();
        let lanes = self.lanes();
        let mut unplaced: Option<Failure> = None;
        let mut look_ups_left = FAILED_LOOK_UPS;
        let mut last: Option<Arc<Region>> = None;
        let open = self.settled.iter().enumerate().filter(|(_, result)| result.is_none());
        for (index, _) in open {
            let mutation = &self.mutations[index];
            // Rows that follow one another are mostly of one region.
            let region = match last.take().filter(|region| region.holds(&mutation.row)) {
                Some(region) => region,
                None if look_ups_left == 0 => {
                    match self.cluster.known_region(table, &mutation.row) {
                        Some(region) => region,
                        None => continue,
                    }
                }
                None => match self.cluster.locate(table, &mutation.row, tries).await {
                    Ok(region) => region,
                    Err(failure) => {
                        let of_row = matches!(failure.error, Error::NoRegion { .. });
                        look_ups_left = if of_row { look_ups_left - 1 } else { 0 };
                        unplaced = Some(failure);
                        continue;
                    }
                },
            };
            let cells = mutation.cells.iter();
            let bytes = cells.map(|cell| cell_block::cell_bytes(&mutation.row, cell)).sum();
            let lane = (region.server.clone(), lane(&mutation.row, lanes));
            let of_lane = calls.entry(lane).or_default();
            of_lane.add(&region, index, bytes, self.cluster.config.request_bytes);
            last = Some(region);
        }
        (calls.into_values().map(|calls| calls.done).collect(), unplaced)
    }

    /// How many calls at a time each server gets.
    fn lanes(&self) -> usize {
        let open = self.settled.iter().filter(|result| result.is_none()).count();
        (open / LANE_MUTATIONS).clamp(1, self.cluster.config.calls_per_server.max(1))
    }

    /// Makes one call and says what became of each of its mutations. Those that were refused together
    /// are sent again in halves, until it is known which of them are at fault. Answers with the failure
    /// for which the server was left, if it was: calls behind this one would only wait for the same.
    async fn send(&self, call: Call, tries: &Tries<'_>, said: &mut Vec<Said>) -> Option<Failure> {
        let mut unsent = vec![call];
        let mut halvings = 0;
        while let Some(call) = unsent.pop() {
            let answer = self.send_once(&call, tries).await;
            said.extend(answer.said);
            if let Some(failure) = answer.left {
                said.extend(unsent.iter().flat_map(|call| all_failed(call, &failure)));
                return Some(failure);
            }
            for Blamed { region, indexes, why } in answer.blamed {
                if halvings == MOST_HALVINGS || tries.is_late() {
                    let server = region.server.clone();
                    let later = Failure::from(Error::Failed { server, exception: why });
                    said.extend(indexes.iter().map(|index| (*index, Err(later.clone()))));
                    continue;
                }
                halvings += 1;
                let (first, second) = indexes.split_at(indexes.len() / 2);
                unsent.extend([second, first].map(|half| vec![(region.clone(), half.to_vec())]));
            }
        }
        None
    }

    async fn send_once(&self, call: &Call, tries: &Tries<'_>) -> Answer {
        let Some((first, _)) = call.first() else { return Answer::default() };
        let about = About::Server(&first.server);
        let (parameter, cells) = self.encode(call);
        let request = Request {
            method: "Multi",
            parameter: &parameter,
            cells: &cells,
            priority: None,
            timeout: tries.call_timeout(self.cluster.config.of_writes()),
        };
        let answered = self.cluster.call(about, Service::Regions, request).await;
        let answered = answered.and_then(|body| {
            let answer: proto::MultiResponse = self.cluster.decode(about, &body)?;
            self.read(call, answer, body).map_err(|what| self.cluster.malformed(about, what))
        });
        answered.unwrap_or_else(|failure| {
            // Which of them has moved or gone a failure of the whole call does not say.
            if failure.next == Next::AtOnce {
                call.iter().for_each(|(region, _)| self.cluster.forget(region, None));
            }
            let said = all_failed(call, &failure).collect();
            Answer { said, blamed: Vec::new(), left: Some(failure).filter(|failure| failure.left) }
        })
    }

    fn encode(&self, call: &Call) -> (proto::MultiRequest, Bytes) {
        let mut cells = BytesMut::new();
        let mut region_action = Vec::with_capacity(call.len());
        let mut nonces = false;
        for (region, indexes) in call {
            let mut action = Vec::with_capacity(indexes.len());
            for (place, &index) in (0..).zip(indexes) {
                let (mutation, nonce) = (&self.mutations[index], self.nonces[index]);
                nonces |= nonce.is_some();
                action.push(proto::Action {
                    index: Some(place),
                    mutation: Some(head(mutation, nonce)),
                });
                write_cells(&mut cells, mutation);
            }
            let region = proto::RegionSpecifier::named(&region.name);
            region_action.push(proto::RegionAction { region, action });
        }
        let nonce_group = nonces.then_some(self.cluster.nonce_group);
        (proto::MultiRequest { region_action, nonce_group }, cells.freeze())
    }

    /// Takes the answer apart: regions come in the order asked, actions say their place.
    fn read(
        &self,
        call: &Call,
        answer: proto::MultiResponse,
        body: Body,
    ) -> Result<Answer, Malformed> {
        if answer.region_action_result.len() != call.len() {
            return Err(Malformed("an answer for other regions than were asked"));
        }
        let mut block = Cells(body.cells);
        let (mut said, mut blamed) = (Vec::new(), Vec::new());
        for ((region, indexes), result) in call.iter().zip(answer.region_action_result) {
            let failed = |said_by: proto::NameBytesPair| {
                let exception = CallError::Exception(ServerException::from(said_by));
                self.cluster.learn(About::Region(region), exception)
            };
            if let Some(exception) = result.exception {
                let failure = failed(exception);
                said.extend(indexes.iter().map(|index| (*index, Err(failure.clone()))));
                continue;
            }
            let mut open: Vec<Option<usize>> = indexes.iter().copied().map(Some).collect();
            let before = said.len();
            for one in result.result_or_exception {
                let place = usize::try_from(one.index.unwrap_or(u32::MAX)).ok();
                let index = place.and_then(|place| open.get_mut(place)?.take());
                let index = index.ok_or(Malformed("an answer to a mutation that was not sent"))?;
                let cells = block.of(one.result.unwrap_or_default())?;
                let result = match one.exception {
                    Some(exception) => Err(failed(exception)),
                    None => Ok(Row { cells }),
                };
                said.push((index, result));
            }
            if open.iter().any(Option::is_some) {
                return Err(Malformed("no answer to a mutation that was sent"));
            }
            if let Some((indexes, why)) = self.blamed_together(&said[before..]) {
                said.retain(|(index, _)| indexes.binary_search(index).is_err());
                blamed.push(Blamed { region: region.clone(), indexes, why });
            }
        }
        Ok(Answer { said, blamed, left: None })
    }

    /// Of these mutations of one region those that were refused in the same words, if it is several
    /// and they may have been refused for one of them; in the order given.
    fn blamed_together(&self, said: &[Said]) -> Option<(Vec<usize>, ServerException)> {
        let refused = said.iter().filter_map(|(index, result)| match result {
            Err(Failure { error: Error::Refused { exception, .. }, .. }) => {
                Some((*index, exception))
            }
            _ => None,
        });
        // Each increment is carried out by itself.
        let mut refused =
            refused.filter(|(index, _)| self.mutations[*index].kind != MutationKind::Increment);
        let (first, why) = refused.next()?;
        let mut blamed = vec![first];
        for (index, exception) in refused {
            if exception != why {
                return None;
            }
            blamed.push(index);
        }
        let together = BLAMED_TOGETHER.contains(&why.short_class()) && why.blames_content();
        if blamed.len() < 2 || !together {
            return None;
        }
        blamed.sort_unstable();
        Some((blamed, why.clone()))
    }
}
