//! Regions: what `hbase:meta` says of them, and the cache of where they are.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::error::Malformed;
use crate::model::{Address, ROW_LIMIT_BYTES, Row, TableName};
use crate::proto;

/// HBase's mark before a message at rest.
const MARK: &[u8] = b"PBUF";
/// Names the one region of `hbase:meta`.
const META_REGION: &[u8] = b"hbase:meta,,1";

/// A run of rows and the server that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) table: TableName,
    /// As calls name it.
    pub(crate) name: Bytes,
    /// Grows with time, so that a region that a split or merge made is told from those before.
    pub(crate) id: u64,
    /// The first row.
    pub(crate) start: Bytes,
    /// The first row that is not in it; empty means that it has all that follow.
    pub(crate) end: Bytes,
    pub(crate) server: Address,
}

impl Region {
    pub(crate) fn meta(server: Address) -> Self {
        Region {
            table: TableName::meta(),
            name: Bytes::from_static(META_REGION),
            id: 1,
            start: Bytes::new(),
            end: Bytes::new(),
            server,
        }
    }

    pub(crate) fn holds(&self, row: &[u8]) -> bool {
        row >= &self.start[..] && (self.end.is_empty() || row < &self.end[..])
    }

    fn overlaps(&self, other: &Region) -> bool {
        let before = |a: &Region, b: &Region| a.end.is_empty() || b.start < a.end;
        before(self, other) && before(other, self)
    }
}

/// The row of meta from which a reversed scan finds the region of `row`: the largest that may
/// begin at or before it. `:` sorts after all digits.
pub(crate) fn meta_key(table: &TableName, row: &[u8]) -> Bytes {
    let table = table.to_string();
    let room = ROW_LIMIT_BYTES.saturating_sub(table.len() + 3);
    [table.as_bytes(), b",", &row[..row.len().min(room)], b",:"].concat().into()
}

/// What a row of meta says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Located {
    At(Region),
    /// There is a region, and no server has it now.
    Nowhere,
    /// The row is not of this table, or not about this key: the table does not exist.
    NoTable,
}

/// Reads a row of meta that was found for `row`.
pub(crate) fn located(table: &TableName, row: &[u8], found: &Row) -> Result<Located, Malformed> {
    let Some(name) = found.key() else { return Ok(Located::NoTable) };
    let Some(info) = found.value("info", "regioninfo") else { return Ok(Located::Nowhere) };
    let info = info.strip_prefix(MARK).ok_or(Malformed("a regioninfo in meta without its mark"))?;
    let info = proto::RegionInfo::decode(info)
        .map_err(|_| Malformed("a regioninfo in meta that cannot be read"))?;
    let of_table = info.table_name.as_ref().is_some_and(|found| {
        found.namespace == table.namespace().as_bytes()
            && found.qualifier == table.qualifier().as_bytes()
    });
    if !of_table {
        return Ok(Located::NoTable);
    }
    let server = found.value("info", "server").and_then(|server| {
        Address::parse(std::str::from_utf8(server).ok()?, 0).filter(|server| server.port > 0)
    });
    let away = info.offline == Some(true) || info.split == Some(true);
    let (Some(server), false) = (server, away) else { return Ok(Located::Nowhere) };
    let region = Region {
        table: table.clone(),
        name: name.clone(),
        id: info.region_id,
        start: info.start_key.unwrap_or_default(),
        end: info.end_key.unwrap_or_default(),
        server,
    };
    // A hole: the region before the row ends before it, until a split or merge is written down.
    Ok(if region.holds(row) { Located::At(region) } else { Located::Nowhere })
}

/// Whether a `table:state` says that the table can be used.
pub(crate) fn is_enabled(state: &[u8]) -> bool {
    !proto::TableState::decode(state).is_ok_and(|state| matches!(state.state, 1 | 2))
}

/// The server that a node of ZooKeeper names.
pub(crate) fn server_of_node(data: &[u8]) -> Result<Address, Malformed> {
    const ODD: Malformed = Malformed("a node of ZooKeeper that HBase did not write");
    let rest = data.strip_prefix(&[0xff]).ok_or(ODD)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(ODD)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| ODD)?;
    let message = rest.get(length..).and_then(|rest| rest.strip_prefix(MARK)).ok_or(ODD)?;
    let node = proto::ServerNode::decode(message).map_err(|_| ODD)?;
    node.server.and_then(|server| server.address()).ok_or(ODD)
}

impl proto::ServerName {
    pub(crate) fn address(&self) -> Option<Address> {
        let port = u16::try_from(self.port?).ok().filter(|&port| port > 0)?;
        (!self.host_name.is_empty()).then(|| Address::new(&self.host_name, port))
    }
}

/// Where regions were when they were last looked up. Holds at most one region for any row; its size
/// is bounded by the regions of the tables that are used.
#[derive(Debug, Default)]
pub(crate) struct RegionCache(HashMap<TableName, BTreeMap<Bytes, Arc<Region>>>);

impl RegionCache {
    pub(crate) fn find(&self, table: &TableName, row: &[u8]) -> Option<Arc<Region>> {
        let regions = self.0.get(table)?;
        let up_to = (Bound::Unbounded, Bound::Included(row));
        let (_, region) = regions.range::<[u8], _>(up_to).next_back()?;
        region.holds(row).then(|| region.clone())
    }

    /// Adds a region and drops those that it replaces. One that is older than a known one in its
    /// place is not kept.
    pub(crate) fn insert(&mut self, region: Region) -> Arc<Region> {
        let region = Arc::new(region);
        let regions = self.0.entry(region.table.clone()).or_default();
        let from = regions
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(&region.start[..])))
            .next_back()
            .map(|(start, _)| start.clone())
            .unwrap_or_default();
        let behind: Vec<Arc<Region>> = regions
            .range(from..)
            .map(|(_, known)| known)
            .take_while(|known| region.end.is_empty() || known.start < region.end)
            .filter(|known| known.overlaps(&region))
            .cloned()
            .collect();
        if behind.iter().any(|known| known.id > region.id) {
            return region;
        }
        for known in behind {
            regions.remove(&known.start);
        }
        regions.insert(region.start.clone(), region.clone());
        region
    }

    /// Forgets a region, unless something newer is known in its place.
    pub(crate) fn remove(&mut self, region: &Region) {
        if let Some(regions) = self.0.get_mut(&region.table)
            && regions.get(&region.start).is_some_and(|known| **known == *region)
        {
            regions.remove(&region.start);
        }
    }

    /// Forgets all regions of a server.
    pub(crate) fn remove_server(&mut self, server: &Address) {
        for regions in self.0.values_mut() {
            regions.retain(|_, region| region.server != *server);
        }
        self.0.retain(|_, regions| !regions.is_empty());
    }
}

#[cfg(test)]
mod tests;
