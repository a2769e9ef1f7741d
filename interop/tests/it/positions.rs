//! Taildir's position file: what one agent wrote, the other goes on from.

use std::fs::{self, File};
use std::io::Write;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use splashdam_interop::{Make, TailRig};

use crate::side_by_side::{LIMIT, pair};

#[test]
fn flume_to_ours() {
    if let Some(([flume, ours], _turn)) = pair() {
        hand_over(&flume, &ours).expect("the lines of both agents together are the file's");
    }
}

#[test]
fn ours_to_flume() {
    if let Some(([flume, ours], _turn)) = pair() {
        hand_over(&ours, &flume).expect("the lines of both agents together are the file's");
    }
}

fn hand_over(first: &Make, second: &Make) -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("logs"))?;
    // Gson escapes `=` and `'` in names.
    let paths = ["plain.log", "odd='1'.log"].map(|name| dir.path().join("logs").join(name));
    let append = |from: u32, to: u32, rest: &str| -> Result<()> {
        for path in &paths {
            let mut file = File::options().create(true).append(true).open(path)?;
            let stem = path.file_stem().context("a name")?.to_string_lossy();
            for number in from..to {
                writeln!(file, "{stem} {number}")?;
            }
            file.write_all(rest.as_bytes())?;
        }
        Ok(())
    };
    append(0, 5, "part")?;
    let mut rig = TailRig::start(first, dir.path(), "")?;
    rig.wait_for(10, LIMIT)?;
    rig.stop()?;

    let written: Vec<Value> = serde_json::from_slice(&fs::read(rig.positions())?)?;
    ensure!(written.len() == 2, "two positions were expected: {written:?}");
    for entry in &written {
        let keys: Vec<&str> =
            entry.as_object().context("an object")?.keys().map(String::as_str).collect();
        ensure!(keys == ["inode", "pos", "file"], "{keys:?}");
        let file = entry["file"].as_str().context("a path")?;
        let part = u64::try_from("part".len())?;
        ensure!(entry["pos"].as_u64() == Some(fs::metadata(file)?.len() - part), "{entry}");
    }

    append(5, 6, "ial\n")?;
    append(6, 8, "")?;
    rig.hand_over(second)?;
    rig.wait_for(8, LIMIT)?;
    rig.stop()?;
    let mut found = rig.lines()?;
    found.sort();
    let mut wanted: Vec<String> = Vec::new();
    for path in &paths {
        wanted.extend(fs::read_to_string(path)?.lines().map(str::to_owned));
    }
    wanted.sort();
    ensure!(found == wanted, "found {found:?}, wanted {wanted:?}");
    Ok(())
}
