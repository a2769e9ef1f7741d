//! Runs over the seeds of the fuzz targets, and over what once made them fail.

use std::fs;
use std::path::Path;

#[expect(unreachable_pub, reason = "the fuzz target calls this function from another crate")]
#[path = "../../../fuzz/src/avro.rs"]
mod avro;

#[expect(unreachable_pub, reason = "the fuzz target calls this function from another crate")]
#[path = "../../../fuzz/src/external.rs"]
mod external;

#[expect(unreachable_pub, reason = "the fuzz target calls this function from another crate")]
#[path = "../../../fuzz/src/http_json.rs"]
mod http_json;

#[expect(unreachable_pub, reason = "the fuzz target calls this function from another crate")]
#[path = "../../../fuzz/src/thrift.rs"]
mod thrift;

#[expect(unreachable_pub, reason = "the fuzz target calls this function from another crate")]
#[path = "../../../fuzz/src/syslog.rs"]
mod syslog;

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
    replay("avro_rpc", avro::rpc);
    replay("avro_handshake", avro::handshake);
    replay("avro_legacy", avro::legacy);
}

#[test]
fn thrift_seeds() {
    replay("thrift", thrift::frame);
    replay("scribe", thrift::scribe);
    replay("thrift_legacy", thrift::legacy);
}

#[test]
fn external_seeds() {
    replay("external", external::messages);
}

#[test]
fn http_json_seeds() {
    replay("http_json", http_json::request);
}

#[test]
fn syslog_seeds() {
    replay("syslog", syslog::stream);
}
