use std::io::Read;

use bytes::Bytes;
use splashdam_core::{Role, Serializer, Start};
use splashdam_testkit::{context, contract};

use super::*;

/// What Flume 1.11 wrote for one event without headers and with the body `x`, but for the sync
/// marker: everything up to the marker, and the one block up to its second marker.
const FLUME: [(&str, &[u8], &[u8]); 6] = [
    ("null", b"\x14avro.codec\x08null\0", b"\x02\x06\0\x02x"),
    ("deflate", b"\x14avro.codec\x0edeflate\0", b"\x02\x0ac`\xaa\0\0"),
    ("snappy", b"\x14avro.codec\x0csnappy\0", b"\x02\x12\x03\x08\0\x02x\x93\xa9B\x9e"),
    ("bzip2", b"\x14avro.codec\x0abzip2\0", b""),
    ("zstandard", b"\x14avro.codec\x12zstandard\0", b""),
    ("foo", b"\0", b"\x02\x06\0\x02x"),
];

async fn serializer(keys: &str) -> AvroEvent {
    let config = Section::parse(keys).read::<Config>().into_result().unwrap();
    AvroEvent::open(config, context(Role::Sink)).await.unwrap()
}

#[tokio::test]
async fn keeps_the_contract() {
    contract::serializer::<AvroEvent>("").await;
    contract::serializer::<AvroEvent>("syncIntervalBytes = 32").await;
    contract::serializer::<AvroEvent>("compressionCodec = deflate").await;
}

#[tokio::test]
async fn writes_what_flume_writes() {
    for (codec, want_codec, want_block) in FLUME {
        let mut avro = serializer(&format!("compressionCodec = {codec}")).await;
        let mut out = BytesMut::new();
        avro.start(&mut out, Start::Created);
        let count: u8 = if codec == "foo" { 2 } else { 4 };
        let mut want = [b"Obj\x01", &[count][..], b"\x16avro.schema\x8a\x02"].concat();
        want.extend_from_slice(SCHEMA.as_bytes());
        want.extend_from_slice(want_codec);
        let (head, marker) = out.split_at(want.len());
        assert_eq!(Bytes::copy_from_slice(head), want, "{codec}");
        let marker = marker.to_vec();
        assert_eq!(marker.len(), 16);
        out.clear();
        avro.write(&[Event::new("x")], &mut out).unwrap();
        assert!(out.is_empty(), "a block ends only when it is full");
        avro.flush(&mut out);
        if want_block.is_empty() {
            assert!(out.ends_with(&marker), "{codec}");
        } else {
            assert_eq!(out, [want_block, &marker].concat(), "{codec}");
        }
        out.clear();
        avro.flush(&mut out);
        avro.finish(&mut out);
        assert!(out.is_empty(), "no empty block");
    }
    assert!(!serializer("").await.reopens());
}

/// A reader of container files, as small as these tests need it.
struct Reader<'a> {
    rest: &'a [u8],
    codec: String,
    marker: &'a [u8],
}

fn long(rest: &mut &[u8]) -> usize {
    let (mut value, mut shift) = (0_usize, 0);
    loop {
        let byte = take(rest, 1)[0];
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            assert_eq!(value & 1, 0, "a negative long");
            return value >> 1;
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(len);
    *rest = left;
    taken
}

fn bytes<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let len = long(rest);
    take(rest, len)
}

fn map(rest: &mut &[u8]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    loop {
        let count = long(rest);
        if count == 0 {
            return all;
        }
        for _ in 0..count {
            let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
            all.push((text(bytes(rest)), text(bytes(rest))));
        }
    }
}

impl<'a> Reader<'a> {
    fn new(mut file: &'a [u8]) -> Self {
        assert_eq!(take(&mut file, 4), b"Obj\x01");
        let metadata = map(&mut file);
        let codec = metadata.iter().find(|(name, _)| name == "avro.codec");
        let codec = codec.map_or_else(|| "null".into(), |(_, codec)| codec.clone());
        let marker = take(&mut file, 16);
        Reader { rest: file, codec, marker }
    }

    fn block(&mut self) -> Vec<Event> {
        let count = long(&mut self.rest);
        let packed = bytes(&mut self.rest);
        let mut data = Vec::new();
        match self.codec.as_str() {
            "null" => data.extend(packed),
            "deflate" => {
                flate2::read::DeflateDecoder::new(packed).read_to_end(&mut data).map(drop).unwrap();
            }
            "snappy" => {
                let (packed, crc) = packed.split_at(packed.len() - 4);
                data = snap::raw::Decoder::new().decompress_vec(packed).unwrap();
                let mut sum = flate2::Crc::new();
                sum.update(&data);
                assert_eq!(crc, sum.sum().to_be_bytes());
            }
            "bzip2" => {
                bzip2::read::BzDecoder::new(packed).read_to_end(&mut data).map(drop).unwrap();
            }
            "zstandard" => data = zstd::stream::decode_all(packed).unwrap(),
            other => panic!("codec {other}"),
        }
        assert_eq!(take(&mut self.rest, 16), self.marker);
        let mut rest = &data[..];
        let events = (0..count).map(|_| Event {
            headers: map(&mut rest).into_iter().collect(),
            body: Bytes::copy_from_slice(bytes(&mut rest)),
        });
        let events = events.collect();
        assert!(rest.is_empty());
        events
    }
}

#[tokio::test]
async fn every_codec_reads_back() {
    let mut events: Vec<Event> = (0..500_u32).map(|n| Event::new(n.to_string())).collect();
    events.push(Event::new(vec![b'x'; 100_000]));
    events[7].headers = [("host", "mill"), ("grün", ""), ("", "empty")].into_iter().collect();
    for codec in ["null", "deflate", "snappy", "bzip2", "zstandard", "xz"] {
        let keys = format!("compressionCodec = {codec}\nsyncIntervalBytes = 1000");
        let mut avro = serializer(&keys).await;
        for _ in 0..2 {
            let mut out = BytesMut::new();
            avro.start(&mut out, Start::Created);
            for some in events.chunks(90) {
                avro.write(some, &mut out).unwrap();
                avro.flush(&mut out);
            }
            avro.finish(&mut out);
            let mut reader = Reader::new(&out);
            let mut read = Vec::new();
            while !reader.rest.is_empty() {
                let block = reader.block();
                assert!(!block.is_empty());
                read.extend(block);
            }
            assert_eq!(read, events, "{codec}");
        }
    }
}

#[test]
fn longs_are_zigzag_varints() {
    let check = |value: u64, want: &[u8]| {
        let mut out = BytesMut::new();
        put_long(value, &mut out);
        assert_eq!(out, want);
    };
    check(0, &[0]);
    check(63, &[0x7e]);
    check(64, &[0x80, 1]);
    check(8192, &[0x80, 0x80, 1]);
    check(u64::MAX >> 1, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
}

#[test]
fn bad_keys_are_found() {
    let check = |keys: &str, want: &[&str]| {
        let looked = splashdam_core::Entry::<dyn Serializer>::serializer::<AvroEvent>()
            .look(&Section::parse(keys));
        let codes: Vec<_> = looked.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, want, "{keys}");
    };
    check("", &[]);
    check("compressionCodec = zstandard\nsyncIntervalBytes = 32", &[]);
    check("compressionCodec = xz", &["unknown-codec"]);
    check("compressionCodec = Deflate", &["unknown-codec"]);
    check("syncIntervalBytes = 31", &["bad-value"]);
    check("compressioncodec = null", &["unknown-key"]);
}
