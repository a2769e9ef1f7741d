//! The `avro_event` serializer: the same schema and the same records, however the blocks are cut.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use splashdam_interop::{avro_file, outputs};

use crate::side_by_side::{Case, channel_and_sink, compare, only_watch};

#[test]
fn container() {
    let config = channel_and_sink(1, "avro_event")
        + "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
           a1.sources.r1.type = TAILDIR\n\
           a1.sources.r1.filegroups = g\n\
           a1.sources.r1.filegroups.g = {dir}/app.log\n\
           a1.sources.r1.headers.g.zone = east\n\
           a1.sources.r1.byteOffsetHeader = true\n\
           a1.sources.r1.positionFile = {dir}/position.json\n\
           a1.sources.r1.channels = c1\n\
           a1.sinks.k1.sink.serializer.syncIntervalBytes = 4096\n";
    let case = Case { config: &config, delivered: &[("k1", 300)] };
    let prepare = |dir: &Path| -> Result<()> {
        let mut all = Vec::new();
        for number in 0..300usize {
            all.extend_from_slice(format!("{number} \u{e9} ").as_bytes());
            all.extend_from_slice(&[0xff, 0x00, 0x80]);
            all.extend(std::iter::repeat_n(b'z', number % 97));
            all.push(b'\n');
        }
        Ok(fs::write(dir.join("app.log"), all)?)
    };
    let look = |dir: &Path| {
        let files = outputs::files(&dir.join("k1"))?;
        ensure!(files.len() == 1, "one file was expected: {files:?}");
        avro_file::read(&fs::read(&files[0])?)
    };
    let Some((_, container)) = compare(&case, prepare, only_watch, look) else {
        return;
    };
    assert_eq!(container.events.len(), 300);
    assert_eq!(container.events[0].0["zone"], "east");
}
