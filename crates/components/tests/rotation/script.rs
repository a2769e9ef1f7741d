//! What happens to a directory of logs: appends and rotations of every kind, from one seed.
//!
//! It knows nothing of who reads the logs, so that the same script can be played to any agent.
//! `logs/` holds them; each line names its log and its number. Patterns to follow:
//! `[acdf]\w*\.log(\.\d+)?` and `[be]\.log`.
//!
//! What nobody could read is not asked for: before a name or content goes for good, what was
//! written to it is given time ([`Reader::settle`]), but for a few last lines, for which a reader
//! must still hold the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whoever reads the logs.
pub(crate) trait Reader {
    /// Stops it and starts it again; `meanwhile` happens while it is stopped.
    fn restart(&mut self, meanwhile: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()>;
    /// Whether it is killed and not stopped, so that what only an open file of its own had is gone.
    fn is_killed(&self) -> bool {
        false
    }
    /// Waits until it can be expected to have read `lines` lines in all. An error ends the script.
    fn settle(&mut self, lines: u64) -> io::Result<()>;
}

/// What was written and done.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Complete lines, by log.
    pub(crate) lines: Vec<(String, u64)>,
    /// How often each kind of rotation happened.
    pub(crate) renames_within: u64,
    pub(crate) renames_out: u64,
    pub(crate) copytruncates: u64,
    pub(crate) recreations: u64,
    pub(crate) link_swaps: u64,
    pub(crate) name_swaps: u64,
    pub(crate) restarts: u64,
    pub(crate) partial_lines: u64,
}

impl Written {
    /// Complete lines in all.
    pub(crate) fn total(&self) -> u64 {
        self.lines.iter().map(|(_, n)| n).sum()
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// A log and the program that writes it.
struct Log {
    name: &'static str,
    path: PathBuf,
    file: File,
    lines: u64,
    /// The rest of a line whose beginning is written.
    rest: Vec<u8>,
}

/// The logs, in this order.
const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f1", "f2"];

struct Stage {
    dir: PathBuf,
    dice: Dice,
    logs: Vec<Log>,
    written: Written,
    targets: u64,
    /// Whether `b.log` was there, with lines, when all was read last: one that loses its name
    /// before anybody could see it is not to be found.
    b_was_seen: bool,
    /// Whether lines were written to files without a name since all was read last.
    nameless: bool,
}

/// Plays `steps` steps in `dir` and says what was written.
pub(crate) fn play(
    dir: &Path,
    seed: u64,
    steps: u64,
    reader: &mut dyn Reader,
) -> io::Result<Written> {
    let mut stage = Stage::new(dir, seed)?;
    for _ in 0..steps {
        match stage.dice.below(20) {
            0 => stage.rotate_any(reader)?,
            1 if stage.dice.below(3) == 0 => stage.restart(reader)?,
            _ => stage.append_any()?,
        }
        let pause = stage.dice.below(8);
        if pause < 3 {
            std::thread::sleep(Duration::from_millis(pause * pause));
        }
    }
    stage.complete_all()?;
    stage.settle(reader)?;
    stage.written.lines = stage.logs.iter().map(|l| (l.name.to_owned(), l.lines)).collect();
    Ok(stage.written)
}

fn appending(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Log {
    fn append(&mut self, dice: &mut Dice, count: u64, partial: bool) -> io::Result<()> {
        let mut text = std::mem::take(&mut self.rest);
        for _ in 0..count {
            let padding = usize::try_from(dice.below(280)).unwrap_or(0);
            writeln!(text, "{} {} {:x<padding$}", self.name, self.lines, "")?;
            self.lines += 1;
        }
        if partial && text.len() > 1 {
            let at = 1 + usize::try_from(dice.below(text.len() as u64 - 1)).unwrap_or(0);
            let at =
                text[..at].iter().rposition(|b| *b == b'\n').map_or(at, |line| at.max(line + 2));
            // Only the last line may be in parts.
            let last =
                text[..text.len() - 1].iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
            let at = at.max(last + 1).min(text.len() - 1);
            self.rest = text.split_off(at);
        }
        self.file.write_all(&text)
    }

    fn complete(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        self.file.write_all(&rest)
    }

    fn numbered(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }
}

impl Stage {
    fn new(dir: &Path, seed: u64) -> io::Result<Self> {
        let dir = dir.join("logs");
        fs::create_dir_all(dir.join("targets"))?;
        let mut logs = Vec::new();
        for name in NAMES {
            let path = dir.join(format!("{name}.log"));
            if name == "e" {
                File::create(dir.join("targets/0"))?;
                std::os::unix::fs::symlink(dir.join("targets/0"), &path)?;
            }
            let file = appending(&path)?;
            logs.push(Log { name, path, file, lines: 0, rest: Vec::new() });
        }
        Ok(Stage {
            dir,
            dice: Dice(seed),
            logs,
            written: Written::default(),
            targets: 0,
            b_was_seen: false,
            nameless: false,
        })
    }

    fn append_any(&mut self) -> io::Result<()> {
        let index = usize::try_from(self.dice.below(NAMES.len() as u64)).unwrap_or(0);
        let most = if self.dice.below(10) == 0 { 2000 } else { 40 };
        self.append(index, most)
    }

    fn append(&mut self, index: usize, most: u64) -> io::Result<()> {
        let count = 1 + self.dice.below(most);
        let partial = self.dice.below(4) == 0;
        self.written.partial_lines += u64::from(partial);
        self.logs[index].append(&mut self.dice, count, partial)
    }

    fn complete_all(&mut self) -> io::Result<()> {
        self.logs.iter_mut().try_for_each(Log::complete)
    }

    /// Lines that stand in files completely.
    fn complete_lines(&self) -> u64 {
        self.logs.iter().map(|l| l.lines - u64::from(!l.rest.is_empty())).sum()
    }

    fn settle(&mut self, reader: &mut dyn Reader) -> io::Result<()> {
        self.b_was_seen |= fs::metadata(&self.logs[1].path)?.len() > 300;
        let lines = self.complete_lines();
        reader.settle(lines).map_err(|error| {
            let lines: Vec<_> = self.logs.iter().map(|l| (l.name, l.lines, l.rest.len())).collect();
            io::Error::other(format!("{error}, after {:?}: {lines:?}", self.written))
        })?;
        self.nameless = false;
        Ok(())
    }

    fn restart(&mut self, reader: &mut dyn Reader) -> io::Result<()> {
        self.written.restarts += 1;
        if self.nameless && reader.is_killed() {
            self.settle(reader)?;
        }
        reader.restart(&mut || {
            // What happens while nobody looks; no name or content goes for good.
            for _ in 0..self.dice.below(6) {
                match self.dice.below(8) {
                    0 => self.rename_within()?,
                    1 if self.b_was_seen => self.rename_out()?,
                    2 => self.copytruncate()?,
                    3 => self.swap_names()?,
                    _ => self.append_any()?,
                }
            }
            Ok(())
        })
    }

    fn rotate_any(&mut self, reader: &mut dyn Reader) -> io::Result<()> {
        match self.dice.below(7) {
            0 => self.rename_within(),
            1 => {
                self.append(1, 20)?;
                self.settle(reader)?;
                if self.b_was_seen { self.rename_out() } else { Ok(()) }
            }
            2 => self.copytruncate(),
            3 => self.recreate(reader),
            4 => self.swap_link(reader),
            5 => self.swap_names(),
            _ => self.drop_oldest(reader),
        }
    }

    /// `a.log` becomes `a.log.1`; its writer goes on in the old file for a while.
    fn rename_within(&mut self) -> io::Result<()> {
        self.written.renames_within += 1;
        self.shift(0)?;
        let first = self.logs[0].numbered(1);
        fs::rename(&self.logs[0].path, &first)?;
        if self.dice.below(2) == 0 {
            self.append(0, 20)?;
        }
        self.logs[0].complete()?;
        self.logs[0].file = appending(&self.logs[0].path)?;
        Ok(())
    }

    /// `b.log` becomes `old-b.n`.
    fn rename_out(&mut self) -> io::Result<()> {
        self.written.renames_out += 1;
        let old = self.dir.join(format!("old-b.{}", self.written.renames_out));
        fs::rename(&self.logs[1].path, old)?;
        if self.dice.below(2) == 0 {
            self.append(1, 20)?;
        }
        self.logs[1].complete()?;
        self.logs[1].file = appending(&self.logs[1].path)?;
        self.b_was_seen = false;
        Ok(())
    }

    /// `c.log` is copied to `c.log.1`, at once or bit by bit, and emptied.
    fn copytruncate(&mut self) -> io::Result<()> {
        self.written.copytruncates += 1;
        self.logs[2].complete()?;
        self.shift(2)?;
        let (from, to) = (self.logs[2].path.clone(), self.logs[2].numbered(1));
        if self.dice.below(3) == 0 {
            let (mut from, mut to) = (File::open(&from)?, File::create(&to)?);
            let mut part = vec![0; 20_000];
            loop {
                let n = from.read(&mut part)?;
                if n == 0 {
                    break;
                }
                to.write_all(&part[..n])?;
                std::thread::sleep(Duration::from_millis(self.dice.below(4)));
            }
        } else {
            fs::copy(&from, &to)?;
        }
        self.logs[2].file.set_len(0)?;
        if self.dice.below(2) == 0 {
            self.append(2, 3000)?;
        }
        Ok(())
    }

    /// `d.log` is removed with a few lines that only a reader who holds it can see, and made anew,
    /// mostly with the same inode.
    fn recreate(&mut self, reader: &mut dyn Reader) -> io::Result<()> {
        self.written.recreations += 1;
        self.append(3, 20)?;
        self.settle(reader)?;
        self.append(3, 20)?;
        self.logs[3].complete()?;
        fs::remove_file(&self.logs[3].path)?;
        self.nameless = true;
        self.logs[3].file = appending(&self.logs[3].path)?;
        self.append(3, 100)
    }

    /// `e.log` leads to another file; the old one got a few last lines.
    fn swap_link(&mut self, reader: &mut dyn Reader) -> io::Result<()> {
        self.written.link_swaps += 1;
        self.append(4, 20)?;
        self.settle(reader)?;
        self.append(4, 20)?;
        self.logs[4].complete()?;
        self.targets += 1;
        self.nameless = true;
        let target = self.dir.join(format!("targets/{}", self.targets));
        self.logs[4].file = appending(&target)?;
        let aside = self.dir.join("aside");
        std::os::unix::fs::symlink(&target, &aside)?;
        fs::rename(&aside, &self.logs[4].path)?;
        self.append(4, 100)
    }

    /// `f1.log` and `f2.log` change names.
    fn swap_names(&mut self) -> io::Result<()> {
        self.written.name_swaps += 1;
        let aside = self.dir.join("aside");
        let (one, two) = (self.dir.join("f1.log"), self.dir.join("f2.log"));
        fs::rename(&one, &aside)?;
        fs::rename(&two, &one)?;
        fs::rename(&aside, &two)
    }

    /// Numbered files of a log move up by one.
    fn shift(&mut self, index: usize) -> io::Result<()> {
        let log = &self.logs[index];
        let last = (1..).find(|n| !log.numbered(*n).exists()).unwrap_or(1);
        for n in (1..last).rev() {
            fs::rename(log.numbered(n), log.numbered(n + 1))?;
        }
        Ok(())
    }

    /// Numbered files beyond the third go, once they are read.
    fn drop_oldest(&mut self, reader: &mut dyn Reader) -> io::Result<()> {
        self.settle(reader)?;
        for index in [0, 2] {
            let log = &self.logs[index];
            let mut n = 4;
            while log.numbered(n).exists() {
                fs::remove_file(log.numbered(n))?;
                n += 1;
            }
        }
        for n in 1..=self.written.renames_out {
            let old = self.dir.join(format!("old-b.{n}"));
            if old.exists() {
                fs::remove_file(old)?;
            }
        }
        Ok(())
    }
}
