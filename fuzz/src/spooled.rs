//! Any bytes as a file of the spooling directory, in Avro and in lines, and as a schema with data.

use std::io::Write;

use splashdam_components::charset::{Charset, OnMalformed};
use splashdam_components::deserializers::avro::{Schema, Steps};
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

/// Charsets of one, two and several bytes a character.
const CHARSETS: [&str; 7] =
    ["UTF-8", "US-ASCII", "UTF-16", "UTF-16LE", "ISO-8859-1", "Shift_JIS", "GB18030"];
/// Lines that are read; what is packed may have many.
const MOST_LINES: usize = 200;
/// What becomes of bytes that mean nothing.
const MALFORMED: [OnMalformed; 3] = [OnMalformed::Fail, OnMalformed::Replace, OnMalformed::Ignore];

/// Reads the input, whose first byte says how, as a file of lines, perhaps packed: one by one they are
/// the same as many at once, and reading goes on where it was left.
pub fn lines(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else { return };
    let charset = CHARSETS[usize::from(how) % CHARSETS.len()];
    let charset = Charset::named(charset).expect("a charset");
    let on_malformed = MALFORMED[usize::from(how >> 4) % MALFORMED.len()];
    let mut file = tempfile::tempfile().expect("there is room");
    file.write_all(bytes).expect("there is room");
    let keys = "deserializer = LINE\ndeserializer.maxLineLength = 16";
    let choice = Choice::look(&Section::parse(keys).section("deserializer"));
    let choice = choice.value.expect("a deserializer");
    let open = |position| {
        let file = file.try_clone().expect("a file");
        let content = Content::unpacked(file, MOST_BLOCK).ok()?;
        choice.open(Input { content, position, charset, on_malformed }).ok()
    };
    let Some(mut reader) = open(0) else { return };
    let (mut one_by_one, mut at) = (Vec::new(), vec![reader.position()]);
    while let Ok(batch) = reader.read(1)
        && !batch.is_empty()
        && one_by_one.len() < MOST_LINES
    {
        assert_eq!(batch.len(), 1);
        assert!(reader.position() >= at[at.len() - 1]);
        at.push(reader.position());
        one_by_one.extend(batch.events().iter().map(|event| event.body.clone()));
    }
    let middle = one_by_one.len() / 2;
    let Some(mut again) = open(at[middle]) else { return };
    if let Ok(batch) = again.read(one_by_one.len() - middle) {
        let bodies: Vec<_> = batch.events().iter().map(|event| event.body.clone()).collect();
        assert_eq!(bodies, one_by_one[middle..]);
    }
}

/// Reads what comes before the first line end as a schema, and the rest as data of it.
pub fn avro_schema(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else { return };
    let Ok(schema) = Schema::parse(text) else { return };
    assert_eq!(schema.fingerprint().len(), 16);
    let mut data = parts.next().unwrap_or_default();
    let mut steps = Steps::for_bytes(data.len());
    for _ in 0..100 {
        let Ok(length) = schema.datum_length(data, &mut steps) else { break };
        assert!(length <= data.len());
        data = &data[length..];
    }
}
