//! Cell blocks in the form of HBase's `KeyValueCodec`: cells one behind the other.
//!
//! ```text
//! cell  i32 n │ i32 key length │ i32 value length │ key │ value          n counts what follows it
//! key   u16 r │ row │ u8 f │ family │ qualifier │ u64 timestamp │ u8 type
//! ```
//!
//! All integers are big-endian. The qualifier takes what the key's length leaves it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::Malformed;
use crate::model::{Cell, CellKind, Change};
use crate::proto;

/// Row length, family length, timestamp, type.
const KEY_FIXED_BYTES: usize = 2 + 1 + 8 + 1;
/// The lengths of key and value.
const LENGTHS_BYTES: usize = 4 + 4;
/// The timestamp that stands for the server's time.
const LATEST: u64 = i64::MAX as u64;

/// Bytes of a cell as HBase counts them for its limit: all but the first length.
pub(crate) fn cell_bytes(row: &Bytes, cell: &Change) -> usize {
    LENGTHS_BYTES + key_bytes(row, cell) + cell.value.len()
}

fn key_bytes(row: &Bytes, cell: &Change) -> usize {
    KEY_FIXED_BYTES + row.len() + cell.family.len() + cell.qualifier.len()
}

/// Appends a cell. Row and family were checked to fit their lengths, and the cell its limit.
pub(crate) fn write(out: &mut BytesMut, row: &Bytes, cell: &Change) {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    out.reserve(4 + cell_bytes(row, cell));
    out.put_u32(length(cell_bytes(row, cell)));
    out.put_u32(length(key_bytes(row, cell)));
    out.put_u32(length(cell.value.len()));
    out.put_u16(u16::try_from(row.len()).unwrap_or(u16::MAX));
    out.put_slice(row);
    out.put_u8(u8::try_from(cell.family.len()).unwrap_or(u8::MAX));
    out.put_slice(&cell.family);
    out.put_slice(&cell.qualifier);
    out.put_u64(cell.timestamp.unwrap_or(LATEST));
    out.put_u8(cell.kind.code());
    out.put_slice(&cell.value);
}

/// Reads cells off a block, each a slice of it.
pub(crate) struct Cells(pub(crate) Bytes);

impl Cells {
    /// The next cell; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Cell>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        read(&mut self.0).map(Some).ok_or(Malformed("a cell whose lengths do not fit together"))
    }

    /// The next `count` cells.
    pub(crate) fn take(&mut self, count: usize) -> Result<Vec<Cell>, Malformed> {
        // No more is set aside than the block can hold, whatever the count says.
        let most = self.0.len() / (4 + LENGTHS_BYTES + KEY_FIXED_BYTES);
        let mut cells = Vec::with_capacity(count.min(most));
        for _ in 0..count {
            cells.push(self.next()?.ok_or(Malformed("fewer cells than the answer promised"))?);
        }
        Ok(cells)
    }

    /// The cells of a result: those in the message, then those that it counts.
    pub(crate) fn of(&mut self, result: proto::CellResult) -> Result<Vec<Cell>, Malformed> {
        let count = usize::try_from(result.associated_cell_count.unwrap_or(0))
            .map_err(|_| Malformed("a negative count of cells"))?;
        let mut cells: Vec<Cell> = result.cell.into_iter().map(Cell::from).collect();
        match cells.is_empty() {
            true => self.take(count),
            false => {
                cells.extend(self.take(count)?);
                Ok(cells)
            }
        }
    }
}

fn read(block: &mut Bytes) -> Option<Cell> {
    let length = length(block)?;
    if length > block.len() {
        return None;
    }
    let mut cell = block.split_to(length);
    let (key, value) = (self::length(&mut cell)?, self::length(&mut cell)?);
    if key.checked_add(value)? != cell.len() || key < KEY_FIXED_BYTES {
        return None;
    }
    let mut key = cell.split_to(key);
    let row = usize::from(key.get_u16());
    if row + KEY_FIXED_BYTES - 2 > key.len() {
        return None;
    }
    let row = key.split_to(row);
    let family = usize::from(key.get_u8());
    if family + 8 + 1 > key.len() {
        return None;
    }
    let family = key.split_to(family);
    let qualifier = key.split_to(key.len() - 8 - 1);
    let timestamp = key.get_u64();
    let kind = CellKind::from_code(key.get_u8());
    Some(Cell { row, family, qualifier, timestamp, kind, value: cell })
}

fn length(bytes: &mut Bytes) -> Option<usize> {
    (bytes.len() >= 4).then(|| usize::try_from(bytes.get_u32()).ok())?
}

impl From<proto::Cell> for Cell {
    fn from(cell: proto::Cell) -> Self {
        let code = cell.cell_type.and_then(|code| u8::try_from(code).ok()).unwrap_or(0);
        Cell {
            row: cell.row.unwrap_or_default(),
            family: cell.family.unwrap_or_default(),
            qualifier: cell.qualifier.unwrap_or_default(),
            timestamp: cell.timestamp.unwrap_or(0),
            kind: CellKind::from_code(code),
            value: cell.value.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cells(block: &[u8]) -> Result<Vec<Cell>, Malformed> {
        let mut cells = Cells(Bytes::copy_from_slice(block));
        let mut all = Vec::new();
        while let Some(cell) = cells.next()? {
            all.push(cell);
        }
        Ok(all)
    }

    #[test]
    fn a_cell_is_laid_out_as_hbase_does() {
        let change = Change {
            family: "f".into(),
            qualifier: "qq".into(),
            timestamp: None,
            kind: CellKind::Put,
            value: "val".into(),
        };
        let mut block = BytesMut::new();
        write(&mut block, &"row".into(), &change);
        let want = b"\0\0\0\x1d\0\0\0\x12\0\0\0\x03\0\x03row\x01fqq\x7f\xff\xff\xff\xff\xff\xff\xff\x04val";
        assert_eq!(&block[..], want);
    }

    proptest! {
        #[test]
        fn decode_undoes_encode_and_refuses_every_cut(
            row in proptest::collection::vec(any::<u8>(), 1..40),
            family in proptest::collection::vec(any::<u8>(), 1..20),
            qualifier in proptest::collection::vec(any::<u8>(), 0..20),
            value in proptest::collection::vec(any::<u8>(), 0..40),
            timestamp in proptest::option::of(any::<u64>()),
        ) {
            let row = Bytes::from(row);
            let change = Change {
                family: family.into(),
                qualifier: qualifier.into(),
                timestamp,
                kind: CellKind::DeleteColumn,
                value: value.into(),
            };
            let mut block = BytesMut::new();
            write(&mut block, &row, &change);
            let want = Cell {
                row,
                family: change.family,
                qualifier: change.qualifier,
                timestamp: timestamp.unwrap_or(LATEST),
                kind: change.kind,
                value: change.value,
            };
            prop_assert_eq!(cells(&block), Ok(vec![want.clone()]));
            let twice = [&block[..], &block[..]].concat();
            prop_assert_eq!(cells(&twice), Ok(vec![want.clone(), want]));
            for cut in 1..block.len() {
                prop_assert!(cells(&block[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(block in proptest::collection::vec(any::<u8>(), 0..200)) {
            crate::fuzzing::cell_block(&block);
        }
    }
}
