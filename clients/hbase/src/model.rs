//! What callers speak of: tables, rows, cells, and what is done to them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Error;

/// The longest row key that HBase takes.
pub const ROW_LIMIT_BYTES: usize = 32_767;
/// No cell is longer, whatever a configuration says: its length is one of Java's integers.
const CELL_LIMIT_BYTES: usize = 0x7fff_ffff;
/// What HBase writes for a time to live without end.
const FOREVER_SECONDS: u32 = 0x7fff_ffff;
/// The longest family name, whose length is one byte on the wire.
pub const FAMILY_LIMIT_BYTES: usize = 255;

/// Host and port of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Name or IP address.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
}

/// A table's name in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    namespace: Arc<str>,
    qualifier: Arc<str>,
}

/// How a server keeps a mutation before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// As the table says; HBase's own default is a synced log.
    #[default]
    TableDefault,
    /// Not logged: lost when the server crashes before its memory is flushed.
    SkipWal,
    /// Logged, synced later.
    AsyncWal,
    /// Logged and handed to the file system.
    SyncWal,
    /// Logged and forced to disk.
    FsyncWal,
}

/// What a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKind {
    /// A value.
    Put,
    /// Hides one version.
    Delete,
    /// Hides all versions of a column.
    DeleteColumn,
    /// Hides a family.
    DeleteFamily,
    /// Another of HBase's types, by its number.
    Other(u8),
}

/// One version of one column of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The row key.
    pub row: Bytes,
    /// The column family.
    pub family: Bytes,
    /// The column within its family.
    pub qualifier: Bytes,
    /// Milliseconds since 1970, by convention.
    pub timestamp: u64,
    /// What it is; reads answer with [`CellKind::Put`] only.
    pub kind: CellKind,
    /// The value.
    pub value: Bytes,
}

/// The cells of one row that a read or an increment answered with, in HBase's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Sorted by family, qualifier, and the newest version first.
    pub cells: Vec<Cell>,
}

/// A change of one row, applied by the server whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    pub(crate) row: Bytes,
    pub(crate) kind: MutationKind,
    pub(crate) cells: Vec<Change>,
    pub(crate) durability: Durability,
}

/// The three kinds of [`Mutation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MutationKind {
    /// Sets columns.
    Put,
    /// Adds to columns that hold 8-byte integers.
    Increment,
    /// Hides columns, families or the row.
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) family: Bytes,
    pub(crate) qualifier: Bytes,
    /// `None` is the time of the server.
    pub(crate) timestamp: Option<u64>,
    pub(crate) kind: CellKind,
    pub(crate) value: Bytes,
}

/// A read of one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Get {
    pub(crate) row: Bytes,
    pub(crate) columns: Columns,
    pub(crate) versions: Option<u32>,
}

/// A read of rows in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    pub(crate) start: Bytes,
    pub(crate) stop: Bytes,
    pub(crate) columns: Columns,
    pub(crate) versions: Option<u32>,
    pub(crate) limit_rows: Option<u64>,
}

/// Families with the qualifiers wanted of each, none meaning all.
pub(crate) type Columns = Vec<(Bytes, Vec<Bytes>)>;

/// What a table is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDescription {
    /// Its name.
    pub name: TableName,
    /// Its column families.
    pub families: Vec<FamilyDescription>,
}

/// A column family and its settings, such as `VERSIONS` or `TTL`, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyDescription {
    /// Its name.
    pub name: Bytes,
    /// Settings as HBase stores them.
    pub attributes: Vec<(Bytes, Bytes)>,
}

impl FamilyDescription {
    /// The seconds after which cells go, by their own times; `None` where they stay.
    pub fn time_to_live(&self) -> Option<u32> {
        let ttl = self.attributes.iter().find(|(name, _)| **name == *b"TTL");
        let seconds = ttl.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        seconds.filter(|seconds| *seconds < FOREVER_SECONDS)
    }
}

impl Address {
    /// An address from its parts.
    pub fn new(host: &str, port: u16) -> Self {
        Address { host: host.into(), port }
    }

    /// Reads `host` or `host:port`; `None` for anything else.
    pub fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|&port| port > 0)?),
            None => (text, default_port),
        };
        let fine = !host.is_empty() && !host.contains(char::is_whitespace);
        fine.then(|| Address::new(host, port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl TableName {
    /// Reads `table` or `namespace:table`.
    ///
    /// # Errors
    /// A name that HBase would not take: letters, digits, `_`, `-` and `.` only, not empty, not
    /// starting with `-` or `.`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (namespace, qualifier) = text.split_once(':').unwrap_or(("default", text));
        let legal = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let fine = !namespace.is_empty()
            && namespace.chars().all(|c| c.is_alphanumeric() || c == '_')
            && !qualifier.is_empty()
            && !qualifier.starts_with(['-', '.'])
            && qualifier.chars().all(legal);
        if fine {
            Ok(TableName { namespace: namespace.into(), qualifier: qualifier.into() })
        } else {
            Err(Error::invalid(format!(
                "`{text}` is no name of a table; use letters, digits, `_`, `-` and `.`, with `namespace:` before it if need be"
            )))
        }
    }

    pub(crate) fn meta() -> Self {
        TableName { namespace: "hbase".into(), qualifier: "meta".into() }
    }

    /// The namespace, `default` if none was given.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name within its namespace.
    pub fn qualifier(&self) -> &str {
        &self.qualifier
    }
}

/// As HBase writes it in region names: without the namespace where that is `default`.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "default" => f.write_str(&self.qualifier),
            namespace => write!(f, "{namespace}:{}", self.qualifier),
        }
    }
}

impl Mutation {
    /// Sets the columns that are added with [`Mutation::set`].
    pub fn put(row: impl Into<Bytes>) -> Self {
        Mutation::of(row, MutationKind::Put)
    }

    /// Adds to the columns that are given with [`Mutation::add`]. Each carries a nonce, so that a
    /// call that this client repeats after a lost answer is counted once; see the crate's guarantees.
    pub fn increment(row: impl Into<Bytes>) -> Self {
        Mutation::of(row, MutationKind::Increment)
    }

    /// Hides the whole row, or the columns that are given with [`Mutation::hide`].
    pub fn delete(row: impl Into<Bytes>) -> Self {
        Mutation::of(row, MutationKind::Delete)
    }

    fn of(row: impl Into<Bytes>, kind: MutationKind) -> Self {
        Mutation { row: row.into(), kind, cells: Vec::new(), durability: Durability::TableDefault }
    }

    /// One more column of a put, at the time of the server.
    #[must_use]
    pub fn set(
        self,
        family: impl Into<Bytes>,
        qualifier: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Self {
        self.change(family, qualifier, None, CellKind::Put, value)
    }

    /// One more column of a put, at a time of the caller's: the same put at the same time again
    /// changes nothing.
    #[must_use]
    pub fn set_at(
        self,
        family: impl Into<Bytes>,
        qualifier: impl Into<Bytes>,
        timestamp: u64,
        value: impl Into<Bytes>,
    ) -> Self {
        self.change(family, qualifier, Some(timestamp), CellKind::Put, value)
    }

    /// One more column of an increment.
    #[must_use]
    pub fn add(self, family: impl Into<Bytes>, qualifier: impl Into<Bytes>, amount: i64) -> Self {
        let value = Bytes::copy_from_slice(&amount.to_be_bytes());
        self.change(family, qualifier, None, CellKind::Put, value)
    }

    /// One more column that a delete hides, with all its versions.
    #[must_use]
    pub fn hide(self, family: impl Into<Bytes>, qualifier: impl Into<Bytes>) -> Self {
        self.change(family, qualifier, None, CellKind::DeleteColumn, Bytes::new())
    }

    fn change(
        mut self,
        family: impl Into<Bytes>,
        qualifier: impl Into<Bytes>,
        timestamp: Option<u64>,
        kind: CellKind,
        value: impl Into<Bytes>,
    ) -> Self {
        let (family, qualifier, value) = (family.into(), qualifier.into(), value.into());
        self.cells.push(Change { family, qualifier, timestamp, kind, value });
        self
    }

    /// How the server keeps it before it answers.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The row key.
    pub fn row(&self) -> &Bytes {
        &self.row
    }

    /// What it does.
    pub fn kind(&self) -> MutationKind {
        self.kind
    }

    /// Family, qualifier and value of each column, in the order given. An increment's value is the
    /// amount in 8 bytes.
    pub fn columns(&self) -> impl Iterator<Item = (&Bytes, &Bytes, &Bytes)> {
        self.cells.iter().map(|cell| (&cell.family, &cell.qualifier, &cell.value))
    }

    /// Refuses what no server would take, before anything is sent.
    pub(crate) fn check(&self, cell_limit_bytes: usize) -> Result<(), Error> {
        let cell_limit_bytes = cell_limit_bytes.min(CELL_LIMIT_BYTES);
        check_row(&self.row)?;
        if self.cells.is_empty() && self.kind != MutationKind::Delete {
            return Err(Error::invalid("a put or increment without columns"));
        }
        for cell in &self.cells {
            if cell.family.is_empty() || cell.family.len() > FAMILY_LIMIT_BYTES {
                return Err(Error::invalid(format!(
                    "a column family of {} bytes; names have 1 to {FAMILY_LIMIT_BYTES}",
                    cell.family.len()
                )));
            }
            let bytes = crate::cell_block::cell_bytes(&self.row, cell);
            if bytes > cell_limit_bytes {
                return Err(Error::invalid(format!(
                    "a cell of {bytes} bytes, more than the limit of {cell_limit_bytes}; raise hbase.client.keyvalue.maxsize here and hbase.server.keyvalue.maxsize there, or store less"
                )));
            }
        }
        Ok(())
    }
}

/// Rows that HBase takes.
pub(crate) fn check_row(row: &[u8]) -> Result<(), Error> {
    if row.is_empty() || row.len() > ROW_LIMIT_BYTES {
        return Err(Error::invalid(format!(
            "a row key of {} bytes; keys have 1 to {ROW_LIMIT_BYTES}",
            row.len()
        )));
    }
    Ok(())
}

fn want(columns: &mut Columns, family: Bytes, qualifier: Option<Bytes>) {
    let place = match columns.iter().position(|(known, _)| *known == family) {
        Some(place) => place,
        None => {
            columns.push((family, Vec::new()));
            columns.len() - 1
        }
    };
    columns[place].1.extend(qualifier);
}

impl Get {
    /// All columns of a row, the newest version of each.
    pub fn new(row: impl Into<Bytes>) -> Self {
        Get { row: row.into(), ..Get::default() }
    }

    /// Only this family, and others that are named.
    #[must_use]
    pub fn family(mut self, family: impl Into<Bytes>) -> Self {
        want(&mut self.columns, family.into(), None);
        self
    }

    /// Only this column, and others that are named.
    #[must_use]
    pub fn column(mut self, family: impl Into<Bytes>, qualifier: impl Into<Bytes>) -> Self {
        want(&mut self.columns, family.into(), Some(qualifier.into()));
        self
    }

    /// Up to so many versions of each column.
    #[must_use]
    pub fn versions(mut self, versions: u32) -> Self {
        self.versions = Some(versions);
        self
    }
}

impl Scan {
    /// The whole table.
    pub fn all() -> Self {
        Scan::default()
    }

    /// Rows from `start` on, up to `stop` and without it; empty means from the first, to the last.
    pub fn range(start: impl Into<Bytes>, stop: impl Into<Bytes>) -> Self {
        Scan { start: start.into(), stop: stop.into(), ..Scan::default() }
    }

    /// Only this family, and others that are named.
    #[must_use]
    pub fn family(mut self, family: impl Into<Bytes>) -> Self {
        want(&mut self.columns, family.into(), None);
        self
    }

    /// Only this column, and others that are named.
    #[must_use]
    pub fn column(mut self, family: impl Into<Bytes>, qualifier: impl Into<Bytes>) -> Self {
        want(&mut self.columns, family.into(), Some(qualifier.into()));
        self
    }

    /// Up to so many versions of each column.
    #[must_use]
    pub fn versions(mut self, versions: u32) -> Self {
        self.versions = Some(versions);
        self
    }

    /// At most so many rows.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> Self {
        self.limit_rows = Some(rows);
        self
    }
}

impl Row {
    /// The row key; `None` of an empty row.
    pub fn key(&self) -> Option<&Bytes> {
        self.cells.first().map(|cell| &cell.row)
    }

    /// The newest value of a column.
    pub fn value(&self, family: impl AsRef<[u8]>, qualifier: impl AsRef<[u8]>) -> Option<&Bytes> {
        let (family, qualifier) = (family.as_ref(), qualifier.as_ref());
        let mut cells = self.cells.iter();
        let cell = cells.find(|cell| cell.family == family && cell.qualifier == qualifier)?;
        Some(&cell.value)
    }

    /// The value of a column that increments write to.
    pub fn number(&self, family: impl AsRef<[u8]>, qualifier: impl AsRef<[u8]>) -> Option<i64> {
        let bytes = self.value(family, qualifier)?;
        Some(i64::from_be_bytes(bytes.as_ref().try_into().ok()?))
    }
}

impl TableDescription {
    /// Whether the table has a family of this name.
    pub fn has_family(&self, name: impl AsRef<[u8]>) -> bool {
        self.family(name).is_some()
    }

    /// The family of this name.
    pub fn family(&self, name: impl AsRef<[u8]>) -> Option<&FamilyDescription> {
        self.families.iter().find(|family| family.name == name.as_ref())
    }
}

impl CellKind {
    pub(crate) const fn code(self) -> u8 {
        match self {
            CellKind::Put => 4,
            CellKind::Delete => 8,
            CellKind::DeleteColumn => 12,
            CellKind::DeleteFamily => 14,
            CellKind::Other(code) => code,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Self {
        match code {
            4 => CellKind::Put,
            8 => CellKind::Delete,
            12 => CellKind::DeleteColumn,
            14 => CellKind::DeleteFamily,
            code => CellKind::Other(code),
        }
    }
}

impl Durability {
    pub(crate) const fn code(self) -> i32 {
        match self {
            Durability::TableDefault => 0,
            Durability::SkipWal => 1,
            Durability::AsyncWal => 2,
            Durability::SyncWal => 3,
            Durability::FsyncWal => 4,
        }
    }
}

impl MutationKind {
    pub(crate) const fn code(self) -> i32 {
        match self {
            MutationKind::Increment => 1,
            MutationKind::Put => 2,
            MutationKind::Delete => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read_or_refused() {
        let check = |text: &str, want: Option<(&str, &str)>| {
            let got = TableName::parse(text).ok();
            assert_eq!(got.as_ref().map(|t| (t.namespace(), t.qualifier())), want, "{text}");
            if let Some(name) = got {
                assert_eq!(name.to_string(), text.trim_start_matches("default:"));
            }
        };
        check("t", Some(("default", "t")));
        check("default:t", Some(("default", "t")));
        check("n_1:a.b-c", Some(("n_1", "a.b-c")));
        for bad in ["", ":t", "n:", "-t", ".t", "a b", "a,b", "n-1:t", "a:b:c"] {
            check(bad, None);
        }
        let address = |text: &str| Address::parse(text, 5).map(|a| a.to_string());
        assert_eq!(address("h").as_deref(), Some("h:5"));
        assert_eq!(address("h:6").as_deref(), Some("h:6"));
        for bad in ["", ":6", "h:", "h:0", "h:x", "h:70000", "a b"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_no_server_takes_is_refused_before_it_is_sent() {
        let check = |mutation: Mutation, fine: bool| {
            assert_eq!(mutation.check(100).is_ok(), fine, "{mutation:?}");
        };
        check(Mutation::put("r").set("f", "q", "v"), true);
        check(Mutation::put("r").set("f", "", ""), true);
        check(Mutation::put("").set("f", "q", "v"), false);
        check(Mutation::put("r"), false);
        check(Mutation::increment("r"), false);
        check(Mutation::delete("r"), true);
        check(Mutation::put("r").set("", "q", "v"), false);
        check(Mutation::put("r").set(vec![b'f'; 256], "q", "v"), false);
        check(Mutation::put("r").set("f", "q", vec![0; 101]), false);
        let long = |bytes: usize| Mutation::put(vec![b'r'; bytes]).set("f", "q", "v");
        assert!(long(ROW_LIMIT_BYTES).check(usize::MAX).is_ok());
        assert!(long(ROW_LIMIT_BYTES + 1).check(usize::MAX).is_err());
    }
}
