use super::*;
use splashdam_core::Role;
use splashdam_testkit::fakes::context;

fn entry(path: &str, inode: u64, position: u64) -> Entry {
    Entry {
        path: Path::new(path).into(),
        inode,
        device: Some(5),
        birth: Some(7),
        position,
        head: Some(Print::of(b"head")),
        tail: Some(Print::of(b"tail")),
        at: At::Within,
    }
}

fn open(file: &Path) -> Result<(Positions, Saved), String> {
    Positions::open(file, &context(Role::Source)).map_err(|e| e.to_string())
}

fn plain(saved: Saved) -> Vec<Entry> {
    saved.entries.into_iter().map(|(_, entry)| entry).collect()
}

#[test]
fn what_was_saved_is_read_again_and_flume_can_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("deep/er/p.json");
    let (positions, saved) = open(&file).unwrap();
    assert!(saved.entries.is_empty());
    let entries = [entry("/l/a=b&'<1>.log", 11, 4), entry("/l/\"q\"", 12, 9)];
    for (key, entry) in (1..).zip(&entries) {
        positions.apply(vec![Change::Set(key, entry.clone())], 1, 1, Mark::default());
    }
    positions.apply(
        vec![Change::Set(3, entry("/l/gone", 1, 1)), Change::Forget(3)],
        1,
        1,
        Mark::default(),
    );
    positions.save().unwrap();
    drop(positions);
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        r#"[{"inode":11,"pos":4,"file":"/l/a\u003db\u0026\u0027\u003c1\u003e.log"},{"inode":12,"pos":9,"file":"/l/\"q\""}]"#
    );
    let (positions, saved) = open(&file).unwrap();
    assert!(saved.written.is_some());
    assert_eq!(plain(saved), entries);
    // Nothing changed, so nothing is written.
    fs::remove_file(&file).unwrap();
    positions.save().unwrap();
    assert!(!file.exists());
}

#[test]
fn directories_that_were_made_are_synced() {
    let dir = tempfile::tempdir().unwrap();
    let check = |path: &str, want: &[&str]| {
        let mut synced = Vec::new();
        let note = |path: &Path| {
            assert!(path.exists(), "{}", path.display());
            synced.push(path.to_owned());
            sync_directory(path)
        };
        make_directory(&dir.path().join(path), note).unwrap();
        let want: Vec<PathBuf> = want.iter().map(|want| dir.path().join(want)).collect();
        assert_eq!(synced, want, "{path}");
    };
    check("", &[]);
    check("a/b/c", &["", "a", "a/b", "a/b/c"]);
    check("a/b/c", &[]);
    check("a/d", &["a", "a/d"]);
    // A sync that fails is said.
    let failing = |_: &Path| Err(io::Error::other("no"));
    assert!(make_directory(&dir.path().join("e"), failing).is_err());
}

#[test]
fn flumes_positions_hold_when_flume_wrote_last() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p");
    let (positions, _) = open(&file).unwrap();
    positions.apply(vec![Change::Set(1, entry("/l/a", 11, 4))], 1, 1, Mark::default());
    positions.save().unwrap();
    drop(positions);
    fs::write(&file, r#"[{"pos":9,"file":"\/l\/a","inode":11},{"inode":3,"pos":1,"file":"/l/b"}]"#)
        .unwrap();
    let (_positions, saved) = open(&file).unwrap();
    let went_on = Entry { position: 9, tail: None, at: At::Start, ..entry("/l/a", 11, 4) };
    let bare = Entry { device: None, birth: None, head: None, ..entry("/l/b", 3, 1) };
    assert_eq!(plain(saved), [went_on, Entry { tail: None, at: At::Start, ..bare }]);
}

#[test]
fn a_crash_between_the_two_files_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p");
    let (positions, _) = open(&file).unwrap();
    positions.apply(vec![Change::Set(1, entry("/l/a", 11, 4))], 1, 1, Mark::default());
    positions.save().unwrap();
    let before = fs::read(&file).unwrap();
    positions.apply(vec![Change::Set(1, entry("/l/a", 11, 8))], 1, 1, Mark::default());
    positions.save().unwrap();
    drop(positions);
    fs::write(&file, before).unwrap();
    assert_eq!(plain(open(&file).unwrap().1), [entry("/l/a", 11, 8)]);
}

#[test]
fn damage_is_named_or_made_good() {
    let check = |content: &str, side: bool, want: Result<usize, &str>| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p");
        if side {
            let (positions, _) = open(&file).unwrap();
            positions.apply(vec![Change::Set(1, entry("/l/a", 11, 4))], 1, 1, Mark::default());
            positions.save().unwrap();
        }
        fs::write(&file, content).unwrap();
        match (open(&file), want) {
            (Ok((_, saved)), Ok(entries)) => assert_eq!(saved.entries.len(), entries),
            (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
            (got, _) => panic!("{content:?}: {:?}", got.map(|(_, saved)| saved)),
        }
    };
    check("[]", false, Ok(0));
    check("", false, Ok(0));
    check("", true, Ok(1));
    check("[{\"inode\":11,\"po", true, Ok(1));
    check("[{\"inode\":11,\"po", false, Err("put back a copy of it, or remove it"));
    check("[{\"inode\":11,\"pos\":4}]", false, Err("missing field `file`"));
    check("\0\0\0\0", false, Err("is damaged"));
    check("{}", false, Err("is damaged"));
}

#[test]
fn a_second_user_is_refused_while_the_first_lives() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p");
    let first = open(&file).unwrap();
    let refused = open(&file).map(drop).unwrap_err();
    assert!(refused.contains("in use by agent a1, source x1, process"), "{refused}");
    drop(first);
    assert!(open(&file).is_ok());
}

#[test]
fn a_place_that_cannot_be_written_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let in_the_way = dir.path().join("file");
    fs::write(&in_the_way, "").unwrap();
    let message = open(&in_the_way.join("p")).map(drop).unwrap_err();
    assert!(message.contains("its directory cannot be made"), "{message}");
}
