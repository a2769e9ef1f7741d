//! Full files and compressed ones.

use std::io::Read;

use super::*;

/// Everything in a file that the format's own readers find, and whether they find it whole.
fn unpacked(name: &str, bytes: &[u8]) -> (String, bool) {
    let mut text = Vec::new();
    let read = match name.rsplit_once('.').map(|(_, suffix)| suffix) {
        Some("gz") => flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut text),
        Some("zst") => zstd::stream::Decoder::new(bytes).unwrap().read_to_end(&mut text),
        Some("bz2") => bzip2::read::MultiBzDecoder::new(bytes).read_to_end(&mut text),
        _ => {
            text.extend_from_slice(bytes);
            Ok(bytes.len())
        }
    };
    (String::from_utf8(text).unwrap(), read.is_ok())
}

/// What the files hold, unpacked, by name.
fn all_unpacked(dir: &TempDir) -> Vec<(String, bool)> {
    let names = files(dir).into_iter().map(|(name, _)| name);
    names.map(|name| unpacked(&name, &std::fs::read(dir.path().join(&name)).unwrap())).collect()
}

fn whole(texts: &[&str]) -> Vec<(String, bool)> {
    texts.iter().map(|text| ((*text).to_owned(), true)).collect()
}

const PACKED: [(&str, &str); 4] =
    [("none", ""), ("gzip", ".gz"), ("ZSTD", ".zst"), ("bzip2", ".bz2")];

#[tokio::test]
async fn each_delivered_batch_can_be_unpacked_at_once() {
    for (compression, suffix) in PACKED {
        let dir = tempfile::tempdir().unwrap();
        let more = format!("sink.rollInterval = 0\nsink.compression = {compression}");
        let mut sink = contract::open_sink::<FileRoll>(&keys(&dir, &more), context()).await;
        deliver(&mut sink, &["a", "b"]).await.unwrap();
        assert_eq!(all_unpacked(&dir), whole(&["a\nb\n"]), "{compression}");
        deliver(&mut sink, &["c"]).await.unwrap();
        // As a kill leaves it: nobody closes the file.
        assert_eq!(all_unpacked(&dir), whole(&["a\nb\nc\n"]), "{compression}");
        assert!(files(&dir)[0].0.ends_with(suffix), "{compression}");
        sink.close().await.unwrap();
        assert_eq!(all_unpacked(&dir), whole(&["a\nb\nc\n"]), "{compression}");
    }
}

#[tokio::test]
async fn a_batch_that_was_cut_short_hides_none_before_it() {
    for (compression, _) in PACKED {
        let dir = tempfile::tempdir().unwrap();
        let more = format!("sink.rollInterval = 0\nsink.compression = {compression}");
        let mut sink = contract::open_sink::<FileRoll>(&keys(&dir, &more), context()).await;
        deliver(&mut sink, &["first"]).await.unwrap();
        let path = dir.path().join(&files(&dir)[0].0);
        let first = std::fs::read(&path).unwrap().len();
        deliver(&mut sink, &["second"]).await.unwrap();
        let both = std::fs::read(&path).unwrap();
        for cut in first..both.len() {
            let (text, _) = unpacked(path.to_str().unwrap(), &both[..cut]);
            assert!(text.starts_with("first\n"), "{compression} cut at {cut}: {text:?}");
        }
    }
}

#[tokio::test]
async fn a_full_disk_takes_back_what_was_compressed() {
    for (compression, _) in PACKED {
        let (dir, disk) = (tempfile::tempdir().unwrap(), BadDisk::default());
        let more = format!("sink.rollInterval = 0\nsink.compression = {compression}");
        let mut sink = disk.open(&dir, &more).await.unwrap();
        deliver(&mut sink, &["a"]).await.unwrap();
        disk.script().writes =
            [Write::Short(1), Write::Fails(io::ErrorKind::StorageFull)].into_iter().collect();
        let said = deliver(&mut sink, &["b"]).await.unwrap_err();
        assert!(said.contains("free some space"), "{said}");
        deliver(&mut sink, &["b"]).await.unwrap();
        assert_eq!(all_unpacked(&dir), whole(&["a\nb\n"]), "{compression}");
    }
}

#[tokio::test]
async fn full_files_are_followed_by_new_ones() {
    let check = async |more: &str, want: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let more = format!("sink.rollInterval = 0\n{more}");
        let mut sink = contract::open_sink::<FileRoll>(&keys(&dir, &more), context()).await;
        for batch in [&["aa", "bb"][..], &["cc"], &["dd"], &["ee", "ff", "gg"], &["hh"]] {
            deliver(&mut sink, batch).await.unwrap();
            // A full file stays the last one until there is more to write.
            sink.tick().await.unwrap();
        }
        sink.close().await.unwrap();
        assert_eq!(contents(&dir), want, "{more}");
    };
    let all = "aa\nbb\ncc\ndd\nee\nff\ngg\nhh\n";
    check("", &[all]).await;
    check("sink.rollCount = 0\nsink.rollSize = 0", &[all]).await;
    check("sink.rollCount = 3", &["aa\nbb\ncc\n", "dd\nee\nff\ngg\n", "hh\n"]).await;
    check("sink.rollSize = 7", &["aa\nbb\ncc\n", "dd\nee\nff\ngg\n", "hh\n"]).await;
    check(
        "sink.rollCount = 9\nsink.rollSize = 1",
        &["aa\nbb\n", "cc\n", "dd\n", "ee\nff\ngg\n", "hh\n"],
    )
    .await;
    // A header does not fill a file, and what counts is what lies on the disk.
    let dir = tempfile::tempdir().unwrap();
    let more = "sink.rollInterval = 0\nsink.rollSize = 1\nsink.serializer = avro_event\n\
                sink.compression = gzip";
    let mut sink = contract::open_sink::<FileRoll>(&keys(&dir, more), context()).await;
    for _ in 0..3 {
        deliver(&mut sink, &["a"]).await.unwrap();
    }
    assert_eq!(files(&dir).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_full_file_goes_on_while_no_new_one_can_be_made() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), BadDisk::default());
    let mut sink = disk.open(&dir, "sink.rollInterval = 0\nsink.rollCount = 1").await.unwrap();
    deliver(&mut sink, &["a"]).await.unwrap();
    disk.script().creates = [io::ErrorKind::PermissionDenied].into_iter().collect();
    deliver(&mut sink, &["b"]).await.unwrap();
    // It is not tried again with each batch.
    deliver(&mut sink, &["c"]).await.unwrap();
    assert_eq!(contents(&dir), ["a\nb\nc\n"]);
    tokio::time::advance(ROLL_AGAIN).await;
    deliver(&mut sink, &["d"]).await.unwrap();
    assert_eq!(contents(&dir), ["a\nb\nc\n", "d\n"]);
}

#[tokio::test(start_paused = true)]
async fn an_interval_begins_anew_with_a_full_file() {
    let dir = tempfile::tempdir().unwrap();
    let more = "sink.rollInterval = 10\nsink.rollCount = 1";
    let mut sink = BadDisk::default().open(&dir, more).await.unwrap();
    deliver(&mut sink, &["a"]).await.unwrap();
    tokio::time::advance(Duration::from_secs(6)).await;
    deliver(&mut sink, &["b"]).await.unwrap();
    tokio::time::advance(Duration::from_secs(6)).await;
    sink.tick().await.unwrap();
    assert_eq!(contents(&dir), ["a\n", "b\n"]);
    tokio::time::advance(Duration::from_secs(4)).await;
    sink.tick().await.unwrap();
    assert_eq!(contents(&dir), ["a\n", "b\n", ""]);
}
