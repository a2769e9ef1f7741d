//! Files of the spooling directory, one table of them for each deserializer, through one start of either agent.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::Result;
use bytes::BytesMut;
use splashdam_components::SERIALIZERS;
use splashdam_config::Section;
use splashdam_core::{Event, Role, Start, find};
use splashdam_interop::{Agent, outputs};
use splashdam_testkit::context;

use crate::side_by_side::{Case, LIMIT, Site, channel_and_sink, compare};

/// A file: its name, what is in it, and how many events that makes.
type Spooled = (String, Vec<u8>, u64);

#[test]
fn avro_files() {
    let tables = [lines(), avro(), avro()];
    let names = ["lines", "hashes", "literals"];
    let total: usize = tables.iter().map(Vec::len).sum();
    assert!(total >= 40, "{total} cases");
    let count = |table: &[Spooled]| table.iter().map(|(_, _, events)| events).sum::<u64>();
    let delivered: Vec<_> =
        ["k1", "k2", "k3"].into_iter().zip(&tables).map(|(k, table)| (k, count(table))).collect();
    let config = config(names);
    let case = Case { config: &config, delivered: &delivered };
    let prepare = |dir: &Path| -> Result<()> {
        for (name, table) in names.iter().zip(&tables) {
            fs::create_dir(dir.join(name))?;
            for (age, (file, content, _)) in (1_700_000_000..).zip(table) {
                let path = dir.join(name).join(file);
                fs::write(&path, content)?;
                let file = File::options().write(true).open(path)?;
                file.set_modified(UNIX_EPOCH + Duration::from_secs(age))?;
            }
        }
        Ok(())
    };
    let drive = |site: &Site, _: &mut Agent| {
        // A file is marked as read when the next look finds nothing more in it.
        let began = Instant::now();
        let left = |name: &str| -> usize {
            let entries = fs::read_dir(site.dir.join(name)).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            names.filter(|name| !name.starts_with('.') && !name.ends_with(".COMPLETED")).count()
        };
        while names.iter().any(|name| left(name) > 0) && began.elapsed() < LIMIT {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(names.map(left))
    };
    let look = |dir: &Path| -> Result<[Vec<String>; 3]> {
        let lines = |sink: &str| outputs::lines(&dir.join(sink));
        Ok([lines("k1")?, lines("k2")?, lines("k3")?])
    };
    let Some((left, [_, hashes, literals])) = compare(&case, prepare, drive, look) else { return };
    assert_eq!(left, [0; 3]);
    assert!(hashes[0].contains("flume.avro.schema.hash="), "{}", hashes[0]);
    assert!(literals[0].contains("flume.avro.schema.literal="), "{}", literals[0]);
}

fn config(names: [&str; 3]) -> String {
    let mut config =
        "a1.sources = r1 r2 r3\na1.channels = c1 c2 c3\na1.sinks = k1 k2 k3\n".to_owned();
    for (number, name) in (1..).zip(names) {
        config += &channel_and_sink(number, "header_and_text");
        config += &format!(
            "a1.sources.r{number}.type = spooldir\n\
             a1.sources.r{number}.spoolDir = {{dir}}/{name}\n\
             a1.sources.r{number}.basenameHeader = true\n\
             a1.sources.r{number}.decodeErrorPolicy = REPLACE\n\
             a1.sources.r{number}.pollDelay = 50\n\
             a1.sources.r{number}.channels = c{number}\n"
        );
    }
    config
        + "a1.sources.r1.deserializer = LINE\na1.sources.r1.deserializer.maxLineLength = 20\n\
           a1.sources.r2.deserializer = AVRO\n\
           a1.sources.r3.deserializer = AVRO\na1.sources.r3.deserializer.schemaType = LITERAL\n"
}

fn lines() -> Vec<Spooled> {
    let files: &[(&[u8], u64)] = &[
        (b"one\ntwo\n", 2),
        (b"no end", 1),
        (b"\n", 1),
        (b"\n\n\n", 3),
        (b"a\r\nb\rc\n", 2),
        (b"19 characters and LF\n", 2),
        (b"18 characters & LF\n", 1),
        (b"0123456789012345678901234567890123456789\nx\n", 4),
        (b"0123456789012345678901234567890123456789", 2),
        (b"tab\there\x01\x7f\n", 1),
        (b"nul\0inside\n", 1),
        (b"bad \xff\xfe\xc3\n\xe4\xb8\n", 2),
        ("gr\u{fc}n \u{4e16}\u{754c}\n".as_bytes(), 1),
        ("\u{feff}marked\n".as_bytes(), 1),
        (b"{a=b} looks like headers\n", 2),
    ];
    let named = files.iter().enumerate();
    named
        .map(|(n, (content, events))| (format!("line-{n:02}"), content.to_vec(), *events))
        .collect()
}

fn avro() -> Vec<Spooled> {
    let mut files: Vec<(String, Vec<u8>, u64)> = Vec::new();
    for codec in ["null", "deflate", "snappy", "bzip2", "zstandard"] {
        files.push((codec.to_owned(), ours(codec, &[2, 3]), 5));
    }
    for (name, schema, data) in data() {
        let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        files.push((name.to_owned(), container(schema, &[&data]), data.len() as u64));
    }
    let string = |text: &str| bytes(text.as_bytes());
    let (one, two) = (string("one"), string("two"));
    let blocks: [&[&[u8]]; 3] = [&[&one], &[], &[&two, &one]];
    files.push(("blocks".to_owned(), container(STRING, &blocks), 3));
    files
        .into_iter()
        .enumerate()
        .map(|(n, (name, content, events))| (format!("{n:02}-{name}"), content, events))
        .collect()
}

/// Flume stops at data that are no records.
const STRING: &str = r#"{"type":"record","name":"S","fields":[{"name":"s","type":"string"}]}"#;

/// Schemas as Java prints them, with data.
fn data() -> Vec<(&'static str, &'static str, Vec<Vec<u8>>)> {
    let string = |text: &str| bytes(text.as_bytes());
    let join = |parts: &[&[u8]]| parts.concat();
    vec![
        ("string", STRING, vec![string("plain"), string("gr\u{fc}n"), string("")]),
        (
            "record",
            r#"{"type":"record","name":"R","namespace":"a.b","doc":"said","fields":[{"name":"s","type":"string","doc":"more"},{"name":"n","type":"int","default":5}]}"#,
            vec![join(&[&string("x"), &long(-7)])],
        ),
        (
            "nested",
            r#"{"type":"record","name":"Outer","fields":[{"name":"inner","type":{"type":"record","name":"Inner","namespace":"in.ner","fields":[{"name":"f","type":"boolean"}]}},{"name":"again","type":"in.ner.Inner"}]}"#,
            vec![vec![1, 0]],
        ),
        (
            "union",
            r#"{"type":"record","name":"U","fields":[{"name":"u","type":["null","long","string"]}]}"#,
            vec![long(0), join(&[&long(1), &long(1 << 40)]), join(&[&long(2), &string("s")])],
        ),
        (
            "enum",
            r#"{"type":"record","name":"E","fields":[{"name":"e","type":{"type":"enum","name":"Color","symbols":["RED","GREEN"]}}]}"#,
            vec![long(1)],
        ),
        (
            "fixed",
            r#"{"type":"record","name":"F","fields":[{"name":"f","type":{"type":"fixed","name":"Three","size":3}}]}"#,
            vec![b"abc".to_vec()],
        ),
        (
            "array",
            r#"{"type":"record","name":"A","fields":[{"name":"a","type":{"type":"array","items":"long"}}]}"#,
            vec![join(&[&long(2), &long(5), &long(6), &long(0)]), long(0)],
        ),
        (
            "map",
            r#"{"type":"record","name":"M","fields":[{"name":"m","type":{"type":"map","values":"bytes"}}]}"#,
            vec![join(&[&long(1), &string("k"), &string("v"), &long(0)])],
        ),
        (
            "numbers",
            r#"{"type":"record","name":"N","fields":[{"name":"f","type":"float"},{"name":"d","type":"double"}]}"#,
            vec![join(&[&1.5f32.to_le_bytes(), &(-2.5f64).to_le_bytes()])],
        ),
        (
            "list",
            r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#,
            vec![join(&[&long(1), &long(1), &long(0)])],
        ),
        (
            "logical",
            r#"{"type":"record","name":"T","fields":[{"name":"t","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#,
            vec![long(1_700_000_000_000)],
        ),
    ]
}

/// A file as our serializer writes it, of Flume's events.
fn ours(codec: &str, blocks: &[usize]) -> Vec<u8> {
    let section = Section::parse(&format!("compressionCodec = {codec}"));
    let entry = find(SERIALIZERS, "avro_event").expect("a serializer");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let opened = runtime.block_on(entry.open(section, context(Role::Sink)));
    let mut serializer = opened.expect("it opens");
    let mut out = BytesMut::new();
    serializer.start(&mut out, Start::Created);
    for count in blocks {
        let events: Vec<Event> = (0..*count).map(|n| Event::new(format!("{codec} {n}"))).collect();
        serializer.write(&events, &mut out).expect("events");
        serializer.flush(&mut out);
    }
    out.to_vec()
}

/// A container file without compression.
fn container(schema: &str, blocks: &[&[&[u8]]]) -> Vec<u8> {
    const SYNC: &[u8; 16] = b"0123456789abcdef";
    let mut file = b"Obj\x01".to_vec();
    file.extend(long(1));
    file.extend(bytes(b"avro.schema"));
    file.extend(bytes(schema.as_bytes()));
    file.extend(long(0));
    file.extend_from_slice(SYNC);
    for block in blocks {
        file.extend(long(i64::try_from(block.len()).expect("a few")));
        file.extend(bytes(&block.concat()));
        file.extend_from_slice(SYNC);
    }
    file
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    [long(i64::try_from(bytes.len()).expect("a few")), bytes.to_vec()].concat()
}

fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}
