use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use splashdam_core::{Role, Then};
use splashdam_testkit::{context, contract};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;

/// A server of one word: it welcomes, lets join, and answers questions; or refuses as told.
#[derive(Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(refuses: Option<&'static str>) -> (Server, SocketAddr) {
        let server = Server::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = server.seen.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                write.write_all(b":mill PING :first\r\n").await.unwrap();
                while let Ok(Some(line)) = lines.next_line().await {
                    let word = line.split(' ').next().unwrap_or_default().to_owned();
                    let answer = match (word.as_str(), refuses) {
                        (word, Some(refusal)) if refusal.starts_with(word) => {
                            format!(":mill {}\r\n", &refusal[word.len() + 1..])
                        }
                        ("USER", _) => {
                            ":mill 001 n :Welcome\r\n:mill 422 n :no motd\r\n".to_owned()
                        }
                        ("JOIN", _) => {
                            let channel = &line["JOIN ".len()..];
                            format!(":n JOIN {channel}\r\n:mill 366 n {channel} :End\r\n")
                        }
                        ("PING", _) => format!(":mill PONG mill {}\r\n", &line["PING ".len()..]),
                        _ => String::new(),
                    };
                    if word != "PING" {
                        seen.lock().unwrap().push(line);
                    }
                    if write.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            }
        });
        (server, address)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn open(address: SocketAddr, keys: &str) -> Irc {
    let (ip, port) = (address.ip(), address.port());
    let keys = format!("hostname = {ip}\nport = {port}\nnick = dam\nchan = logs\n{keys}");
    contract::open_sink::<Irc>(&keys, context(Role::Sink)).await
}

fn one(body: &str) -> Batch {
    vec![Event::new(body.to_owned())].into()
}

#[tokio::test]
async fn keeps_the_contract() {
    let (_, address) = Server::start(None).await;
    let keys = format!("hostname = 127.0.0.1\nport = {}\nnick = n\nchan = c", address.port());
    contract::sink::<Irc>(&keys).await;
}

#[tokio::test]
async fn events_are_said_in_the_channel() {
    let (server, address) = Server::start(None).await;
    let mut sink = open(address, "password = secret\nuser = u\nname = Real Name").await;
    for body in ["one", "two\nQUIT :injected\r\n", "gr\u{fc}n", "\n"] {
        sink.deliver(&one(body)).await.unwrap();
    }
    sink.close().await.unwrap();
    while !server.seen().iter().any(|line| line == "QUIT") {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        server.seen(),
        [
            "PASS secret",
            "NICK dam",
            "USER u 0 * :Real Name",
            "PONG :first",
            "JOIN #logs",
            "PRIVMSG #logs :one",
            "PRIVMSG #logs :two QUIT :injected",
            "PRIVMSG #logs :gr\u{fc}n",
            "QUIT",
        ]
    );
}

#[tokio::test]
async fn bodies_are_parted_on_request() {
    let (server, address) = Server::start(None).await;
    let check = async |keys: &str, body: &str, want: &[&str]| {
        let mut sink = open(address, keys).await;
        server.seen.lock().unwrap().clear();
        sink.deliver(&one(body)).await.unwrap();
        let said = server.seen();
        let said: Vec<_> = said.iter().filter_map(|l| l.strip_prefix("PRIVMSG #logs :")).collect();
        assert_eq!(said, want, "{keys}");
    };
    check("", "a\nb", &["a b"]).await;
    check("splitlines = true", "a\n\nb\r\n", &["a", "b"]).await;
    check("splitlines = true\nsplitchars = [,;]", "a,b;c", &["a", "b", "c"]).await;
}

#[tokio::test]
async fn who_refuses_or_is_away_gets_the_event_later() {
    let check = async |refuses: &'static str, want: &str| {
        let (_, address) = Server::start(Some(refuses)).await;
        let mut sink = open(address, "").await;
        let error = sink.deliver(&one("x")).await.unwrap_err();
        assert_eq!(error.then, Then::BackOff);
        assert!(error.to_string().contains(want), "{error}");
        assert!(sink.open.is_none());
    };
    check("NICK 433 * dam :Nickname is already in use", "already in use").await;
    check("JOIN 473 dam #logs :Cannot join", "Cannot join").await;
    check("PRIVMSG 404 dam #logs :Cannot send", "Cannot send").await;
    check("PRIVMSG KICK #logs dam :out", "kicked out").await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let error = open(address, "").await.deliver(&one("x")).await.unwrap_err();
    assert!(error.to_string().contains("cannot connect"), "{error}");
}

#[tokio::test]
async fn questions_are_answered_while_idle_and_a_loss_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sink = open(listener.local_addr().unwrap(), "").await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"001 dam :hi\r\n366 dam #logs :End\r\n").await.unwrap();
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if let Some(token) = line.strip_prefix("PING :") {
                write
                    .write_all(format!("PONG :{token}\r\nPING :still\r\n").as_bytes())
                    .await
                    .unwrap();
            }
            if line == "PONG :still" {
                return;
            }
        }
    });
    sink.deliver(&one("x")).await.unwrap();
    let lost = async {
        while sink.tick().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), lost).await.expect("it sees the end");
    server.await.unwrap();
    assert!(sink.open.is_none());
}

#[test]
fn names_are_checked() {
    let check = |keys: &str, want: &[&str]| {
        let looked = splashdam_core::Entry::sink::<Irc>().look(&Section::parse(keys));
        let found: Vec<_> = looked.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(found, want, "{keys}");
    };
    check("hostname = h\nnick = n\nchan = c", &[]);
    check("hostname = h\nnick = n", &["missing-key"]);
    check("hostname = h\nnick = two words\nchan = c", &["invalid-value"]);
    check("hostname = h\nnick = n\nchan = c x\nuser = a b", &["invalid-value", "invalid-value"]);
}

#[tokio::test]
async fn a_server_may_ask_for_patience_before_its_welcome() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sink = open(listener.local_addr().unwrap(), "").await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let wait = ":mill 439 * :Please wait while we process your connection\r\n\
                    :mill 904 * :SASL authentication failed\r\n";
        write.write_all(wait.as_bytes()).await.unwrap();
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = match line.split_once(' ').unwrap_or_default() {
                ("USER", _) => "001 dam :hi\r\n".to_owned(),
                ("JOIN", channel) => format!("366 dam {channel} :End\r\n"),
                ("PING", token) => format!("439 dam :Slow down\r\nPONG {token}\r\n"),
                _ => String::new(),
            };
            write.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    // The same number is a refusal of what is said.
    let error = sink.deliver(&one("x")).await.unwrap_err();
    assert!(error.to_string().contains("dam Slow down"), "{error}");
    server.abort();
}

#[tokio::test]
async fn what_is_too_long_to_be_said_is_given_up() {
    let check = async |refuses: &'static str, want: &str| {
        let (server, address) = Server::start(Some(refuses)).await;
        let mut sink = open(address, "").await;
        let why = |delivered: Delivered| delivered.rejected.into_iter().map(|r| (r.at, r.why));
        for _ in 0..2 {
            let delivered = sink.deliver(&one("x")).await.unwrap();
            assert_eq!(delivered.events, 0);
            assert_eq!(why(delivered).collect::<Vec<_>>(), [(0, want.to_owned())]);
        }
        // The connection is as good as before.
        let joined = server.seen().iter().filter(|line| line.starts_with("JOIN")).count();
        assert_eq!(joined, 1);
    };
    check(
        "PRIVMSG 417 dam :Input line was too long",
        "the IRC server: dam Input line was too long",
    )
    .await;
    check("PRIVMSG 412 dam :No text to send", "the IRC server: dam No text to send").await;
}
