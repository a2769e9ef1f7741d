//! Against Java's own TLS, with key stores that keytool makes for each run. Left out, with a word, where there is no
//! JDK.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use splashdam_core::Role;
use splashdam_testkit::fakes::{FakeWorld, context_in};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};

use super::tests::read;
use super::*;

/// Key stores of a server, of a client, and of whom nobody knows, of one kind each.
struct Stores(tempfile::TempDir);

impl Stores {
    /// `None` where there is no JDK.
    async fn new() -> Option<Stores> {
        let stores = Stores(tempfile::tempdir().unwrap());
        let pair = "-genkeypair -dname CN=mill -validity 30 -storepass changeit -keypass changeit";
        for (name, more) in [
            ("server.jks", "-alias s -keyalg RSA -keysize 2048 -storetype JKS"),
            ("client.p12", "-alias c -keyalg EC -groupname secp384r1 -storetype PKCS12"),
            ("stranger.p12", "-alias x -keyalg EC -groupname secp256r1 -storetype PKCS12"),
        ] {
            stores.keytool(&format!("{pair} {more} -keystore {name}")).await?;
        }
        for (name, alias, from, kind) in [
            ("trusts-server.p12", "s", "server.jks", "PKCS12"),
            ("trusts-server.jks", "s", "server.jks", "JKS"),
            ("trusts-client.jks", "c", "client.p12", "JKS"),
        ] {
            let all = "-storepass changeit -file certificate";
            stores.keytool(&format!("-exportcert {all} -alias {alias} -keystore {from}")).await?;
            let import = format!("-importcert -noprompt {all} -alias {alias} -keystore {name}");
            stores.keytool(&format!("{import} -storetype {kind}")).await?;
        }
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls/Peer.java");
        let mut compiler = Command::new("javac");
        let compiled = compiler.arg("-d").arg(stores.0.path()).arg(program).status().await.ok()?;
        assert!(compiled.success());
        Some(stores)
    }

    async fn keytool(&self, arguments: &str) -> Option<()> {
        let mut command = Command::new("keytool");
        command.args(arguments.split(' ')).current_dir(self.0.path());
        match command.output().await {
            Err(_) => {
                eprintln!("left out: there is no keytool on this machine");
                None
            }
            Ok(said) => {
                assert!(said.status.success(), "{arguments}: {said:?}");
                Some(())
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        if name == "-" { PathBuf::from("-") } else { self.0.path().join(name) }
    }

    /// Keys of the configuration, with the directory for `DIR`.
    fn keys(&self, keys: &str) -> String {
        let all = "ssl = true\nkeystore-password = changeit\ntruststore-password = changeit";
        format!("{all}\n{}", keys.replace("DIR", &self.0.path().display().to_string()))
    }

    fn java(&self, side: &str, port: u16, protocol: &str, stores: [&str; 2], asks: &str) -> Child {
        Command::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-cp"])
            .arg(self.0.path())
            .arg("Peer")
            .args([side, &port.to_string(), protocol])
            .args(stores.map(|name| self.path(name)))
            .arg(asks)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }
}

/// A byte each way; what hinders it.
async fn talk(mut stream: Stream<TcpStream>) -> String {
    let mut byte = [0];
    let talked = async {
        stream.write_all(b"!").await?;
        stream.flush().await?;
        stream.read_exact(&mut byte).await
    };
    talked.await.map_or_else(|error| error.to_string(), |_| String::new())
}

async fn line(out: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    out.read_line(&mut line).await.unwrap();
    line.trim().to_owned()
}

/// The time at which keytool made the certificates.
fn context(role: Role) -> splashdam_core::Context {
    let world = FakeWorld::default();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    world.set_millis(i64::try_from(now.as_millis()).unwrap());
    context_in(role, std::sync::Arc::new(world))
}

#[tokio::test]
async fn java_clients_are_served() {
    let Some(stores) = Stores::new().await else { return };
    let keystore = "keystore = DIR/server.jks";
    let asks = "keystore = DIR/server.jks\ntruststore = DIR/trusts-client.jks\nclient-authentication = needed";
    for (protocol, keys, java, want) in [
        ("TLSv1.3", keystore, ["-", "trusts-server.p12"], ["", "TLSv1.3 ok"]),
        ("TLSv1.2", keystore, ["-", "trusts-server.jks"], ["", "TLSv1.2 ok"]),
        ("TLSv1.3", asks, ["client.p12", "trusts-server.jks"], ["", "TLSv1.3 ok"]),
        ("TLSv1.2", asks, ["client.p12", "trusts-server.jks"], ["", "TLSv1.2 ok"]),
        (
            "TLSv1.2",
            asks,
            ["stranger.p12", "trusts-server.jks"],
            ["is refused: nobody", "Exception"],
        ),
        ("TLSv1.2", asks, ["-", "trusts-server.jks"], ["shows no certificate", "Exception"]),
        ("TLSv1.3", keystore, ["-", "trusts-client.jks"], ["does not trust our", "Exception"]),
    ] {
        let tls: ServerTls = read(&stores.keys(keys));
        let acceptor = tls.acceptor(&context(Role::Source)).await.unwrap().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut java = stores.java("client", port, protocol, java, "");
        let mut out = BufReader::new(java.stdout.take().unwrap());
        let (socket, _) = listener.accept().await.unwrap();
        let ours = match acceptor.accept(socket).await {
            Ok(stream) => talk(stream).await,
            Err(error) => error.to_string(),
        };
        let theirs = line(&mut out).await;
        assert!(ours.contains(want[0]) && want[0].is_empty() == ours.is_empty(), "{keys}: {ours}");
        assert!(theirs.contains(want[1]), "{keys}: {theirs}");
    }
}

#[tokio::test]
async fn java_servers_are_spoken_to() {
    let Some(stores) = Stores::new().await else { return };
    let trust = "truststore = DIR/trusts-server.jks";
    let shows = "truststore = DIR/trusts-server.p12\nkeystore = DIR/client.p12";
    for (protocol, keys, server, asks, want) in [
        ("TLSv1.3", trust, ["server.jks", "-"], "none", ["", "TLSv1.3 ok"]),
        ("TLSv1.2", trust, ["server.jks", "-"], "none", ["", "TLSv1.2 ok"]),
        ("TLSv1.2", "trust-all-certs = true", ["stranger.p12", "-"], "none", ["", "TLSv1.2 ok"]),
        ("TLSv1.3", shows, ["server.jks", "trusts-client.jks"], "needed", ["", "TLSv1.3 ok"]),
        ("TLSv1.2", shows, ["server.jks", "trusts-client.jks"], "needed", ["", "TLSv1.2 ok"]),
        (
            "TLSv1.2",
            trust,
            ["server.jks", "trusts-client.jks"],
            "needed",
            ["refuses our cert", "Exception"],
        ),
        ("TLSv1.3", trust, ["stranger.p12", "-"], "none", ["nobody that is trusted", "Exception"]),
    ] {
        let tls: ClientTls = read(&stores.keys(keys));
        let connector = tls.connector(&context(Role::Sink)).await.unwrap().unwrap();
        let mut java = stores.java("server", 0, protocol, server, asks);
        let mut out = BufReader::new(java.stdout.take().unwrap());
        let port: u16 = line(&mut out).await.parse().unwrap();
        let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let ours = match connector.connect(socket, "127.0.0.1").await {
            Ok(stream) => talk(stream).await,
            Err(error) => error.to_string(),
        };
        let theirs = line(&mut out).await;
        assert!(ours.contains(want[0]) && want[0].is_empty() == ours.is_empty(), "{keys}: {ours}");
        assert!(theirs.contains(want[1]), "{keys}: {theirs}");
    }
}
