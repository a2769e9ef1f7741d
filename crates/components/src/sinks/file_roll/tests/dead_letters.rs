use super::*;

const BODIES: &str = "sink.rollInterval = 0\nsink.serializer = \
                      org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";

async fn open(dir: &TempDir, dead_letters: bool) -> FileRoll {
    let cx = Context { dead_letters, ..context() };
    contract::open_sink::<FileRoll>(&keys(dir, BODIES), cx).await
}

/// An event with a schema of its own, or without one where that is empty.
fn event(body: u64, schema: &str) -> Event {
    let mut event = Event::new(format!("body {body};"));
    if !schema.is_empty() {
        event.headers.insert("flume.avro.schema.literal", schema.to_owned());
    }
    event
}

/// Events of a file channel, numbered from `first`.
fn numbered(first: u64, schemas: &[&str]) -> Batch {
    let numbers = first..first + schemas.len() as u64;
    let place =
        Place { queue: [7; 16], low: 0, began: 1000, ranges: vec![numbers.clone()], lasting: true };
    let batch: Batch = numbers.zip(schemas).map(|(body, schema)| event(body, schema)).collect();
    batch.with_place(Some(place))
}

fn rejected(delivered: &Delivered) -> Vec<usize> {
    delivered.rejected.iter().map(|rejected| rejected.at).collect()
}

#[tokio::test]
async fn what_the_serializer_refuses_for_good_is_rejected_or_holds_the_batch() {
    // The first event that can begin the file brings the schema for all behind it.
    let check = async |schemas: &[&str], places: &[usize]| {
        let dir = tempfile::tempdir().unwrap();
        let batch = numbered(0, schemas);
        let mut sink = open(&dir, true).await;
        let delivered = sink.deliver(&batch).await.unwrap();
        assert_eq!(rejected(&delivered), places, "{schemas:?}");
        assert_eq!(delivered.events, batch.len() - places.len(), "{schemas:?}");
        sink.close().await.unwrap();
        let content = contents(&dir).concat();
        for at in 0..batch.len() {
            let is_there = content.contains(&format!("body {at};"));
            assert_eq!(is_there, !places.contains(&at), "{schemas:?}: {at}");
        }
        if !places.is_empty() {
            let dir = tempfile::tempdir().unwrap();
            let mut sink = open(&dir, false).await;
            let error = sink.deliver(&batch).await.unwrap_err();
            assert!(error.to_string().contains("cannot be serialized"), "{error}");
            assert_eq!(contents(&dir).concat(), "");
        }
    };
    let good = "\"bytes\"";
    check(&[good, good], &[]).await;
    check(&["", "{", good, "", good], &[0, 1]).await;
    check(&["", ""], &[0, 1]).await;
}

/// An event whose schema is in a file, as it says.
fn of_file(path: &Path) -> Event {
    let mut event = Event::new("body");
    event.headers.insert("flume.avro.schema.url", format!("file:{}", path.display()));
    event
}

/// Whoever writes events may name any file: none is waited for, or read without end.
#[tokio::test]
async fn a_header_that_leads_anywhere_else_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(&dir, true).await;
    let schemas = tempfile::tempdir().unwrap();
    let path = |name: &str| schemas.path().join(name);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    std::fs::write(path("bytes"), b"\xff\xfe").unwrap();
    let nowhere = [path("pipe"), path("none"), path("bytes"), path("bytes/x"), path("a\0b")];
    for place in nowhere.into_iter().chain(["/dev/zero", "/", "/proc/self/mem"].map(Into::into)) {
        let delivered = sink.deliver(&Batch::from(vec![of_file(&place)])).await;
        let delivered = delivered.unwrap_or_else(|error| panic!("{place:?}: {error}"));
        assert_eq!(rejected(&delivered), [0], "{place:?}");
    }
    for url in ["http://mill/x.avsc", "../x.avsc", "hdfs://mill/x.avsc", "file:x"] {
        let mut event = Event::new("body");
        event.headers.insert("flume.avro.schema.url", url);
        assert_eq!(rejected(&sink.deliver(&Batch::from(vec![event])).await.unwrap()), [0], "{url}");
    }
}

/// A kill between the file and the channel of dead letters loses nothing: what was rejected comes,
/// and is rejected, again.
#[tokio::test]
async fn what_is_rejected_is_not_noted_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let good = "\"bytes\"";
    let batch = numbered(0, &["", good, good]);
    let mut sink = open(&dir, true).await;
    assert_eq!(rejected(&sink.deliver(&batch).await.unwrap()), [0]);
    drop(sink);
    let mut sink = open(&dir, true).await;
    assert_eq!(rejected(&sink.deliver(&batch).await.unwrap()), [0]);
    // Of what comes in part, places are those in the whole batch.
    let more = numbered(1, &[good, good, "", good]);
    assert_eq!(rejected(&sink.deliver(&more).await.unwrap()), [2]);
    sink.close().await.unwrap();
    let content = contents(&dir).concat();
    for (body, times) in [(0, 0), (1, 1), (2, 1), (3, 0), (4, 1)] {
        assert_eq!(content.matches(&format!("body {body};")).count(), times, "{body}");
    }
}

#[test]
fn the_serializer_says_what_becomes_of_a_bad_event() {
    let rejects = |more: &str| {
        let keys = format!("sink.directory = /x\n{more}");
        let looked = Entry::sink::<FileRoll>().look(&Section::parse(&keys));
        looked.facts.unwrap().rejects.is_some()
    };
    assert!(rejects(BODIES));
    assert!(!rejects("sink.serializer = AVRO_EVENT") && !rejects(""));
}
