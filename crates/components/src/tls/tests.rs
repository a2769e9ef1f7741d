//! Both sides against each other, over a pipe in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use splashdam_config::Section;
use splashdam_core::{Context, OpenError, Role};
use splashdam_testkit::fakes::{FakeWorld, context, context_in};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// What the source's and the sink's component holds.
#[derive(Deserialize)]
struct Config<T> {
    #[serde(rename = ".tls", bound(deserialize = "T: Default + Deserialize<'de>"), default)]
    tls: T,
}

pub(super) fn read<T: Default + serde::de::DeserializeOwned>(keys: &str) -> T {
    Section::parse(keys).read::<Config<T>>().into_result().unwrap().tls
}

/// Certificates in a directory: `ca.pem`, and pairs under names.
struct Mill {
    dir: tempfile::TempDir,
    authority: Issuer<'static, KeyPair>,
}

impl Mill {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (authority, pem) = authority("authority");
        fs::write(dir.path().join("ca.pem"), pem).unwrap();
        Mill { dir, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A key with a certificate of the authority, in one PEM file.
    fn pair(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let pem = certificate.pem() + &key.serialize_pem();
        fs::write(self.path(name), pem).unwrap();
    }

    /// `keys` with `DIR` replaced.
    fn keys(&self, keys: &str) -> String {
        keys.replace("DIR", &self.dir.path().display().to_string())
    }

    async fn acceptor(&self, keys: &str) -> Acceptor {
        let tls: ServerTls = read(&format!("ssl = true\n{}", self.keys(keys)));
        tls.acceptor(&context(Role::Source)).await.unwrap().unwrap()
    }

    async fn connector(&self, keys: &str) -> Connector {
        let tls: ClientTls = read(&format!("ssl = true\n{}", self.keys(keys)));
        tls.connector(&context(Role::Sink)).await.unwrap().unwrap()
    }

    /// What each side says of a handshake; an empty text is success, with bytes carried both ways.
    async fn meet(&self, server: &str, client: &str, host: &str) -> [String; 2] {
        meet(&self.acceptor(server).await, &self.connector(client).await, host).await
    }
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

async fn meet(acceptor: &Acceptor, connector: &Connector, host: &str) -> [String; 2] {
    async fn talk(stream: Result<Stream<DuplexStream>, HandshakeError>) -> String {
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(error) => return error.to_string(),
        };
        assert!(stream.is_encrypted());
        let mut byte = [0];
        let talked = async {
            stream.write_all(b"!").await?;
            stream.flush().await?;
            stream.read_exact(&mut byte).await
        };
        talked.await.map_or_else(|error| error.to_string(), |_| String::new())
    }
    let (near, far) = duplex(1 << 16);
    let (server, client) = tokio::join!(async { talk(acceptor.accept(near).await).await }, async {
        talk(connector.connect(far, host).await).await
    },);
    [server, client]
}

fn assert_said(said: &[String; 2], want: [&str; 2], case: &str) {
    for (said, want) in said.iter().zip(want) {
        assert!(
            if want.is_empty() { said.is_empty() } else { said.contains(want) },
            "{case}: {said:?}"
        );
    }
}

const TRUST_CA: &str = "truststore = DIR/ca.pem";

#[tokio::test]
async fn trust_is_as_in_java() {
    let mill = Mill::new();
    mill.pair("good", |_| ());
    mill.pair("old", |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    // May sign others, and is no worse a server for it.
    mill.pair("sub", |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    mill.pair("nameless", |params| params.subject_alt_names.clear());
    let (_, stranger) = authority("stranger");
    fs::write(mill.path("stranger.pem"), stranger).unwrap();
    let not_trusted = ["does not trust our certificate", "nobody that is trusted has signed it"];
    for (server, client, host, want) in [
        ("good", TRUST_CA, "good", ["", ""]),
        ("good", TRUST_CA, "other", ["", ""]),
        ("good", TRUST_CA, "127.0.0.1", ["", ""]),
        ("good", TRUST_CA, "no name", ["", ""]),
        ("sub", TRUST_CA, "sub", ["", ""]),
        ("nameless", TRUST_CA, "nameless", ["", ""]),
        // What lies in the trust store is good as it is.
        ("old", "truststore = DIR/old", "old", ["", ""]),
        ("good", "truststore = DIR/good", "good", ["", ""]),
        ("old", TRUST_CA, "old", ["as expired", "it has expired"]),
        ("good", "truststore = DIR/stranger.pem", "good", not_trusted),
        ("sub", "truststore = DIR/stranger.pem", "sub", not_trusted),
        ("good", "truststore = DIR/old", "good", not_trusted),
        ("old", "trust-all-certs = true", "x", ["", ""]),
        ("good", "truststore = DIR/ca.pem\nverify-host-name = true", "good", ["", ""]),
        (
            "good",
            "truststore = DIR/ca.pem\nverify-host-name = true",
            "other",
            ["does not trust", "connect by a name"],
        ),
    ] {
        let said = mill.meet(&format!("keystore = DIR/{server}"), client, host).await;
        assert_said(&said, want, &format!("{server}, {client}, {host}"));
    }
}

#[tokio::test]
async fn clients_show_certificates_when_asked() {
    let mill = Mill::new();
    mill.pair("server", |_| ());
    mill.pair("client", |_| ());
    let asks = |how: &str| {
        format!("keystore = DIR/server\ntruststore = DIR/ca.pem\nclient-authentication = {how}")
    };
    let shows = "truststore = DIR/ca.pem\nkeystore = DIR/client";
    let (authority, _) = authority("stranger");
    let stranger = Mill { dir: tempfile::tempdir().unwrap(), authority };
    stranger.pair("client", |_| ());
    fs::copy(stranger.path("client"), mill.path("stranger")).unwrap();
    let strange = "truststore = DIR/ca.pem\nkeystore = DIR/stranger";
    for (how, client, want) in [
        ("needed", shows, ["", ""]),
        ("wanted", shows, ["", ""]),
        ("wanted", TRUST_CA, ["", ""]),
        ("none", shows, ["", ""]),
        ("needed", TRUST_CA, ["shows no certificate", "CertificateRequired"]),
        ("needed", strange, ["client's certificate is refused: nobody", "UnknownCA"]),
        ("wanted", strange, ["client's certificate is refused: nobody", "UnknownCA"]),
    ] {
        let said = mill.meet(&asks(how), client, "server").await;
        assert_said(&said, want, &format!("{how}, {client}"));
    }
}

#[tokio::test]
async fn protocols_and_suites_must_meet() {
    let mill = Mill::new();
    mill.pair("server", |_| ());
    let none = ["no protocol or cipher suite", "no common protocol"];
    for (server, client, want) in [
        ("include-protocols = TLSv1.2", "", ["", ""]),
        ("include-protocols = TLSv1.1 TLSv1.2", "include-protocols = TLSv1.2", ["", ""]),
        ("exclude-protocols = TLSv1.2", "include-protocols = TLSv1.3", ["", ""]),
        ("include-protocols = TLSv1.3", "include-protocols = TLSv1.2", none),
        (
            "include-cipher-suites = TLS_AES_128_GCM_SHA256",
            "exclude-cipher-suites = TLS_AES_128_GCM_SHA256",
            none,
        ),
    ] {
        let server = format!("keystore = DIR/server\n{server}");
        let said = mill.meet(&server, &format!("{TRUST_CA}\n{client}"), "server").await;
        assert_said(&said, want, &format!("{server}, {client}"));
    }
}

#[tokio::test]
async fn a_peer_without_tls_is_told_apart() {
    let mill = Mill::new();
    mill.pair("server", |_| ());
    let acceptor = mill.acceptor("keystore = DIR/server").await;
    let check = async |bytes: &[u8], want: &str| {
        let (near, mut far) = duplex(1 << 16);
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let said = acceptor.accept(near).await.unwrap_err().to_string();
        assert!(said.contains(want), "{said}");
    };
    check(b"GET / HTTP/1.1\r\n\r\n", "does not speak TLS").await;
    check(&[0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 16], "does not speak TLS").await;
    check(b"", "closed the connection").await;
    check(&[0x16, 3, 1, 2], "closed the connection").await;
    check(&[0x16, 3, 1, 0xff, 0xff, 1], "the TLS handshake failed").await;
}

#[tokio::test]
async fn a_client_whose_certificate_is_refused_is_told_what_to_do() {
    let mill = Mill::new();
    mill.pair("server", |_| ());
    mill.pair("client", |_| ());
    let (_, pem) = authority("another");
    fs::write(mill.path("another.pem"), pem).unwrap();
    let server =
        "keystore = DIR/server\nclient-authentication = needed\ntruststore = DIR/another.pem";
    let acceptor = mill.acceptor(server).await;
    // With TLS 1.2 the handshake says it, with TLS 1.3 what is read behind it.
    for (keys, early) in [
        ("include-protocols = TLSv1.2", true),
        ("include-protocols = TLSv1.2\nkeystore = DIR/client", true),
        ("include-protocols = TLSv1.3", false),
        ("include-protocols = TLSv1.3\nkeystore = DIR/client", false),
    ] {
        let connector = mill.connector(&format!("{TRUST_CA}\n{keys}")).await;
        let (near, far) = duplex(1 << 16);
        let met = tokio::join!(acceptor.accept(near), connector.connect(far, "server"));
        let refused = match met {
            (Err(_), Err(error)) if early => error,
            (Err(_), Ok(mut stream)) if !early => {
                let error = stream.read_u8().await.unwrap_err();
                HandshakeError::behind_it(&error).expect("a word on certificates")
            }
            (_, client) => panic!("{keys}: {client:?}"),
        };
        assert!(refused.needs_hand(), "{keys}: {refused}");
        assert!(refused.to_string().contains("set `keystore` to a key"), "{keys}: {refused}");
    }
}

#[tokio::test]
async fn what_passes_is_told_from_what_somebody_has_to_mend() {
    let mill = Mill::new();
    mill.pair("server", |_| ());
    let connector = mill.connector("truststore = DIR/ca.pem\nverify-host-name = true").await;
    let (near, far) = duplex(1 << 16);
    drop(near);
    let gone = connector.connect(far, "server").await.unwrap_err();
    assert!(!gone.needs_hand(), "{gone}");
    assert!(HandshakeError::behind_it(&std::io::ErrorKind::ConnectionReset.into()).is_none());
    let acceptor = mill.acceptor("keystore = DIR/server").await;
    let (near, far) = duplex(1 << 16);
    let (_, met) = tokio::join!(acceptor.accept(near), connector.connect(far, "other"));
    let other = met.unwrap_err();
    assert!(other.needs_hand(), "{other}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_ten_seconds() {
    let mill = Mill::new();
    mill.pair("server", |_| ());
    let acceptor = mill.acceptor("keystore = DIR/server").await;
    let connector = mill.connector(TRUST_CA).await;
    let (near, _far) = duplex(1 << 16);
    let error = acceptor.accept(near).await.unwrap_err();
    assert!(matches!(error, HandshakeError::TimedOut), "{error}");
    let (near, _far) = duplex(1 << 16);
    let error = connector.connect(near, "server").await.unwrap_err();
    assert!(matches!(error, HandshakeError::TimedOut), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_is_noticed_and_a_bad_one_changes_nothing() {
    let mill = Mill::new();
    mill.pair("server", |_| ());
    let acceptor = mill.acceptor("keystore = DIR/server").await;
    // Trusts the second certificate only.
    mill.pair("next", |_| ());
    let connector = mill.connector("truststore = DIR/next").await;
    let pause = async || tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    let refused = ["does not trust", "nobody that is trusted"];
    assert_said(&meet(&acceptor, &connector, "x").await, refused, "at first");
    fs::write(mill.path("server"), "half of a file").unwrap();
    pause().await;
    assert_said(&meet(&acceptor, &connector, "x").await, refused, "a bad file");
    fs::copy(mill.path("next"), mill.path("server")).unwrap();
    assert_said(&meet(&acceptor, &connector, "x").await, refused, "before the next look");
    pause().await;
    assert_said(&meet(&acceptor, &connector, "x").await, ["", ""], "a new file");
    fs::remove_file(mill.path("server")).unwrap();
    pause().await;
    assert_said(&meet(&acceptor, &connector, "x").await, ["", ""], "no file");
}

#[tokio::test]
async fn what_is_not_set_falls_back_to_the_agents_settings() {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls");
    let at = |name: &str| stored.join(name).display().to_string();
    let property = |world: FakeWorld| {
        let world = world.with_property("javax.net.ssl.keyStore", &at("pair.jks"));
        world.with_property("javax.net.ssl.keyStorePassword", "storePassword")
    };
    let variable = |world: FakeWorld| {
        let world = world.with_variable("FLUME_SSL_KEYSTORE_PATH", &at("pair.p12"));
        world.with_variable("FLUME_SSL_KEYSTORE_PASSWORD", "storePassword")
    };
    let open = async |world: FakeWorld, keys: &str| {
        let tls: ServerTls = read(&format!("ssl = true\n{keys}"));
        let cx: Context = context_in(Role::Source, Arc::new(world));
        tls.acceptor(&cx).await.map(|acceptor| acceptor.unwrap())
    };
    let trusts_jks = format!("ssl = true\ntruststore = {}", at("trust.jks"));
    let connector: ClientTls = read(&trusts_jks);
    let connector = connector.connector(&context(Role::Sink)).await.unwrap().unwrap();
    let mut shown = Vec::new();
    for world in [property(FakeWorld::default()), property(variable(FakeWorld::default()))] {
        let acceptor = open(world, "").await.ok().unwrap();
        shown.push(meet(&acceptor, &connector, "x").await);
    }
    // The variable alone leads to a key that this client does not know, the component's own key beats both.
    let acceptor = open(variable(FakeWorld::default()), "").await.ok().unwrap();
    assert!(!meet(&acceptor, &connector, "x").await[1].is_empty());
    let own = format!("keystore = {}\nkeystore-password = storePassword", at("pair.jks"));
    let acceptor = open(variable(FakeWorld::default()), &own).await.ok().unwrap();
    shown.push(meet(&acceptor, &connector, "x").await);
    assert!(shown.iter().flatten().all(String::is_empty), "{shown:?}");

    let list = |property: &str| {
        FakeWorld::default().with_property("flume.ssl.include.protocols", property)
    };
    let own = own.as_str();
    assert!(open(list("TLSv1.1,TLSv1.2"), own).await.is_ok());
    assert!(open(list("TLSv1,TLSv1.1"), own).await.is_err());
    let both = list("TLSv1").with_variable("FLUME_SSL_INCLUDE_PROTOCOLS", "TLSv1.3");
    assert!(open(both, &format!("{own}\ninclude-protocols = TLSv1.2")).await.is_ok());
}

#[tokio::test]
async fn settings_that_cannot_work_say_why() {
    let stored = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls");
    let check = async |keys: &str, config: bool, want: &str| {
        let tls: ServerTls = read(&format!("ssl = true\n{}", keys.replace("DIR", stored)));
        let Err(error) = tls.acceptor(&context(Role::Source)).await else { panic!("{keys}") };
        let said = error.to_string();
        assert!(said.contains(want), "{said}");
        assert_eq!(matches!(error, OpenError::Config(_)), config, "{said}");
    };
    check("", true, "set `keystore`").await;
    check("keystore = DIR/none.jks", false, "none.jks: No such file").await;
    check("keystore = DIR/pair.jks", false, "pair.jks: it needs a password").await;
    check("keystore = DIR/pair.jks\nkeystore-password = x", false, "password is wrong").await;
    check("keystore = DIR/server.pem", false, "no private key in it").await;
    check(
        "keystore = DIR/dsa.jks\nkeystore-password = storePassword",
        false,
        "make an RSA or EC key",
    )
    .await;
    check("keystore = DIR/x\nkeystore-type = BKS", true, "type BKS are not read").await;
    check("keystore = DIR/x\ninclude-protocols = TLSv1.1", true, "leave no protocol").await;
    check("keystore = DIR/x\nclient-authentication = needed", true, "set `truststore`").await;
    let off: ServerTls = read("keystore = /none");
    assert!(off.acceptor(&context(Role::Source)).await.unwrap().is_none());
    assert_eq!(format!("{:?}", Password::from("secret")), "***");
}
