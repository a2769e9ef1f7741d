//! Any bytes as a file of the spooling directory in Avro, and as a schema with data.

use std::io::Write;

use splashdam_components::charset::{Charset, OnMalformed};
use splashdam_components::deserializers::avro::Schema;
use splashdam_components::deserializers::{Choice, Content, Input};
use splashdam_config::Section;

/// Bytes of a block, whatever it was packed with.
const MOST_BLOCK: u64 = 256 << 20;

/// Reads the input as a container file, to its end or to where it is damaged: positions only grow.
pub fn avro_file(input: &[u8]) {
    let mut file = tempfile::tempfile().expect("there is room");
    file.write_all(input).expect("there is room");
    let choice = Choice::look(&Section::parse("deserializer = AVRO").section("deserializer"));
    let choice = choice.value.expect("a deserializer");
    let content = Content::unpacked(file, MOST_BLOCK).expect("a file");
    let (charset, on_malformed) = (Charset::UTF_8, OnMalformed::Fail);
    let Ok(mut reader) = choice.open(Input { content, position: 0, charset, on_malformed }) else {
        return;
    };
    let mut position = reader.position();
    while let Ok(batch) = reader.read(100) {
        if batch.is_empty() {
            break;
        }
        assert!(batch.size().bytes as u64 <= MOST_BLOCK);
        assert!(reader.position() >= position);
        position = reader.position();
    }
}

/// Reads what comes before the first line end as a schema, and the rest as data of it.
pub fn avro_schema(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else { return };
    let Ok(schema) = Schema::parse(text) else { return };
    assert_eq!(schema.fingerprint().len(), 16);
    let mut data = parts.next().unwrap_or_default();
    for _ in 0..100 {
        let Ok(length) = schema.datum_length(data) else { break };
        assert!(length <= data.len());
        data = &data[length..];
    }
}
