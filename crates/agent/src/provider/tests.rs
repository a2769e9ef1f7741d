//! Files that change, files that are half written, servers with and without manners.

use std::collections::VecDeque;
use std::fs;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::texts::SETTLE;
use super::*;

fn provider(files: &[PathBuf]) -> Provider {
    Provider::new(&Settings { files: files.to_vec(), ..Settings::default() }).unwrap()
}

fn texts(loaded: &Loaded) -> Vec<String> {
    loaded.sources.iter().map(|(_, source)| source.text.to_string()).collect()
}

#[tokio::test]
async fn files_are_merged_in_order_and_read_as_latin1() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    fs::write(&a, b"x = \xe9\n").unwrap();
    fs::write(&b, "y = 2\n").unwrap();
    let loaded = provider(&[a, b]).load().await.unwrap();
    assert_eq!(texts(&loaded), ["x = \u{e9}\n", "y = 2\n"]);
}

#[tokio::test]
async fn what_cannot_be_read_at_the_start_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let check = async |path: PathBuf, want: &str| {
        let error = provider(std::slice::from_ref(&path)).load().await.unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains(want), "{error}");
    };
    check(dir.path().join("none"), "check the path").await;
    check(dir.path().to_owned(), "name a file in it").await;
    let nothing = Provider::new(&Settings::default()).err().unwrap().to_string();
    assert!(nothing.contains("--conf-file"), "{nothing}");
}

#[tokio::test]
async fn only_other_content_is_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "x = 1\n").unwrap();
    let mut provider = provider(std::slice::from_ref(&path));
    provider.load().await.unwrap();
    assert!(provider.poll().await.unwrap().is_none());
    fs::write(&path, "x = 1\n").unwrap();
    assert!(provider.poll().await.unwrap().is_none());
    fs::write(&path, "x = 2\n").unwrap();
    assert_eq!(texts(&provider.poll().await.unwrap().unwrap()), ["x = 2\n"]);
    assert!(provider.poll().await.unwrap().is_none());
    fs::write(&path, " \n").unwrap();
    assert!(matches!(provider.poll().await, Err(ProviderError::Emptied { .. })));
    fs::remove_file(&path).unwrap();
    let gone = provider.poll().await.unwrap_err().to_string();
    assert!(gone.contains("stays in force"), "{gone}");
    fs::write(&path, "x = 2\n").unwrap();
    assert!(provider.poll().await.unwrap().is_none());
}

#[tokio::test]
async fn a_missing_file_does_not_hide_a_change_in_another() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    fs::write(&a, "x = 1\n").unwrap();
    fs::write(&b, "y = 1\n").unwrap();
    let mut provider = provider(&[a.clone(), b.clone()]);
    provider.load().await.unwrap();
    fs::remove_file(&a).unwrap();
    fs::write(&b, "y = 2\n").unwrap();
    let loaded = provider.poll().await.unwrap().unwrap();
    assert_eq!(texts(&loaded), ["x = 1\n", "y = 2\n"]);
    assert_eq!(loaded.warnings.len(), 1);
}

#[tokio::test]
async fn a_half_written_file_is_not_applied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "x = 1\n").unwrap();
    let mut provider = provider(std::slice::from_ref(&path));
    provider.load().await.unwrap();
    fs::write(&path, "x = 2").unwrap();
    // The writer goes on after the first look and before the second, which comes later where the
    // last line has no end.
    let rest = async {
        tokio::time::sleep(SETTLE * 3).await;
        fs::write(&path, "x = 2\ny = 3\n").unwrap();
    };
    let ((), loaded) = tokio::join!(rest, provider.poll());
    assert_eq!(texts(&loaded.unwrap().unwrap()), ["x = 2\ny = 3\n"]);
}

#[tokio::test]
async fn uris_silence_files_and_a_pipe_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.conf"), "x = 1\n").unwrap();
    let settings = Settings {
        files: vec!["/nowhere".into()],
        uris: vec!["classpath:a.conf".into(), "gopher://x".into()],
        conf_dir: Some(dir.path().to_owned()),
        ..Settings::default()
    };
    let mut provider = Provider::new(&settings).unwrap();
    let loaded = provider.load().await.unwrap();
    assert_eq!(texts(&loaded), ["x = 1\n"]);
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    assert!(file::read_again(Path::new("/dev/null")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_backup_serves_a_start_without_the_source() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    fs::write(&a, b"x = \xe9\\").unwrap();
    fs::write(&b, "y = 2").unwrap();
    let settings = Settings {
        agent: "a1".into(),
        files: vec![a.clone(), b],
        backup: Some(dir.path().join("kept")),
        ..Settings::default()
    };
    Provider::new(&settings).unwrap().load().await.unwrap();
    fs::remove_file(&a).unwrap();
    let loaded = Provider::new(&settings).unwrap().load().await.unwrap();
    let merged = splashdam_config::text::parse_all(&loaded.sources);
    let pairs: Vec<_> = merged.entries.iter().map(|e| (e.key(), e.value())).collect();
    assert_eq!(pairs, [("x", "\u{e9}"), ("y", "2")]);
    assert!(loaded.warnings[0].contains("backup"), "{:?}", loaded.warnings);
}

/// A server that answers with each of `answers` in turn and keeps the requests.
async fn server(answers: Vec<String>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/flume.conf", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    tokio::spawn(async move {
        let mut answers = VecDeque::from(answers);
        while let Some(answer) = answers.pop_front() {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            seen.lock().unwrap().push(String::from_utf8(request).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (uri, requests)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

#[tokio::test]
async fn http_is_asked_conditionally_and_compared() {
    let dated = "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\nETag: \"7\"\r\n";
    let (uri, requests) = server(vec![
        answer("200 OK", dated, "x = 1\n"),
        answer("304 Not Modified", "", ""),
        answer("200 OK", "", "x = 1\n"),
        answer("500 Oops", "", "x = 9\n"),
        answer("200 OK", "", "x = 2\n"),
        answer("200 OK", "", "x = 2\n"),
    ])
    .await;
    let settings = Settings {
        uris: vec![uri],
        user: Some("me".into()),
        password: Some("secret".into()),
        ..Settings::default()
    };
    let mut provider = Provider::new(&settings).unwrap();
    assert!(provider.is_remote());
    assert_eq!(texts(&provider.load().await.unwrap()), ["x = 1\n"]);
    assert!(provider.poll().await.unwrap().is_none(), "304");
    assert!(provider.poll().await.unwrap().is_none(), "the same again");
    let failed = provider.poll().await.unwrap_err().to_string();
    assert!(failed.contains("500") && !failed.contains("secret"), "{failed}");
    assert_eq!(texts(&provider.poll().await.unwrap().unwrap()), ["x = 2\n"]);
    let requests = requests.lock().unwrap();
    assert!(!requests[0].contains("if-modified-since"));
    assert!(requests[0].contains("authorization: Basic bWU6c2VjcmV0"), "{}", requests[0]);
    assert!(requests[1].contains("if-modified-since: Wed, 21 Oct 2015 07:28:00 GMT"));
    assert!(requests[1].contains("if-none-match: \"7\""));
}

#[tokio::test]
async fn a_file_that_never_rests_only_puts_off_what_was_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "y = 0\n").unwrap();
    let tag = |tag: u8| format!("ETag: \"{tag}\"\r\n");
    let mut answers =
        vec![answer("200 OK", &tag(1), "x = 1\n"), answer("200 OK", &tag(2), "x = 2\n")];
    answers.resize(100, answer("304 Not Modified", "", ""));
    let (uri, requests) = server(answers).await;
    let uris = vec![uri, format!("file://{}", path.display())];
    let mut provider = Provider::new(&Settings { uris, ..Settings::default() }).unwrap();
    assert_eq!(texts(&provider.load().await.unwrap()), ["x = 1\n", "y = 0\n"]);
    let restless = async {
        for n in 1.. {
            fs::write(&path, format!("y = {n}\n")).unwrap();
            tokio::time::sleep(SETTLE / 4).await;
        }
    };
    tokio::select! {
        () = restless => unreachable!(),
        polled = provider.poll() => assert!(polled.unwrap().is_none(), "the file never rests"),
    }
    fs::write(&path, "y = 0\n").unwrap();
    let loaded = provider.poll().await.unwrap().expect("the change that was fetched before");
    assert_eq!(texts(&loaded), ["x = 2\n", "y = 0\n"]);
    assert!(provider.poll().await.unwrap().is_none());
    assert!(requests.lock().unwrap()[2].contains("if-none-match: \"2\""));
}

#[tokio::test]
async fn a_first_fetch_that_fails_is_fatal_and_tells_no_password() {
    let (uri, _) = server(vec![answer("401 No", "", "")]).await;
    let uri = uri.replace("http://", "http://me:secret@");
    let settings = Settings { uris: vec![uri], ..Settings::default() };
    let error = Provider::new(&settings).unwrap().load().await.unwrap_err().to_string();
    assert!(error.contains("--conf-user") && !error.contains("secret"), "{error}");
}
