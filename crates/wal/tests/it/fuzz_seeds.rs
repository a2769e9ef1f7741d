//! Runs over the seeds of the fuzz target, and over what once made it fail.

use std::fs;
use std::path::Path;

#[expect(unreachable_pub, reason = "the fuzz target calls this function from another crate")]
#[path = "../../../../fuzz/src/wal.rs"]
mod wal;

#[test]
fn records_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/wal_records");
    let mut count = 0;
    for seed in fs::read_dir(&folder).expect("the folder of seeds") {
        wal::records(&fs::read(seed.expect("a name").path()).expect("a seed"));
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", folder.display());
}
