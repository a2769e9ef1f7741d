//! The sources, each into a `file_roll` sink: the same bytes in, the same bytes out.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result};
use splashdam_interop::Agent;

use crate::side_by_side::{
    Case, LIMIT, Site, channel_and_sink, compare, contrast, first_sink, only_watch, wait_for,
};

const NETCAT: &str = "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = netcat
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
";

#[test]
fn netcat_lines_and_answers() {
    // Each is a connection of its own: the bytes sent before the end of stream.
    let overlong = "x".repeat(512);
    let fits = format!("{}\n", "y".repeat(511));
    let connections: [&[u8]; 8] = [
        b"one\ntwo\n",
        b"with cr\r\nwithout\n",
        b"\n\n",
        "h\u{e9}llo \u{4e16}\u{754c} \u{1f30a}\n".as_bytes(),
        b"kept\ndropped, for it has no end",
        fits.as_bytes(),
        b"before\n",
        overlong.as_bytes(),
    ];
    let config = channel_and_sink(1, "text") + NETCAT;
    let case = Case { config: &config, delivered: &[("k1", 10)] };
    let drive = |site: &Site, _: &mut Agent| -> Result<Vec<String>> {
        connections.iter().map(|bytes| converse(site.port, bytes)).collect()
    };
    let Some((answers, lines)) = compare(&case, |_| Ok(()), drive, first_sink) else {
        return;
    };
    assert_eq!(answers[0], "OK\nOK\n");
    assert_eq!(answers[4], "OK\n");
    assert!(answers[7].starts_with("FAILED: "), "{answers:?}");
    assert_eq!((lines.len(), lines[0].as_str()), (10, "one"), "{answers:#?} {lines:#?}");
    assert_eq!(lines[7], "kept");
}

#[test]
fn netcat_bytes_that_are_not_utf8() {
    // Flume's decoder refuses them and the connection ends without a word, with all that came in the same read; the
    // next connection is served. Ours takes such lines with U+FFFD, see `sources/netcat.rs`.
    let connections: [&[u8]; 2] = [b"before\nbad \xff\xfe bytes\nafter\n", b"good\n"];
    let config = channel_and_sink(1, "text") + NETCAT;
    let theirs = Case { config: &config, delivered: &[("k1", 1)] };
    let ours = Case { config: &config, delivered: &[("k1", 4)] };
    let drive = |site: &Site, _: &mut Agent| -> Result<Vec<String>> {
        connections.iter().map(|bytes| converse(site.port, bytes)).collect()
    };
    let Some([flume, ours]) = contrast([&theirs, &ours], |_| Ok(()), drive, first_sink) else {
        return;
    };
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    assert_eq!(flume, (owned(&["", "OK\n"]), owned(&["good"])));
    let taken = owned(&["before", "bad \u{fffd}\u{fffd} bytes", "after", "good"]);
    assert_eq!(ours, (owned(&["OK\nOK\nOK\n", "OK\n"]), taken));
}

fn converse(port: u16, bytes: &[u8]) -> Result<String> {
    let began = Instant::now();
    // The supervisor may bind the port a moment after the monitoring port answers.
    let mut stream = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => break stream,
            Err(error) if began.elapsed() > LIMIT => {
                return Err(error).context("connecting to the netcat source");
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    };
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            Err(error).context("reading the answer")
        }
        _ => Ok(String::from_utf8(answer)?),
    }
}

#[test]
fn spooldir_lines() {
    // The limit of 16 falls inside the last character: Flume counts UTF-16 units and cuts it in two, ours keeps it.
    const CUT: &str =
        "\u{4e16}\u{754c} \u{1f30a}\u{1f30a}\u{1f30a}\u{1f30a}\u{1f30a}\u{1f30a}\u{1f30a} wide\n\n";
    let files: [(&str, &[u8]); 8] = [
        ("01-plain", b"first\nsecond\n"),
        ("02-empty", b""),
        ("03-crlf", b"dos one\r\ndos two\r\n"),
        ("04-long", b"0123456789012345678901234567890123456789-end\nshort\n"),
        ("05-exact", b"0123456789ABCDEF\nnext\n"),
        ("06-invalid", b"bad \xff\xc3 here\nand \xe4\xb8 cut\ngood\n"),
        ("07-open", b"whole\nno end"),
        ("08-wide", CUT.as_bytes()),
    ];
    let config = channel_and_sink(1, "header_and_text")
        + "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
           a1.sources.r1.type = spooldir\n\
           a1.sources.r1.spoolDir = {dir}/spool\n\
           a1.sources.r1.basenameHeader = true\n\
           a1.sources.r1.decodeErrorPolicy = REPLACE\n\
           a1.sources.r1.deserializer.maxLineLength = 16\n\
           a1.sources.r1.pollDelay = 50\n\
           a1.sources.r1.channels = c1\n";
    let case = Case { config: &config, delivered: &[("k1", 20)] };
    let prepare = |dir: &Path| -> Result<()> {
        let spool = dir.join("spool");
        fs::create_dir(&spool)?;
        for (age, (name, body)) in (1_700_000_000..).zip(files) {
            fs::write(spool.join(name), body)?;
            let file = File::options().write(true).open(spool.join(name))?;
            file.set_modified(UNIX_EPOCH + Duration::from_secs(age))?;
        }
        Ok(())
    };
    let drive = |site: &Site, _: &mut Agent| {
        // A file is marked as read when the next look finds nothing more in it.
        let began = Instant::now();
        let last = site.dir.join("spool/08-wide.COMPLETED");
        while !last.exists() && began.elapsed() < LIMIT {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    };
    let look = |dir: &Path| Ok((first_sink(dir)?, names(&dir.join("spool"))?));
    let Some([(_, flume), (_, (mut lines, names))]) =
        contrast([&case, &case], prepare, drive, look)
    else {
        return;
    };
    assert_eq!(lines.len(), 20, "{lines:#?}");
    let waves = "\u{1f30a}".repeat(6);
    let cut = |end: &str, start: &str| {
        [
            format!("{{basename=08-wide}} \u{4e16}\u{754c} {waves}{end}"),
            format!("{{basename=08-wide}} {start} wide"),
        ]
    };
    assert_eq!(lines[17..19], cut("\u{1f30a}", ""));
    // All else is the same, once the one difference is Flume's.
    lines[17..19].clone_from_slice(&cut("?", "?"));
    assert_eq!((&lines, &names), (&flume.0, &flume.1), "ours is on the left, Flume's on the right");
    assert_eq!(lines[0], "{basename=01-plain} first");
    assert_eq!(lines[2], "{basename=02-empty} ");
    assert!(names.iter().all(|name| name.ends_with(".COMPLETED")), "{names:?}");
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[test]
fn taildir_offsets() {
    let config = channel_and_sink(1, "header_and_text")
        + "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
           a1.sources.r1.type = TAILDIR\n\
           a1.sources.r1.filegroups = g\n\
           a1.sources.r1.filegroups.g = {dir}/app.log\n\
           a1.sources.r1.headers.g.zone = east\n\
           a1.sources.r1.headers.g.Severity = info\n\
           a1.sources.r1.byteOffsetHeader = true\n\
           a1.sources.r1.positionFile = {dir}/position.json\n\
           a1.sources.r1.backoffSleepIncrement = 50\n\
           a1.sources.r1.maxBackoffSleep = 50\n\
           a1.sources.r1.channels = c1\n";
    let case = Case { config: &config, delivered: &[("k1", 9)] };
    let append = |dir: &Path, bytes: &[u8]| -> Result<()> {
        let mut file = File::options().create(true).append(true).open(dir.join("app.log"))?;
        Ok(file.write_all(bytes)?)
    };
    let prepare = |dir: &Path| {
        append(dir, b"unix\ndos\r\n\n\r\ncr\rinside\nbytes \xff\x00 as they are\npart")
    };
    let drive = |site: &Site, agent: &mut Agent| {
        wait_for(agent, "k1", 6)?;
        append(&site.dir, b"ial\nh\xc3")?;
        wait_for(agent, "k1", 7)?;
        append(&site.dir, b"\xa9\r")?;
        append(&site.dir, b"\nlast\nno end")
    };
    let Some((_, lines)) = compare(&case, prepare, drive, first_sink) else {
        return;
    };
    assert!(lines[0].contains("byteoffset=0") && lines[0].ends_with("} unix"), "{lines:?}");
    assert_eq!(lines.len(), 9);
}

#[test]
fn exec_lines() {
    let config = channel_and_sink(1, "header_and_text")
        + &channel_and_sink(2, "text")
        + "a1.sources = plain shell\na1.channels = c1 c2\na1.sinks = k1 k2\n\
           a1.sources.plain.type = exec\n\
           a1.sources.plain.command = cat   {dir}/input\n\
           a1.sources.plain.channels = c1\n\
           a1.sources.plain.batchTimeout = 100\n\
           a1.sources.shell.type = exec\n\
           a1.sources.shell.shell = /bin/sh -c\n\
           a1.sources.shell.command = for i in 1 2 3; do echo \"line $i\"; done | tr a-z A-Z; echo noise >&2\n\
           a1.sources.shell.channels = c2\n\
           a1.sources.shell.batchTimeout = 100\n";
    let case = Case { config: &config, delivered: &[("k1", 8), ("k2", 3)] };
    let prepare = |dir: &Path| {
        Ok(fs::write(dir.join("input"), b"one\r\ntwo\rthree\n\nbad \xff\n\xc3\xa9\n\r\nno end")?)
    };
    let look =
        |dir: &Path| Ok((first_sink(dir)?, splashdam_interop::outputs::lines(&dir.join("k2"))?));
    let Some((_, (plain, shell))) = compare(&case, prepare, only_watch, look) else {
        return;
    };
    assert_eq!(plain.last().map(String::as_str), Some("{} no end"));
    assert_eq!(shell, ["LINE 1", "LINE 2", "LINE 3"]);
}

#[test]
fn spooldir_choices() {
    let config = channel_and_sink(1, "header_and_text")
        + "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
           a1.sources.r1.type = spooldir\n\
           a1.sources.r1.spoolDir = {dir}/spool\n\
           a1.sources.r1.basenameHeader = true\n\
           a1.sources.r1.basenameHeaderKey = from\n\
           a1.sources.r1.includePattern = ^.*\\\\.(log|txt)$\n\
           a1.sources.r1.ignorePattern = ^skip.*$\n\
           a1.sources.r1.recursiveDirectorySearch = true\n\
           a1.sources.r1.consumeOrder = youngest\n\
           a1.sources.r1.trackingPolicy = tracker_dir\n\
           a1.sources.r1.fileSuffix = .DONE\n\
           a1.sources.r1.decodeErrorPolicy = IGNORE\n\
           a1.sources.r1.inputCharset = UTF-8\n\
           a1.sources.r1.pollDelay = 50\n\
           a1.sources.r1.batchSize = 2\n\
           a1.sources.r1.channels = c1\n";
    let case = Case { config: &config, delivered: &[("k1", 8)] };
    let prepare = |dir: &Path| -> Result<()> {
        let spool = dir.join("spool");
        fs::create_dir_all(spool.join("sub/deep"))?;
        fs::create_dir(spool.join("skipped"))?;
        fs::create_dir(spool.join(".hidden"))?;
        let files = [
            "oldest.log",
            "b-same.log",
            "a-same.log",
            "sub/deep/inner.txt",
            "skip.log",
            "other.dat",
            "skipped/in.log",
            ".hidden/in.log",
            ".dot.log",
        ];
        for (place, name) in (0u64..).zip(files) {
            fs::write(spool.join(name), format!("{name} 1\n{name} 2").as_bytes())?;
            // Two of one age are taken by name.
            let age = if name.contains("same") { 1 } else { place };
            let file = File::options().write(true).open(spool.join(name))?;
            file.set_modified(UNIX_EPOCH + Duration::from_secs(1_700_000_000 + age))?;
        }
        Ok(())
    };
    let drive = |site: &Site, _: &mut Agent| {
        let began = Instant::now();
        let last = site.dir.join("spool/.flumespool/oldest.log.DONE");
        while !last.exists() && began.elapsed() < LIMIT {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    };
    let look = |dir: &Path| {
        let spool = dir.join("spool");
        let (kept, marked) = (names(&spool)?, names(&spool.join(".flumespool"))?);
        Ok((first_sink(dir)?, kept, marked, names(&spool.join(".flumespool/sub/deep"))?))
    };
    let Some((_, (lines, kept, marked, inner))) = compare(&case, prepare, drive, look) else {
        return;
    };
    let order: Vec<&str> =
        lines.iter().step_by(2).filter_map(|line| line.split(['=', '}']).nth(1)).collect();
    assert_eq!(order, ["inner.txt", "a-same.log", "b-same.log", "oldest.log"]);
    assert!(kept.contains(&"oldest.log".to_owned()), "{kept:?}");
    assert_eq!(marked, ["a-same.log.DONE", "b-same.log.DONE", "oldest.log.DONE", "sub"]);
    assert_eq!(inner, ["inner.txt.DONE"]);
}

#[test]
fn seq_into_named_files() {
    let config = channel_and_sink(1, "text")
        + "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
           a1.sources.r1.type = seq\n\
           a1.sources.r1.totalEvents = 25\n\
           a1.sources.r1.batchSize = 10\n\
           a1.sources.r1.channels = c1\n\
           a1.sinks.k1.sink.serializer.appendNewline = false\n\
           a1.sinks.k1.sink.pathManager.prefix = events-\n\
           a1.sinks.k1.sink.pathManager.extension = txt\n";
    let case = Case { config: &config, delivered: &[("k1", 25)] };
    let look = |dir: &Path| {
        // The time in the name is the only thing that may differ.
        let masked =
            |name: &String| name.split(|c: char| c.is_ascii_digit()).collect::<Vec<_>>().join("0");
        Ok((first_sink(dir)?, names(&dir.join("k1"))?.iter().map(masked).collect::<Vec<_>>()))
    };
    let Some((_, (lines, names))) = compare(&case, |_| Ok(()), only_watch, look) else { return };
    let wanted: String = (0..25).map(|number| number.to_string()).collect();
    assert_eq!(lines, [wanted]);
    assert_eq!(names.len(), 1);
    assert!(names[0].starts_with("events-") && names[0].ends_with(".txt"), "{names:?}");
}
