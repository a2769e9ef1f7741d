//! Whom a component that does not open waits for: somebody's hand, or what comes by itself.

use std::error::Error;
use std::io::ErrorKind::{self, AddrInUse};
use std::net::{TcpListener, UdpSocket};

use splashdam_config::Section;
use splashdam_core::{OpenError, Role, find};
use splashdam_testkit::context;

use super::{CHANNELS, SINKS, SOURCES};

async fn refusal(role: Role, name: &str, keys: &str) -> OpenError {
    let (section, cx) = (Section::parse(keys), context(role));
    let refused = match role {
        Role::Source => find(SOURCES, name).unwrap().open(section, cx).await.err(),
        Role::Channel => find(CHANNELS, name).unwrap().open(section, cx).await.err(),
        _ => find(SINKS, name).unwrap().open(section, cx).await.err(),
    };
    refused.unwrap_or_else(|| panic!("{name} opens: {keys}"))
}

#[tokio::test]
async fn what_only_a_human_mends_is_told_from_what_may_come() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    std::fs::create_dir(dir.path().join("inbox")).unwrap();
    let stores = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls");
    let check = async |role: Role, name: &str, keys: &str, want: bool| {
        let keys = keys.replace("DIR", &dir.path().display().to_string()).replace("STORES", stores);
        let error = refusal(role, name, &keys).await;
        assert!(matches!(error, OpenError::Unavailable(_)), "{name}, {keys}: {error}");
        assert_eq!(error.needs_hand(), want, "{name}, {keys}: {error}");
    };
    for (name, keys, want) in [
        ("spooldir", "spoolDir = DIR/none", false),
        ("spooldir", "spoolDir = DIR/file", true),
        ("spooldir", "spoolDir = DIR/file/below", true),
        ("spooldir", "spoolDir = DIR/inbox\ntrackerDir = DIR/file", true),
        ("spooldir", "spoolDir = DIR/inbox\ntrackerDir = DIR/none/tracker", false),
        ("TAILDIR", "filegroups = g\nfilegroups.g = DIR/inbox/x\npositionFile = DIR/file/x", true),
        ("TAILDIR", "filegroups = g\nfilegroups.g = DIR/inbox/x\npositionFile = DIR/inbox", true),
        ("TAILDIR", "filegroups = g\nfilegroups.g = DIR/inbox/x\npositionFile = DIR/file", true),
        (
            "TAILDIR",
            "filegroups = g\nfilegroups.g = DIR/file/below/x\ncreateDirectories = true\npositionFile = DIR/p",
            true,
        ),
        ("avro", "bind = 127.0.0.1\nport = 0\nssl = true\nkeystore = DIR/none", false),
        ("avro", "bind = 127.0.0.1\nport = 0\nssl = true\nkeystore = DIR/inbox", true),
        ("avro", "bind = 127.0.0.1\nport = 0\nssl = true\nkeystore = DIR/file", true),
        (
            "avro",
            "bind = 127.0.0.1\nport = 0\nssl = true\nkeystore = STORES/pair.jks\nkeystore-password = x",
            true,
        ),
    ] {
        check(Role::Source, name, keys, want).await;
    }
    for (name, keys, want) in [
        ("file_roll", "sink.directory = DIR/none", false),
        ("file_roll", "sink.directory = DIR/file", true),
        ("file_roll", "sink.directory = DIR/file/below\nsink.createDirectory = true", true),
        ("file_roll", "sink.directory = DIR/file\nsink.createDirectory = true", true),
        ("avro", "hostname = h\nport = 1\nssl = true\ntruststore = DIR/none", false),
        ("avro", "hostname = h\nport = 1\nssl = true\ntruststore = DIR/inbox", true),
        ("avro", "hostname = h\nport = 1\nssl = true\ntruststore = DIR/file", true),
    ] {
        check(Role::Sink, name, keys, want).await;
    }
    for keys in ["dataDirs = DIR/file", "dataDirs = DIR/file/below"] {
        check(Role::Channel, "file", keys, true).await;
    }
}

/// Who may not listen on a low port is told so by the kind of the system's error, which has to be there
/// whatever the protocol.
#[tokio::test]
async fn why_a_port_cannot_be_listened_on_is_known_by_kind() {
    let (tcp, udp) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let [tcp_port, udp_port] = [tcp.local_addr(), udp.local_addr()].map(|at| at.unwrap().port());
    for (name, host, port) in [
        ("netcat", "bind", tcp_port),
        ("syslogtcp", "host", tcp_port),
        ("netcatudp", "bind", udp_port),
        ("syslogudp", "host", udp_port),
    ] {
        let keys = format!("{host} = 127.0.0.1\nport = {port}");
        let OpenError::Unavailable(cause) = refusal(Role::Source, name, &keys).await else {
            panic!("{name} is refused for its keys");
        };
        assert_eq!(kind(&*cause), Some(AddrInUse), "{name}: {cause}");
    }
}

fn kind(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    let io = error.downcast_ref::<std::io::Error>();
    io.map(std::io::Error::kind).or_else(|| kind(error.source()?))
}
