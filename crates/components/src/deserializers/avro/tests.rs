use bytes::BytesMut;
use splashdam_core::{Role, Start};
use splashdam_testkit::{bodies, context};

use super::super::content::tests::file_of;
use super::*;
use crate::charset::{Charset, OnMalformed};

const SCHEMA: &str = r#"{"type":"record","name":"Event","fields":[{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}"#;

/// A container file as our own serializer writes it: blocks of so many events.
fn container(codec: &str, blocks: &[usize]) -> Vec<u8> {
    let keys = format!("compressionCodec = {codec}");
    let section = splashdam_config::Section::parse(&keys);
    let entry = splashdam_core::find(crate::SERIALIZERS, "avro_event").unwrap();
    let opening = entry.open(section, context(Role::Sink));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut serializer = runtime.block_on(opening).unwrap();
    let mut out = BytesMut::new();
    serializer.start(&mut out, Start::Created);
    let mut first = 0;
    for count in blocks {
        let batch = splashdam_testkit::events(first, *count);
        serializer.write(batch.events(), &mut out).unwrap();
        serializer.flush(&mut out);
        first += count;
    }
    serializer.finish(&mut out);
    out.to_vec()
}

fn open(bytes: &[u8], position: u64, keys: &str) -> io::Result<Avro> {
    let config = splashdam_config::Section::parse(keys).read().into_result().unwrap();
    let content = Content::plain(file_of(bytes)).unwrap();
    Avro::open(
        &config,
        Input { content, position, charset: Charset::UTF_8, on_malformed: OnMalformed::Fail },
    )
}

/// What a datum of the event `n` looks like.
fn datum(n: usize) -> String {
    let text = n.to_string();
    format!("\0{}{text}", char::from(u8::try_from(text.len() * 2).unwrap()))
}

#[test]
fn data_of_every_codec_are_events() {
    for codec in ["null", "deflate", "snappy", "bzip2", "zstandard"] {
        let bytes = container(codec, &[2, 1, 3]);
        let mut avro = open(&bytes, 0, "").unwrap();
        let batch = avro.read(100).unwrap();
        let want: Vec<_> = (0..6).map(datum).collect();
        assert_eq!(bodies(batch.events()), want, "{codec}");
        let hash = batch.events()[0].headers.get("flume.avro.schema.hash").unwrap().clone();
        assert_eq!(*hash, *Schema::parse(SCHEMA).unwrap().fingerprint());
        assert!(avro.read(100).unwrap().is_empty());
        assert_eq!(avro.position(), bytes.len() as u64 - 16);
        let mut literal = open(&bytes, 0, "schemaType = literal").unwrap();
        let event = literal.read(1).unwrap().into_events().remove(0);
        let text = event.headers.get("flume.avro.schema.literal").unwrap();
        assert_eq!(Schema::parse(text).unwrap().fingerprint(), *hash);
    }
}

#[test]
fn reading_goes_on_at_a_block() {
    let bytes = container("deflate", &[2, 3, 1]);
    let mut avro = open(&bytes, 0, "").unwrap();
    let mut position = avro.position();
    let mut seen = Vec::new();
    // Positions stay within a block and come back to its start.
    for (read, from) in [(1, 0), (1, 2), (2, 2), (1, 5), (1, 6)] {
        seen.extend(bodies(avro.read(read).unwrap().events()));
        assert!(avro.position() >= position);
        position = avro.position();
        let rest = bodies(open(&bytes, position, "").unwrap().read(100).unwrap().events());
        assert_eq!(rest, (from..6).map(datum).collect::<Vec<_>>());
    }
    assert_eq!(seen, (0..6).map(datum).collect::<Vec<_>>());
    // Within a marker or a block the next one counts, as in Flume.
    let rest = open(&bytes, bytes.len() as u64 - 20, "").unwrap().read(100).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn damaged_files_are_refused_where_they_are_damaged() {
    let bytes = container("null", &[2, 2]);
    assert!(open(b"", 0, "").is_err());
    assert!(open(b"no container", 0, "").is_err());
    for end in 0..bytes.len() {
        let Ok(mut avro) = open(&bytes[..end], 0, "") else { continue };
        let mut events = 0;
        loop {
            match avro.read(1) {
                Ok(batch) if batch.is_empty() => break,
                Ok(batch) => events += batch.len(),
                Err(_) => {
                    assert!(avro.read(1).is_err(), "it stays damaged");
                    break;
                }
            }
        }
        assert!(events <= 2 || end == bytes.len(), "{events} of {end} bytes");
    }
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 0x55;
        if let Ok(mut avro) = open(&altered, 0, "") {
            // Whatever it makes of it, it ends and does not panic.
            while avro.read(100).is_ok_and(|batch| !batch.is_empty()) {}
        }
    }
}
