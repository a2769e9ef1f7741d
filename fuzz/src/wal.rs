//! The log: what the meta parts of frames and the headers of segments may hold.

use splashdam_wal::record::{CursorMeta, MOST_POSITION, PutMeta, TakeMeta};
use splashdam_wal::segment::SegmentHeader;

/// The first byte says as what the rest is read. What is read is written as it was, but for cursors, which join
/// ranges, and positions that are longer than any is written.
pub fn records(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 4 {
        0 => {
            let Some(put) = PutMeta::decode(bytes) else { return };
            let position = put.origin.as_ref().map_or(0, |origin| origin.position.len());
            assert!(position > MOST_POSITION || put.encode() == bytes, "{put:?}");
        }
        1 => {
            let Some(take) = TakeMeta::decode(bytes) else { return };
            assert_eq!(take.encode(), bytes);
        }
        2 => {
            let Some(cursor) = CursorMeta::decode(bytes) else { return };
            if cursor.origins.iter().all(|last| last.origin.position.len() <= MOST_POSITION) {
                assert_eq!(CursorMeta::decode(&cursor.encode()), Some(cursor));
            }
        }
        _ => {
            let Ok(header) = SegmentHeader::decode(bytes) else { return };
            assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        }
    }
}
