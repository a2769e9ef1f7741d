//! Directories made here, byte by byte or by [`write()`]; those made by Flume itself are in the interop tests.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use md5::{Digest, Md5};
use splashdam_core::{Event, Headers};
use tempfile::TempDir;

use super::cipher::Cipher;
use super::meta::{Covered, Encryption, LogMeta};
use super::protobuf::{put_int, put_long};
use super::record::{Kind, Layout, Pointer};
use super::write::{encode_commit, encode_put, encode_rollback, encode_take, frame};
use super::*;

pub(in super::super) mod keys;

/// One event put, taken, and a transaction rolled back, as Flume's own encoder writes them.
const GOLDEN: &str = "\
7f00000038170d01000000110168e5cf8b010000190a68e5cf8b0100001e0a130a0a0a04686f737412026831120568656c6c6f1186a610360000000000\
7f0000001f170d04000000110168e5cf8b010000190b68e5cf8b010000050d0100000000\
7f00000024170d02000000110268e5cf8b010000190c68e5cf8b0100000a0d01000000150000000000\
7f0000001f170d04000000110268e5cf8b010000190d68e5cf8b010000050d0200000000\
7f0000001a170d03000000110368e5cf8b010000190e68e5cf8b0100000000";
const GOLDEN_TAKE: usize = 97;
const KEY: [u8; 16] = *b"0123456789abcdef";

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[i * 2..i * 2 + 2], 16).unwrap()).collect()
}

fn event(body: &str, headers: &[(&str, &str)]) -> Event {
    Event {
        headers: headers.iter().copied().collect::<Headers>(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// A channel of one data directory.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let dir = TempDir::new().unwrap();
        for name in ["c", "b", "d"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Place(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn log(&self, id: i32, bytes: &[u8]) {
        self.log_with(bytes, &LogMeta { file_id: id, ..LogMeta::default() });
    }

    fn log_with(&self, bytes: &[u8], meta: &LogMeta) {
        fs::write(self.path(&format!("d/log-{}", meta.file_id)), bytes).unwrap();
        fs::write(self.path(&format!("d/log-{}.meta", meta.file_id)), meta.encode()).unwrap();
    }

    fn find(&self) -> Result<Option<FlumeChannel>, Error> {
        FlumeChannel::find(&self.path("c"), Some(&self.path("b")), &[self.path("d")])
    }

    fn read(&self, on_damage: OnDamage) -> Result<Queue, Error> {
        let key = |alias: &str| {
            let known = alias == "key-0";
            Ok(known.then(|| SecretKey { algorithm: "AES".into(), bytes: KEY.to_vec() }))
        };
        self.find()?.expect("a channel").read(Some(&key), on_damage, &mut |_| {})
    }

    fn bodies(&self) -> Vec<String> {
        bodies(self.read(OnDamage::Stop).unwrap())
    }
}

fn bodies(queue: Queue) -> Vec<String> {
    let body =
        |event: Result<Event, Error>| String::from_utf8_lossy(&event.unwrap().body).into_owned();
    queue.into_events().map(body).collect()
}

/// Records, each with the transaction's number; write-order ids count up from one.
#[derive(Clone, Copy)]
enum Step {
    /// The body is the number of the step.
    Put(i64),
    /// Of the put in that step, counted from zero.
    Take(i64, usize),
    Puts(i64),
    Takes(i64),
    Rollback(i64),
}
use Step::{Put, Puts, Rollback, Take, Takes};

fn log_of(steps: &[Step], cipher: Option<&Cipher>) -> (Vec<u8>, Vec<u64>) {
    let (mut bytes, mut offsets) = (Vec::new(), Vec::<u64>::new());
    for (index, step) in steps.iter().enumerate() {
        let (order, mut payload) = (1 + index as u32, Vec::new());
        let order = i64::from(order);
        match *step {
            Put(transaction) => {
                let event = event(&format!("e{index}"), &[("n", "v")]);
                encode_put(&mut payload, transaction, order, &event);
            }
            Take(transaction, of) => {
                let of = Pointer(1 << 32 | offsets[of]);
                encode_take(&mut payload, transaction, order, of);
            }
            Puts(transaction) => encode_commit(&mut payload, transaction, order, 1),
            Takes(transaction) => encode_commit(&mut payload, transaction, order, 2),
            Rollback(transaction) => encode_rollback(&mut payload, transaction, order),
        }
        if let Some(cipher) = cipher {
            cipher.apply(&mut payload);
        }
        offsets.push(bytes.len() as u64);
        bytes.extend(frame(payload.len()));
        bytes.extend(payload);
    }
    (bytes, offsets)
}

/// A checkpoint with room for four.
fn checkpoint(dir: &Path, order: i64, head: i32, queue: &[u64], puts: &[i64], takes: &[i64]) {
    let mut longs = vec![0_u64; 1029 + 4];
    longs[0] = 3;
    longs[1] = order.cast_unsigned();
    for (index, offset) in queue.iter().enumerate() {
        longs[1029 + (head.unsigned_abs() as usize + index) % 4] = 1 << 32 | offset;
    }
    let bytes: Vec<u8> = longs.iter().flat_map(|long| long.to_be_bytes()).collect();
    fs::write(dir.join("checkpoint"), bytes).unwrap();
    let mut meta = vec![24];
    put_int(&mut meta, 1, 3);
    put_long(&mut meta, 2, order);
    put_int(&mut meta, 3, (queue.len() as u32).cast_signed());
    put_int(&mut meta, 4, head);
    fs::write(dir.join("checkpoint.meta"), meta).unwrap();
    for (name, longs) in [("inflightputs", puts), ("inflighttakes", takes)] {
        let mut rest: Vec<u8> = longs.iter().flat_map(|long| long.to_be_bytes()).collect();
        rest.extend([0; 16]);
        let mut bytes = Md5::digest(&rest).to_vec();
        bytes.extend(rest);
        fs::write(dir.join(name), bytes).unwrap();
    }
}

#[test]
fn reads_and_writes_the_bytes_of_flume() {
    let golden = unhex(GOLDEN);
    let place = Place::new();
    place.log(1, &golden[..GOLDEN_TAKE]);
    let events: Vec<_> =
        place.read(OnDamage::Stop).unwrap().into_events().map(Result::unwrap).collect();
    assert_eq!(events, [event("hello", &[("host", "h1")])]);
    place.log(1, &golden);
    let queue = place.read(OnDamage::Stop).unwrap();
    let counts = Counts { puts: 1, takes: 1, commits: 2, rollbacks: 1, ..Counts::default() };
    assert_eq!((queue.len(), queue.counts), (0, counts));

    let (transaction, order) = (1_700_000_000_001, 1_700_000_000_010);
    let mut payloads = [const { Vec::new() }; 5];
    encode_put(&mut payloads[0], transaction, order, &events[0]);
    encode_commit(&mut payloads[1], transaction, order + 1, 1);
    encode_take(&mut payloads[2], transaction + 1, order + 2, Pointer(1 << 32));
    encode_commit(&mut payloads[3], transaction + 1, order + 3, 2);
    encode_rollback(&mut payloads[4], transaction + 2, order + 4);
    let written: Vec<u8> =
        payloads.iter().flat_map(|payload| [&frame(payload.len())[..], payload].concat()).collect();
    assert_eq!(written, golden);
}

#[test]
fn replays_as_flume_does() {
    let check = |steps: &[Step], expected: &[&str]| {
        let place = Place::new();
        place.log(1, &log_of(steps, None).0);
        assert_eq!(place.bodies(), expected);
    };
    check(&[Put(1), Put(1), Puts(1)], &["e0", "e1"]);
    // In the order of commits, not of puts.
    check(&[Put(1), Put(2), Puts(2), Puts(1)], &["e1", "e0"]);
    check(&[Put(1), Put(2), Puts(2)], &["e1"]);
    check(&[Put(1), Rollback(1), Put(1), Puts(1)], &["e2"]);
    check(&[Put(1), Put(1), Puts(1), Take(2, 0), Takes(2)], &["e1"]);
    check(&[Put(1), Put(1), Puts(1), Take(2, 1), Takes(2)], &["e0"]);
    check(&[Put(1), Puts(1), Take(2, 0)], &["e0"]);
    check(&[Put(1), Puts(1), Take(2, 0), Rollback(2)], &["e0"]);
    check(&[Put(1), Put(1), Puts(1), Take(2, 0), Take(3, 1), Takes(3), Takes(2)], &[]);
    // A take may be recorded before the commit that it is of.
    check(&[Put(1), Take(2, 0), Takes(2), Puts(1), Put(3), Puts(3)], &["e4"]);
}

#[test]
fn begins_with_a_checkpoint() {
    let steps =
        [Put(1), Put(1), Put(1), Puts(1), Put(2), Take(3, 0), Take(4, 1), Puts(2), Takes(3)];
    let (log, at) = log_of(&steps, None);
    let pointer = |step: usize| 1 << 32 | at[step].cast_signed();
    // Up to step 6: e2 is queued, 2 puts e4, 3 and 4 have taken e0 and e1.
    let (queue, puts) = ([at[2]], [2, 1, pointer(4)]);
    let takes = [3, 1, pointer(0), 4, 1, pointer(1)];
    for (head, position) in [(0, 0), (3, at[7]), (2, at[4]), (1, 7)] {
        let place = Place::new();
        let covered = Covered { position: position.cast_signed(), order: 7 };
        place.log_with(&log, &LogMeta { file_id: 1, checkpoint: covered, ..LogMeta::default() });
        checkpoint(&place.path("c"), 7, head, &queue, &puts, &takes);
        let read = place.read(OnDamage::Stop).unwrap();
        assert_eq!(read.origin, Origin::Checkpoint, "{head}");
        let counts = Counts { from_checkpoint: 1, commits: 2, returned: 1, ..Counts::default() };
        assert_eq!(read.counts, counts, "{head}");
        assert_eq!(bodies(read), ["e1", "e2", "e4"], "{head}");
    }
}

#[test]
fn a_queue_may_wrap_around_the_ring() {
    let (log, at) = log_of(&[Put(1), Put(1), Put(1), Puts(1)], None);
    for head in 0..4 {
        let place = Place::new();
        place.log(1, &log);
        checkpoint(&place.path("c"), 4, head, &at[..3], &[], &[]);
        assert_eq!(place.bodies(), ["e0", "e1", "e2"], "{head}");
    }
}

#[test]
fn a_bad_checkpoint_gives_way() {
    let (log, at) = log_of(&[Put(1), Puts(1), Put(2), Puts(2), Put(3), Puts(3)], None);
    let spoil: [(&str, fn(&Path)); 8] = [
        ("marker", |dir| flip(&dir.join("checkpoint"), 39)),
        ("version", |dir| flip(&dir.join("checkpoint"), 7)),
        ("moment", |dir| flip(&dir.join("checkpoint"), 15)),
        ("place", |dir| flip(&dir.join("checkpoint"), 1029 * 8 + 3)),
        ("sum", |dir| flip(&dir.join("inflighttakes"), 3)),
        ("meta", |dir| fs::write(dir.join("checkpoint.meta"), b"").unwrap()),
        ("gone", |dir| fs::remove_file(dir.join("checkpoint")).unwrap()),
        ("size", |dir| {
            let bytes = fs::read(dir.join("checkpoint")).unwrap();
            fs::write(dir.join("checkpoint"), &bytes[..bytes.len() - 3]).unwrap();
        }),
    ];
    for (name, spoil) in spoil {
        let place = Place::new();
        place.log(1, &log);
        checkpoint(&place.path("c"), 6, 0, &[at[0], at[2], at[4]], &[], &[]);
        assert_eq!(place.read(OnDamage::Stop).unwrap().origin, Origin::Checkpoint);
        spoil(&place.path("c"));
        let read = place.read(OnDamage::Stop).unwrap();
        assert!(matches!(read.origin, Origin::Logs(_)), "{name}: {:?}", read.origin);
        assert_eq!(bodies(read), ["e0", "e2", "e4"], "{name}");

        // In the copy the first event was queued and the second was in flight.
        checkpoint(&place.path("b"), 3, 2, &at[..1], &[2, 1, 1 << 32 | at[2].cast_signed()], &[]);
        fs::write(place.path("b/backupComplete"), b"").unwrap();
        let ring = fs::read(place.path("b/checkpoint")).unwrap();
        for compressed in [false, true] {
            if compressed {
                fs::remove_file(place.path("b/checkpoint")).unwrap();
                fs::write(place.path("b/checkpoint.snappy"), snappy(&ring)).unwrap();
            }
            let read = place.read(OnDamage::Stop).unwrap();
            assert!(matches!(read.origin, Origin::Backup(_)), "{name}: {:?}", read.origin);
            assert_eq!(read.counts.from_checkpoint, 1);
            assert_eq!(bodies(read), ["e0", "e2", "e4"], "{name}");
        }
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for chunk in bytes.chunks(1000) {
        let block = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
        out.extend((block.len() as u32).to_be_bytes());
        out.extend(block);
    }
    out
}

#[test]
fn a_torn_end_is_an_end_and_a_torn_middle_is_damage() {
    let steps = [Put(1), Puts(1), Put(2), Puts(2), Put(3), Puts(3)];
    let (log, at) = log_of(&steps, None);
    let place = Place::new();
    let whole = |cut: usize| {
        [at[2], at[4], log.len() as u64].iter().filter(|&&end| end <= cut as u64).count()
    };
    for cut in 1..=log.len() {
        for fill in [0, 1, 5, 300] {
            for byte in [0x80, 0] {
                let mut bytes = log[..cut].to_vec();
                bytes.extend(vec![byte; fill]);
                place.log(1, &bytes);
                let got = place.bodies();
                assert!(
                    ["e0", "e2", "e4"].starts_with(&got.iter().map(|x| &**x).collect::<Vec<_>>())
                );
                // A commit that lost only zeros is whole again where a hole reads as zeros.
                let most = whole(if byte == 0 { cut + fill } else { cut });
                assert!((whole(cut)..=most).contains(&got.len()), "{cut} {fill} {byte}: {got:?}");
            }
        }
    }
    // The put of e2, with its length right and wrong.
    for spoiled in [at[2] + 1, at[2] + 5, at[2]] {
        let mut bytes = log.clone();
        bytes[spoiled as usize] = 0x55;
        place.log(1, &bytes);
        let stopped = place.read(OnDamage::Stop).unwrap_err();
        assert!(
            stopped.to_string().contains(&format!("log-1 is damaged at byte {}", at[2])),
            "{stopped}"
        );
        let queue = place.read(OnDamage::Skip).unwrap();
        assert_eq!((queue.counts.damaged, queue.damages[0].offset), (1, at[2]));
        assert_eq!(bodies(queue), ["e0", "e4"]);
    }
    // The body of e2: only when it is delivered.
    let mut bytes = log.clone();
    let body = log.windows(2).position(|two| two == b"e2").unwrap();
    bytes[body] ^= 1;
    place.log(1, &bytes);
    let events: Vec<_> = place.read(OnDamage::Stop).unwrap().into_events().collect();
    assert!(
        matches!(&events[..], [Ok(_), Err(Error::Damaged(at_e2)), Ok(_)] if at_e2.offset == at[2])
    );
    // Struck out by the integrity tool.
    let mut bytes = log.clone();
    bytes[at[2] as usize] = 0;
    place.log(1, &bytes);
    let queue = place.read(OnDamage::Stop).unwrap();
    assert_eq!((queue.counts.struck_out, queue.counts.damaged), (1, 0));
    assert_eq!(bodies(queue), ["e0", "e4"]);
}

#[test]
fn no_flipped_bit_makes_a_wrong_event() {
    let steps =
        [Put(1), Put(1), Puts(1), Take(2, 0), Takes(2), Put(3), Rollback(3), Put(4), Puts(4)];
    let place = Place::new();
    for cipher in [None, Some(Cipher::from_parts(&KEY, &[9; 16]).unwrap())] {
        let (log, _) = log_of(&steps, cipher.as_ref());
        let encryption = cipher.map(|_| Encryption {
            cipher: "AESCTRNOPADDING".into(),
            alias: "key-0".into(),
            vector: vec![9; 16],
        });
        let meta = LogMeta { file_id: 1, encryption, ..LogMeta::default() };
        let known: HashSet<_> = ["e0", "e1", "e5", "e7"].map(str::as_bytes).into();
        // One bit of each byte, another for the next.
        for bit in (0..log.len() * 8).step_by(9) {
            let mut bytes = log.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            place.log_with(&bytes, &meta);
            for event in place.read(OnDamage::Skip).unwrap().into_events() {
                match event {
                    Ok(event) => assert!(known.contains(&event.body[..]), "{bit}: {event:?}"),
                    Err(error) => assert!(matches!(error, Error::Damaged(_)), "{bit}: {error}"),
                }
            }
        }
    }
}

/// Version 2: no `.meta`, a header, no lengths.
#[test]
fn reads_version_2() {
    let mut log = Vec::new();
    log.extend(2_i32.to_be_bytes());
    log.extend(1_i32.to_be_bytes());
    log.extend([0; 16]);
    let record = |log: &mut Vec<u8>, kind: i16, transaction: i64, order: i64| {
        let at = log.len();
        log.push(0x7f);
        log.extend([0xde, 0xad, 0xbe, 0xef]);
        log.extend(kind.to_be_bytes());
        log.extend(transaction.to_be_bytes());
        log.extend(order.to_be_bytes());
        at
    };
    let long = "v".repeat(300);
    let mut puts = Vec::new();
    for (order, body) in [(1, "first"), (2, "second"), (3, "")] {
        puts.push(record(&mut log, 1, 7, order));
        log.extend([1, 0x81, 0, 1, b'x']);
        log.extend(1_i32.to_be_bytes());
        log.extend([0x8c, 4, b'h', b'o', b's', b't', 0x8c, 0x8e, 1, 44]);
        log.extend(long.as_bytes());
        let length = if body.is_empty() { u32::MAX } else { body.len() as u32 };
        log.extend(length.to_be_bytes());
        log.extend(body.as_bytes());
    }
    // One write-order id for the last put and the commit, as Flume 1.2 could give.
    record(&mut log, 4, 7, 3);
    log.extend(1_i16.to_be_bytes());
    record(&mut log, 2, 8, 4);
    log.extend((puts[0] as u32).to_be_bytes());
    log.extend(1_i32.to_be_bytes());
    record(&mut log, 4, 8, 5);
    log.extend(2_i16.to_be_bytes());
    let place = Place::new();
    let whole = log.len();
    log.extend([0x80; 500]);
    fs::write(place.path("d/log-1"), &log).unwrap();
    let events: Vec<_> =
        place.read(OnDamage::Stop).unwrap().into_events().map(Result::unwrap).collect();
    assert_eq!(events, [event("second", &[("host", &long)]), event("", &[("host", &long)])]);
    for cut in 24..whole {
        fs::write(place.path("d/log-1"), &log[..cut]).unwrap();
        place.read(OnDamage::Stop).unwrap();
    }
    let record = Layout::V2.record(&log[puts[1]..], (log.len() - puts[1]) as u64);
    assert!(matches!(record, Ok((Some(record), _)) if record.kind == Kind::Put));
}

#[test]
fn what_is_written_is_read() {
    let texts = ["", "x", "grün 🦀", &"long ".repeat(1000)];
    let events: Vec<Event> = (0..1000)
        .map(|n: usize| {
            let headers = [("n", n.to_string()), (texts[n % 3], texts[n % 4].to_owned())];
            let body = Bytes::from(format!("{n}{}", texts[n % 4]));
            Event { headers: headers.into_iter().take(n % 3).collect(), body }
        })
        .collect();
    for (directories, log_bytes, transaction_events) in
        [(1, u64::MAX, 10_000), (1, 20_000, 7), (3, 30_000, 10), (2, u64::MAX, 0)]
    {
        let dir = TempDir::new().unwrap();
        let data: Vec<_> = (0..directories).map(|n| dir.path().join(format!("d{n}"))).collect();
        let (check, limits) = (dir.path().join("c"), Limits { log_bytes, transaction_events });
        let all = || events.iter().cloned().map(Ok::<_, Error>);
        let written = write(&check, &data, limits, all()).unwrap();
        let channel = FlumeChannel::find(&check, None, &data).unwrap().unwrap();
        assert_eq!((written.events, written.bytes), (1000, channel.bytes()));
        assert_eq!(written.logs, channel.logs() as u64);
        assert!(log_bytes > 1_000_000 || written.logs > 3);
        let mut last = None;
        let queue = channel.read(None, OnDamage::Stop, &mut |at| last = Some(at)).unwrap();
        assert_eq!(last, Some(Progress { done_bytes: written.bytes, all_bytes: written.bytes }));
        assert_eq!(queue.may_repeat, directories > 1);
        let read: Vec<_> = queue.into_events().map(Result::unwrap).collect();
        assert!(read == events, "{directories} {log_bytes}");

        let again = write(&check, &data, limits, all());
        assert!(matches!(again, Err(Error::Target { .. })), "{again:?}");
    }
}

#[test]
fn an_export_that_was_cut_off_is_no_channel() {
    let place = Place::new();
    let events = [Ok(event("x", &[])), Err(Error::TooLarge { bytes: 0, limit_bytes: 0 })];
    write(&place.path("c"), &[place.path("d")], Limits::default(), events).unwrap_err();
    assert!(place.path("d/log-1").is_file());
    let refused = place.find().unwrap_err();
    assert!(refused.to_string().contains("has no .meta"), "{refused}");
    let small = Limits { log_bytes: 100, ..Limits::default() };
    let large = [Ok::<_, Error>(event(&"x".repeat(100), &[]))];
    let refused = write(&place.path("c"), &[place.path("e")], small, large).unwrap_err();
    assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
}

#[test]
fn finds_a_channel_or_says_what_is_wrong() {
    let (log, _) = log_of(&[Put(1), Puts(1)], None);
    let none = Place::new();
    assert!(none.find().unwrap().is_none());
    fs::write(none.path("d/segment-1"), b"ours").unwrap();
    fs::write(none.path("d/log-x"), b"foreign").unwrap();
    fs::write(none.path("d/log-1"), b"").unwrap();
    fs::write(none.path("c/checkpoint"), b"ours or not").unwrap();
    assert!(none.find().unwrap().is_none());
    let missing = FlumeChannel::find(&none.path("x"), None, &[none.path("y")]);
    assert!(missing.unwrap().is_none());

    let refused = |place: &Place| place.find().unwrap_err().to_string();
    let place = Place::new();
    fs::write(place.path("d/log-1"), &log).unwrap();
    assert!(refused(&place).contains("has no .meta"), "{}", refused(&place));
    fs::write(place.path("d/log-1.meta"), b"").unwrap();
    assert!(refused(&place).contains("has a .meta that"), "{}", refused(&place));
    let meta = LogMeta { file_id: 2, ..LogMeta::default() };
    fs::write(place.path("d/log-1.meta"), meta.encode()).unwrap();
    assert!(refused(&place).contains("says that its number is 2"), "{}", refused(&place));
    // What a crash may leave of it.
    fs::rename(place.path("d/log-1.meta"), place.path("d/log-1.meta.old")).unwrap();
    assert!(refused(&place).contains("says that its number is 2"), "{}", refused(&place));
    place.log(1, &log);
    let twice = FlumeChannel::find(&place.path("c"), None, &[place.path("d"), place.path("d")]);
    assert!(matches!(twice, Err(Error::Twice { .. })));
    // A pointer to a log that is gone.
    checkpoint(&place.path("c"), 9, 0, &[0], &[], &[]);
    fs::rename(place.path("d/log-1"), place.path("log-1")).unwrap();
    let events: Vec<_> = place.read(OnDamage::Stop).unwrap().into_events().collect();
    let [Err(gone)] = &events[..] else { panic!("{events:?}") };
    assert!(gone.to_string().contains("log-1"), "{gone}");
}

/// `cargo test --release -p splashdam-components -- --ignored --nocapture import_speed`
#[test]
#[ignore = "measures, and needs 600 MB of disk"]
fn import_speed() {
    const EVENTS: u64 = 1_000_000;
    let dir = TempDir::new().unwrap();
    let (check, data) = (dir.path().join("c"), [dir.path().join("d")]);
    let one = event(&"x".repeat(512), &[("host", "h1")]);
    let all = (0..EVENTS).map(|_| Ok::<_, Error>(one.clone()));
    let began = std::time::Instant::now();
    write(&check, &data, Limits::default(), all).unwrap();
    println!("written in {:?}", began.elapsed());
    let began = std::time::Instant::now();
    let channel = FlumeChannel::find(&check, None, &data).unwrap().unwrap();
    let queue = channel.read(None, OnDamage::Stop, &mut |_| {}).unwrap();
    println!("replayed in {:?}", began.elapsed());
    let began = std::time::Instant::now();
    assert_eq!(
        queue.into_events().filter(|read| read.as_ref().is_ok_and(|read| *read == one)).count()
            as u64,
        EVENTS
    );
    println!("delivered in {:?}", began.elapsed());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
}
