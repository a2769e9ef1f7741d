//! Runs over the seeds of the fuzz targets, and over what once made them fail.

use std::fs;
use std::path::Path;

#[expect(unreachable_pub, reason = "the fuzz targets call these functions from another crate")]
#[path = "../../../fuzz/src/spooled.rs"]
mod spooled;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut count = 0;
    for seed in fs::read_dir(&folder).unwrap() {
        run(&fs::read(seed.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", folder.display());
}

#[test]
fn avro_seeds() {
    replay("avro_spooled", spooled::avro_file);
    replay("avro_schema", spooled::avro_schema);
}

#[test]
fn lines_seeds() {
    replay("lines", spooled::lines);
}
