//! What must hold for any bytes, one function for each decoder: an error or a value, in memory that
//! the input bounds, and no panic. Fuzz targets and the property tests run the same functions.

use bytes::{Bytes, BytesMut};
use prost::Message;

use crate::cell_block::Cells;
use crate::frame;
use crate::model::{Row, TableName};
use crate::{proto, region};

/// A stream of answers, and what they may carry.
pub fn answers(input: &[u8]) {
    let mut input = BytesMut::from(input);
    while let Ok(Some(frame)) = frame::take(&mut input, 1 << 20) {
        let Ok(answer) = frame::answer(frame) else { continue };
        let Ok(body) = answer.outcome else { continue };
        if let Ok(multi) = proto::MultiResponse::decode(body.message.clone()) {
            let mut block = Cells(body.cells.clone());
            for one in multi.region_action_result.into_iter().flat_map(|r| r.result_or_exception) {
                block.of(one.result.unwrap_or_default()).ok();
            }
        }
        if let Ok(scanned) = proto::ScanResponse::decode(body.message.clone()) {
            crate::cluster::rows(&scanned, body).ok();
        }
    }
}

/// A cell block.
pub fn cell_block(input: &[u8]) {
    let mut cells = Cells(Bytes::copy_from_slice(input));
    let mut bytes = 0;
    while let Ok(Some(cell)) = cells.next() {
        bytes += cell.row.len() + cell.family.len() + cell.qualifier.len() + cell.value.len();
    }
    assert!(bytes <= input.len());
}

/// What ZooKeeper sends and holds.
pub fn zookeeper(input: &[u8]) {
    for data in splashdam_zookeeper::fuzzing::packets(input) {
        region::server_of_node(&data).ok();
    }
    region::server_of_node(input).ok();
}

/// A row of `hbase:meta`, and the state of a table.
pub fn meta_row(input: &[u8]) {
    let mut cells = Cells(Bytes::copy_from_slice(input));
    let mut row = Row::default();
    while let Ok(Some(cell)) = cells.next() {
        row.cells.push(cell);
    }
    if let Ok(table) = TableName::parse("t") {
        region::located(&table, b"r", &row).ok();
    }
    region::is_enabled(input);
}

/// An `hbase-site.xml`.
pub fn site(input: &[u8]) {
    crate::Config::from_site(&String::from_utf8_lossy(input)).ok();
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    const TARGETS: &[(&str, fn(&[u8]))] = &[
        ("hbase_answers", answers),
        ("hbase_cells", cell_block),
        ("hbase_meta", meta_row),
        ("hbase_site", site),
        ("hbase_zookeeper", zookeeper),
    ];

    #[test]
    fn seeds_and_every_cut_of_them_hold() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        for (name, target) in TARGETS {
            let files = std::fs::read_dir(seeds.join(name)).unwrap();
            let mut count = 0;
            for file in files {
                let seed = std::fs::read(file.unwrap().path()).unwrap();
                (0..=seed.len()).for_each(|end| target(&seed[..end]));
                count += 1;
            }
            assert!(count >= 2, "{name} has no seeds");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_hold(input in proptest::collection::vec(any::<u8>(), 0..300)) {
            TARGETS.iter().for_each(|(_, target)| target(&input));
        }

        #[test]
        fn a_changed_byte_holds(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
            for (name, target) in TARGETS {
                for file in std::fs::read_dir(seeds.join(name)).unwrap() {
                    let mut seed = std::fs::read(file.unwrap().path()).unwrap();
                    let at = at.index(seed.len());
                    seed[at] = to;
                    target(&seed);
                }
            }
        }
    }
}
