//! What the servers of the fake answer to a call.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::{FAMILY, FakeRegion, Fault, Reply, State};
use crate::cell_block::{self, Cells};
use crate::model::{Cell, CellKind, Change};
use crate::proto;

/// A message and a cell block, or an exception.
type Answer = Result<(Vec<u8>, BytesMut), proto::ExceptionResponse>;

impl State {
    pub(super) fn answer(&mut self, server: usize, mut call: Bytes) -> Reply {
        let header = proto::RequestHeader::decode_length_delimited(&mut call).unwrap();
        let length = prost::encoding::decode_varint(&mut call).unwrap() as usize;
        let message = call.split_to(length);
        let method = header.method_name.unwrap();
        let respond = |answer: Answer| Reply::Frame(frame(header.call_id, answer));
        let of_meta = header.priority.is_some();
        self.calls.push((server, if of_meta { "meta".into() } else { method.clone() }));
        if self.mute.contains(&server) {
            return Reply::Nothing;
        }
        if of_meta {
            return respond(self.meta(&method, message));
        }
        let fault = self.faults.pop_front();
        match fault {
            Some(Fault::Call(class, text, last)) => {
                return respond(Err(exception(class, text, last)));
            }
            Some(Fault::Close) => return Reply::Close,
            Some(Fault::Garbage(bytes)) => return Reply::Raw(bytes),
            Some(Fault::Move) => {
                let other = 1 - server;
                self.regions.iter_mut().for_each(|region| region.server = other);
                let to = &self.servers[other];
                let text =
                    format!("Region moved to: hostname={} port={} startCode=1.", to.host, to.port);
                return respond(Err(exception("RegionMovedException", &text, false)));
            }
            _ => {}
        }
        let answer = self.carry_out(server, &method, message, call, fault.as_ref());
        if matches!(fault, Some(Fault::Crash)) {
            let other = 1 - server;
            self.regions.iter_mut().for_each(|region| region.server = other);
            self.nonces.iter_mut().for_each(|(knows, ..)| *knows = other);
        }
        match fault {
            Some(Fault::LoseAnswer | Fault::Crash) => Reply::Close,
            Some(Fault::Silence) => Reply::Nothing,
            _ => respond(answer),
        }
    }

    fn carry_out(
        &mut self,
        server: usize,
        method: &str,
        message: Bytes,
        cells: Bytes,
        fault: Option<&Fault>,
    ) -> Answer {
        let mut given = Cells(cells);
        let mut block = BytesMut::new();
        match method {
            "Multi" => {
                let request = proto::MultiRequest::decode(message).unwrap();
                let group = request.nonce_group.unwrap_or(0);
                let mut results = Vec::new();
                for region in request.region_action {
                    let here = self.is_here(server, region.region.as_ref());
                    let mut result = proto::RegionActionResult::default();
                    let refused = self.refused_row.filter(|(row, _)| {
                        let mut mutations =
                            region.action.iter().filter_map(|a| a.mutation.as_ref());
                        mutations.any(|mutation| mutation.row.as_deref() == Some(row.as_bytes()))
                    });
                    for action in region.action {
                        let mutation = action.mutation.unwrap();
                        let cells = taken(&mut given, &mutation);
                        let known = self.knows(server, group, &mutation);
                        let fails = match fault {
                            Some(Fault::Action(place, class)) if action.index == Some(*place) => {
                                Some(*class)
                            }
                            _ if known && here && again(&mut given, &mutation).is_none() => {
                                Some(CELLS_GONE)
                            }
                            _ if mutation.mutate_type == Some(1) => self.no_count(&cells),
                            _ => refused.map(|(_, class)| class),
                        };
                        let fine =
                            here && fails.is_none() && !matches!(fault, Some(Fault::Regions(_)));
                        let count = match fine {
                            true => self.apply((server, group), &mutation, cells, &mut block),
                            false => 0,
                        };
                        result.result_or_exception.push(proto::ResultOrException {
                            index: action.index,
                            result: fails.is_none().then(|| counted(count)),
                            exception: fails.map(named),
                        });
                    }
                    let whole = match fault {
                        Some(Fault::Regions(class)) => Some(*class),
                        _ => (!here).then_some("NotServingRegionException"),
                    };
                    if let Some(class) = whole {
                        result.result_or_exception.clear();
                        result.exception = Some(named(class));
                    }
                    results.push(result);
                }
                Ok((proto::MultiResponse { region_action_result: results }.encode_to_vec(), block))
            }
            "Mutate" => {
                let request = proto::MutateRequest::decode(message).unwrap();
                self.serving(server, request.region.as_ref())?;
                let mutation = request.mutation.unwrap();
                let cells = taken(&mut given, &mutation);
                let group = request.nonce_group.unwrap_or(0);
                let known = self.knows(server, group, &mutation);
                if known && again(&mut given, &mutation).is_none() {
                    let (class, text) = CELLS_GONE.split_once(": ").unwrap();
                    return Err(exception(class, text, true));
                }
                let count = self.apply((server, group), &mutation, cells, &mut block);
                Ok((proto::MutateResponse { result: Some(counted(count)) }.encode_to_vec(), block))
            }
            "Get" => {
                let request = proto::GetRequest::decode(message).unwrap();
                self.serving(server, request.region.as_ref())?;
                let cells = self.cells(|row| *row == request.get.as_ref().unwrap().row);
                let count = cells.len();
                cells.into_iter().for_each(|cell| write(&mut block, cell));
                Ok((proto::GetResponse { result: Some(counted(count)) }.encode_to_vec(), block))
            }
            "Scan" => self.scan(server, message),
            "GetTableDescriptors" => {
                let request = proto::GetTableDescriptorsRequest::decode(message).unwrap();
                let known = request.table_names[0].qualifier == "t";
                let time_to_live = self.time_to_live.map(|seconds| proto::BytesBytesPair {
                    first: "TTL".into(),
                    second: seconds.to_string().into(),
                });
                let attributes = time_to_live.into_iter().collect();
                let family = proto::ColumnFamilySchema { name: FAMILY.into(), attributes };
                let schema = proto::TableSchema {
                    table_name: None,
                    attributes: vec![],
                    column_families: vec![family],
                };
                let table_schema = if known { vec![schema] } else { vec![] };
                Ok((proto::GetTableDescriptorsResponse { table_schema }.encode_to_vec(), block))
            }
            other => Err(exception("UnsupportedOperationException", other, true)),
        }
    }

    /// One row in each answer.
    fn scan(&mut self, server: usize, message: Bytes) -> Answer {
        let request = proto::ScanRequest::decode(message).unwrap();
        let id = match (request.scan, request.scanner_id) {
            (Some(scan), _) => {
                self.serving(server, request.region.as_ref())?;
                let region = self.named(request.region.as_ref()).unwrap();
                let (start, stop) = (scan.start_row.unwrap(), scan.stop_row.unwrap());
                // What begins and stops at the same row gives it.
                let wanted = self.cells(|row| {
                    *row >= start
                        && row[..] >= *region.start.as_bytes()
                        && (region.end.is_empty() || row[..] < *region.end.as_bytes())
                        && (stop.is_empty() || *row < stop || *row == start && start == stop)
                });
                let rows = wanted.chunk_by(|a, b| a.row == b.row).map(<[Cell]>::to_vec).collect();
                self.scanners.push(rows);
                self.scanners.len() - 1
            }
            (None, Some(id)) => id as usize,
            (None, None) => return Err(exception("IllegalArgumentException", "", true)),
        };
        let row = self.scanners[id].pop_front();
        let mut block = BytesMut::new();
        let answer = proto::ScanResponse {
            cells_per_result: row.iter().map(|row| row.len() as u32).collect(),
            scanner_id: Some(id as u64),
            more_results: Some(true),
            results: vec![],
            more_results_in_region: Some(!self.scanners[id].is_empty()),
        };
        row.into_iter().flatten().for_each(|cell| write(&mut block, cell));
        Ok((answer.encode_to_vec(), block))
    }

    fn meta(&self, method: &str, message: Bytes) -> Answer {
        let mut block = BytesMut::new();
        let cell = |row: String, family: &str, qualifier: &str, value: Vec<u8>| Cell {
            row: row.into(),
            family: family.to_owned().into(),
            qualifier: qualifier.to_owned().into(),
            timestamp: 1,
            kind: CellKind::Put,
            value: value.into(),
        };
        if method == "Get" {
            let state = proto::TableState { state: i32::from(self.disabled) }.encode_to_vec();
            write(&mut block, cell("t".into(), "table", "state", state));
            return Ok((proto::GetResponse { result: Some(counted(1)) }.encode_to_vec(), block));
        }
        let scan = proto::ScanRequest::decode(message).unwrap().scan.unwrap();
        let (from, table) = (scan.start_row.unwrap(), scan.stop_row.unwrap());
        let before = |region: &&FakeRegion| name(region).as_bytes() <= &from[..] && table == "t";
        let found = self.regions.iter().filter(before).max_by_key(|region| name(region));
        let mut answer = proto::ScanResponse { more_results: Some(false), ..Default::default() };
        if let Some(region) = found {
            let info = proto::RegionInfo {
                region_id: region.id,
                table_name: Some(proto::TableName {
                    namespace: "default".into(),
                    qualifier: "t".into(),
                }),
                start_key: Some(region.start.into()),
                end_key: Some(region.end.into()),
                offline: None,
                split: None,
            };
            let info = [b"PBUF", &info.encode_to_vec()[..]].concat();
            write(&mut block, cell(name(region), "info", "regioninfo", info));
            let server = self.servers.get(region.server).map(ToString::to_string);
            let server = server.unwrap_or_default();
            write(&mut block, cell(name(region), "info", "server", server.into()));
            answer.cells_per_result.push(2);
        }
        Ok((answer.encode_to_vec(), block))
    }

    /// What a server answers to an increment of these if one holds no number of 8 bytes.
    fn no_count(&self, cells: &[Cell]) -> Option<&'static str> {
        let held = |cell: &Cell| self.rows.get(&(cell.row.clone(), cell.qualifier.clone()));
        let none = cells.iter().filter_map(held).any(|value| value.len() != 8);
        none.then_some("DoNotRetryIOException: Field is not a long, it's 4 bytes wide")
    }

    fn knows(&self, server: usize, group: u64, mutation: &proto::MutationProto) -> bool {
        mutation.nonce.is_some_and(|nonce| self.nonces.contains(&(server, group, nonce)))
    }

    /// Carries a mutation out, an increment once for its nonce, and appends what it answers.
    fn apply(
        &mut self,
        (server, group): (usize, u64),
        mutation: &proto::MutationProto,
        cells: Vec<Cell>,
        block: &mut BytesMut,
    ) -> usize {
        let repeated = self.knows(server, group, mutation);
        self.nonces.extend(mutation.nonce.map(|nonce| (server, group, nonce)));
        let increments = mutation.mutate_type == Some(1);
        for mut cell in cells.iter().cloned() {
            let key = (cell.row.clone(), cell.qualifier.clone());
            let number = |bytes: &Bytes| i64::from_be_bytes(bytes[..].try_into().unwrap());
            if increments {
                let before = self.rows.get(&key).map_or(0, number);
                let after = if repeated { before } else { before + number(&cell.value) };
                cell.value = Bytes::copy_from_slice(&after.to_be_bytes());
                write(block, cell.clone());
            }
            self.times.insert(key.clone(), cell.timestamp);
            match cell.kind {
                CellKind::Put => self.rows.insert(key, cell.value),
                _ => self.rows.remove(&key),
            };
        }
        if increments { cells.len() } else { 0 }
    }

    fn named(&self, specifier: Option<&proto::RegionSpecifier>) -> Option<FakeRegion> {
        let wanted = &specifier?.value;
        self.regions.iter().find(|region| name(region).as_bytes() == &wanted[..]).cloned()
    }

    fn is_here(&self, server: usize, specifier: Option<&proto::RegionSpecifier>) -> bool {
        !self.disabled && self.named(specifier).is_some_and(|region| region.server == server)
    }

    fn serving(
        &self,
        server: usize,
        specifier: Option<&proto::RegionSpecifier>,
    ) -> Result<(), proto::ExceptionResponse> {
        match self.is_here(server, specifier) {
            true => Ok(()),
            false => Err(exception("NotServingRegionException", "", false)),
        }
    }

    fn cells(&self, wanted: impl Fn(&Bytes) -> bool) -> Vec<Cell> {
        let wanted = self.rows.iter().filter(|((row, _), _)| wanted(row));
        let cell = |((row, qualifier), value): (&(Bytes, Bytes), &Bytes)| Cell {
            row: row.clone(),
            family: FAMILY.into(),
            qualifier: qualifier.clone(),
            timestamp: 1,
            kind: CellKind::Put,
            value: value.clone(),
        };
        wanted.map(cell).collect()
    }
}

fn name(region: &FakeRegion) -> String {
    format!("t,{},{}.", region.start, region.id)
}

fn write(block: &mut BytesMut, cell: Cell) {
    let Cell { row, family, qualifier, timestamp, kind, value } = cell;
    let change = Change { family, qualifier, timestamp: Some(timestamp), kind, value };
    cell_block::write(block, &row, &change);
}

/// What servers before HBase 2.4 answer to an increment whose nonce they know, if its cells were in the
/// block: they take as many cells off it once more.
const CELLS_GONE: &str = "DoNotRetryIOException: Cell count of 1 but at index 0 no cell returned";

fn again(given: &mut Cells, mutation: &proto::MutationProto) -> Option<Vec<Cell>> {
    given.take(usize::try_from(mutation.associated_cell_count.unwrap_or(0)).unwrap()).ok()
}

/// The cells of a mutation, in the message or in the block.
fn taken(given: &mut Cells, mutation: &proto::MutationProto) -> Vec<Cell> {
    let columns = mutation.column_value.iter();
    let columns = columns.flat_map(|column| {
        column.qualifier_value.iter().map(|one| Cell {
            row: mutation.row.clone().unwrap(),
            family: column.family.clone(),
            qualifier: one.qualifier.clone().unwrap(),
            timestamp: i64::MAX.unsigned_abs(),
            kind: CellKind::Put,
            value: one.value.clone().unwrap(),
        })
    });
    columns.chain(again(given, mutation).unwrap()).collect()
}

fn counted(cells: usize) -> proto::CellResult {
    proto::CellResult { cell: vec![], associated_cell_count: i32::try_from(cells).ok() }
}

/// A class, or `Class: message`.
fn named(said: &str) -> proto::NameBytesPair {
    let said = format!("org.apache.hadoop.hbase.{said}");
    let class = said.split(": ").next().unwrap_or_default().to_owned();
    proto::NameBytesPair { value: Some(said.into()), name: class.into() }
}

fn exception(class: &str, text: &str, do_not_retry: bool) -> proto::ExceptionResponse {
    let class = format!("org.apache.hadoop.hbase.{class}");
    proto::ExceptionResponse {
        stack_trace: Some(format!("{class}: {text}\n\tat x").into()),
        exception_class_name: Some(class.into()),
        do_not_retry: Some(do_not_retry),
        ..Default::default()
    }
}

fn frame(call_id: Option<u32>, answer: Answer) -> Bytes {
    let (exception, message, block) = match answer {
        Ok((message, block)) => (None, Some(message), block),
        Err(exception) => (Some(exception), None, BytesMut::new()),
    };
    let length = u32::try_from(block.len()).unwrap();
    let cell_block_meta = (length > 0).then_some(proto::CellBlockMeta { length: Some(length) });
    let header = proto::ResponseHeader { call_id, exception, cell_block_meta };
    let mut out = BytesMut::new();
    header.encode_length_delimited(&mut out).unwrap();
    if let Some(message) = message {
        prost::encoding::encode_varint(message.len() as u64, &mut out);
        out.put_slice(&message);
    }
    out.put_slice(&block);
    out.freeze()
}
