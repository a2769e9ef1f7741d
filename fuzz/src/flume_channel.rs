//! A directory of Flume's file channel with anything in its files: nothing panics, no event comes from nowhere, and no
//! more is kept in memory than the files hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use splashdam_components::channels::file::flume::{Error, FlumeChannel, OnDamage};
use splashdam_components::jceks::SecretKey;

/// Files, in the order in which they lie in the input.
const FILES: [&str; 7] = [
    "log-1",
    "log-1.meta",
    "log-2",
    "log-2.meta",
    "checkpoint.meta",
    "inflighttakes",
    "checkpoint.snappy",
];

/// Reads the input as seven files, each behind its length of two bytes; an empty one is not there. A file `checkpoint`
/// is made of the eighth: longs of two bytes, the first five of the header and the rest of the ring.
pub fn directory(mut input: &[u8]) {
    static PLACE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        made.expect("a temporary directory")
    });
    // One directory a thread, as the seeds run beside each other when they are tests.
    let place = PLACE.path().join(format!("{:?}", std::thread::current().id()));
    fs::create_dir_all(&place).expect("a directory");
    let mut bytes = 0;
    for name in FILES {
        let file = next(&mut input);
        bytes += file.len();
        put(&place.join(name), file);
    }
    let ring = checkpoint(input);
    put(&place.join("checkpoint"), &ring);
    read(&place, (bytes + ring.len()) as u64);
}

fn next<'a>(input: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, rest)) = input.split_first_chunk::<2>() else { return &[] };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (file, rest) = rest.split_at(length);
    *input = rest;
    file
}

fn put(path: &PathBuf, bytes: &[u8]) {
    if bytes.is_empty() {
        fs::remove_file(path).ok();
    } else {
        fs::write(path, bytes).expect("room for a file");
    }
}

fn checkpoint(input: &[u8]) -> Vec<u8> {
    if input.len() < 12 {
        return Vec::new();
    }
    let mut longs: Vec<u64> =
        input.as_chunks::<2>().0.iter().map(|two| u64::from(u16::from_le_bytes(*two))).collect();
    let ring = longs.split_off(5);
    longs.resize(1029, 0);
    // The high byte is the number of the log.
    longs.extend(ring.iter().map(|long| (long >> 8) << 32 | long & 0xff));
    longs.iter().flat_map(|long| long.to_be_bytes()).collect()
}

fn read(place: &Path, bytes: u64) {
    let key = |alias: &str| {
        let key = (!alias.is_empty()).then(|| vec![7; [16, 24, 32, 5][alias.len() % 4]]);
        Ok(key.map(|bytes| SecretKey { algorithm: "AES".to_owned(), bytes }))
    };
    let Ok(Some(channel)) = FlumeChannel::find(place, None, &[place.to_owned()]) else { return };
    let read = |on_damage| channel.read(Some(&key), on_damage, &mut |_| {});
    let stopped = read(OnDamage::Stop);
    let queue = match read(OnDamage::Skip) {
        Ok(queue) => queue,
        Err(error) => {
            assert!(!matches!(error, Error::Damaged(_)), "{error}");
            return;
        }
    };
    assert_eq!(stopped.is_err(), queue.counts.damaged > 0);
    assert!(queue.len() as u64 <= bytes / 8);
    let length = queue.len();
    let mut events = queue.into_events();
    let mut seen = 0;
    for event in events.by_ref() {
        seen += 1;
        match event {
            Ok(event) => assert!(event.body.len() as u64 <= bytes),
            Err(Error::Damaged(damage)) => assert!(!damage.to_string().is_empty()),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(events.struck_out() + seen, length as u64);
}
