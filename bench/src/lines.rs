//! Log lines of about 200 bytes, of several kinds and lengths, the same for the same seed everywhere.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

const METHODS: &[&str] = &["GET", "GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD"];
const STATUSES: &[u16] = &[200, 200, 200, 200, 200, 201, 204, 301, 304, 400, 404, 500, 503];
const LEVELS: &[&str] = &["INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR"];
const PATHS: &[&str] =
    &["/api/v2/orders", "/static/app.css", "/search", "/account/settings", "/cart", "/health"];
const CLASSES: &[&str] = &[
    "com.example.shop.checkout.PaymentService",
    "com.example.shop.catalog.SearchIndexer",
    "com.example.auth.TokenFilter",
    "org.example.http.ConnectionPool",
];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Version/17.4 Mobile Safari/604.1",
    "curl/8.5.0",
    "okhttp/4.12.0",
];
const WORDS: &[&str] = &[
    "retrying",
    "upstream",
    "connection",
    "timed",
    "out",
    "after",
    "customer",
    "session",
    "expired",
    "cache",
    "miss",
    "for",
    "key",
    "queue",
    "depth",
    "flushed",
    "segment",
    "gr\u{f6}\u{df}e",
    "na\u{ef}ve",
    "\u{2192}",
];

/// Writes `count` lines to a new file and answers its size in bytes.
pub(crate) fn write(path: &Path, seed: u64, count: u64) -> io::Result<u64> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut dice = Dice(seed);
    let mut line = Vec::with_capacity(1024);
    let mut bytes = 0;
    for number in 0..count {
        line.clear();
        match dice.below(10) {
            0..6 => access(&mut line, &mut dice, number)?,
            6..9 => application(&mut line, &mut dice, number)?,
            _ => json(&mut line, &mut dice, number)?,
        }
        line.push(b'\n');
        bytes += line.len() as u64;
        file.write_all(&line)?;
    }
    file.into_inner()?.sync_all()?;
    Ok(bytes)
}

fn access(line: &mut Vec<u8>, dice: &mut Dice, number: u64) -> io::Result<()> {
    let (a, b, c) = (dice.below(256), dice.below(256), dice.below(254) + 1);
    write!(line, "10.{a}.{b}.{c} - - [01/May/2024:")?;
    clock(line, number)?;
    let (method, path) = (dice.pick(METHODS), dice.pick(PATHS));
    let (item, page) = (dice.below(1_000_000), dice.below(50));
    write!(line, " +0000] \"{method} {path}/{item}?page={page} HTTP/1.1\"")?;
    let (status, size, agent) = (dice.pick(STATUSES), dice.below(65_536), dice.pick(AGENTS));
    write!(line, " {status} {size} \"https://shop.example.com{path}\" \"{agent}\"")
}

fn application(line: &mut Vec<u8>, dice: &mut Dice, number: u64) -> io::Result<()> {
    write!(line, "2024-05-01T")?;
    clock(line, number)?;
    let (level, class, thread) = (dice.pick(LEVELS), dice.pick(CLASSES), dice.below(64));
    write!(line, ".{:03}Z {level:<5} [worker-{thread}] {class} -", dice.below(1000))?;
    for _ in 0..dice.below(24) + 4 {
        write!(line, " {}", dice.pick(WORDS))?;
    }
    write!(line, " id={:016x} took={}ms", dice.next(), dice.below(5000))
}

fn json(line: &mut Vec<u8>, dice: &mut Dice, number: u64) -> io::Result<()> {
    write!(line, "{{\"time\":\"2024-05-01T")?;
    clock(line, number)?;
    let (level, class) = (dice.pick(LEVELS), dice.pick(CLASSES));
    write!(
        line,
        "Z\",\"level\":\"{level}\",\"logger\":\"{class}\",\"trace\":\"{:016x}\",\"words\":[",
        dice.next()
    )?;
    for word in 0..dice.below(12) + 1 {
        let comma = if word == 0 { "" } else { "," };
        write!(line, "{comma}\"{}\"", dice.pick(WORDS))?;
    }
    write!(line, "],\"sequence\":{number}}}")
}

fn clock(line: &mut Vec<u8>, number: u64) -> io::Result<()> {
    let second = number / 100 % 86_400;
    write!(line, "{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// SplitMix64, by Steele, Lea and Flood: small, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        // The remainder is below the length, so it fits.
        from[usize::try_from(self.below(from.len() as u64)).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::write;

    #[test]
    fn same_seed_same_lines_of_about_200_bytes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let made = |name: &str, seed| {
            let path = dir.path().join(name);
            let bytes = write(&path, seed, 10_000).expect("writable");
            let text = fs::read_to_string(&path).expect("UTF-8");
            assert_eq!(text.len() as u64, bytes);
            text
        };
        let one = made("one", 1);
        assert_eq!(one, made("again", 1));
        assert_ne!(one, made("other", 2));
        assert_eq!(one.lines().count(), 10_000);
        let mean = one.len() / 10_000;
        assert!((180..=220).contains(&mean), "{mean} bytes a line");
        let lengths: std::collections::BTreeSet<usize> = one.lines().map(str::len).collect();
        assert!(lengths.len() > 100, "{} different lengths", lengths.len());
    }
}
