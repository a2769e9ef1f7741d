//! What a `file_roll` sink left in its directory, in the order in which it wrote.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The files of a directory in the order they were opened: names are `<milliseconds>-<n>`, both grow.
/// Sub-directories and hidden files are left out.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && !name.starts_with('.') {
            found.push((order(&name), name, entry.path()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, _, path)| path).collect())
}

/// All bytes of a directory's files, in order.
pub fn bytes(dir: &Path) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for file in files(dir)? {
        File::open(&file)?.read_to_end(&mut all)?;
    }
    Ok(all)
}

/// The number of bytes in a directory's files, from their sizes alone.
pub fn size_bytes(dir: &Path) -> Result<u64> {
    let sizes = files(dir)?.into_iter().map(|file| fs::metadata(file).map(|found| found.len()));
    Ok(sizes.sum::<io::Result<u64>>()?)
}

/// All lines of a directory's files, in order; bytes that are not UTF-8 are shown escaped.
pub fn lines(dir: &Path) -> Result<Vec<String>> {
    let all = bytes(dir)?;
    let mut lines: Vec<String> = all.split(|byte| *byte == b'\n').map(shown).collect();
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    Ok(lines)
}

/// The first offset at which the concatenated files of `wanted` and `found` differ, or `None` if they are the same.
/// Reads in blocks: the files may be larger than memory.
pub fn first_difference(wanted: &[PathBuf], found: &[PathBuf]) -> Result<Option<u64>> {
    let (mut wanted, mut found) = (Chain::new(wanted), Chain::new(found));
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut offset = 0;
    loop {
        let (read, other) = (wanted.fill(&mut left)?, found.fill(&mut right)?);
        let same =
            left[..read].iter().zip(&right[..other]).take_while(|(one, two)| one == two).count();
        offset += same as u64;
        if same < read || same < other {
            return Ok(Some(offset));
        }
        if read == 0 {
            return Ok(None);
        }
    }
}

struct Chain<'a> {
    rest: std::slice::Iter<'a, PathBuf>,
    open: Option<File>,
}

impl<'a> Chain<'a> {
    fn new(files: &'a [PathBuf]) -> Chain<'a> {
        Chain { rest: files.iter(), open: None }
    }

    /// Fills the block as far as the files go.
    fn fill(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < block.len() {
            if self.open.is_none() {
                let Some(next) = self.rest.next() else { break };
                self.open = Some(File::open(next)?);
            }
            let read = self.open.as_mut().map_or(Ok(0), |file| file.read(&mut block[filled..]))?;
            if read == 0 {
                self.open = None;
            }
            filled += read;
        }
        Ok(filled)
    }
}

fn order(name: &str) -> Option<(u64, u64)> {
    let (stem, _) = name.split_once('.').unwrap_or((name, ""));
    let (at, number) = stem.rsplit_once('-')?;
    Some((at.parse().ok()?, number.parse().ok()?))
}

fn shown(line: &[u8]) -> String {
    match std::str::from_utf8(line) {
        Ok(text) => text.to_owned(),
        Err(_) => line.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{bytes, files, first_difference};

    #[test]
    fn orders_by_number_and_finds_differences() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (name, body) in
            [("1700-10", "c\n"), ("1700-9", "b\n"), ("999-1", "a\n"), (".hidden-1", "x")]
        {
            fs::write(dir.path().join(name), body).expect("writing a sample");
        }
        assert_eq!(bytes(dir.path()).expect("readable"), b"a\nb\nc\n");
        let found = files(dir.path()).expect("readable");
        let wanted = tempfile::tempdir().expect("a temporary directory");
        let check = |body: &str, difference| {
            let whole = wanted.path().join("whole");
            fs::write(&whole, body).expect("writing a sample");
            assert_eq!(
                first_difference(&[whole], &found).expect("readable"),
                difference,
                "{body:?}"
            );
        };
        check("a\nb\nc\n", None);
        check("a\nb\nc\nd", Some(6));
        check("a\nb\n", Some(4));
        check("a\nX\nc\n", Some(2));
        check("", Some(0));
    }
}
