//! rsyslog forwards what `logger` tells it to all sources of syslog, in all its forms.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use splashdam_interop::{Agent, Make};

use crate::side_by_side::{LIMIT, channel_and_sink, is_set, ours, program, wait_for};
use crate::syslog::events_of;

/// A source, and how rsyslog's `omfwd` sends to it; both may say `{stores}`.
struct Way {
    source: &'static str,
    forward: &'static str,
    /// Whether the source reads what the RFCs say.
    rfc: bool,
}

const WAYS: &[Way] = &[
    Way { source: "type = syslogtcp\nport = 0", forward: TCP_OLD, rfc: false },
    Way { source: "type = syslogtcp\nport = 0", forward: TCP_NEW, rfc: false },
    Way { source: "type = syslogtcp\nport = 0\nmode = rfc", forward: TCP_OLD, rfc: true },
    Way { source: "type = syslogtcp\nport = 0\nmode = rfc", forward: TCP_NEW, rfc: true },
    Way { source: "type = syslogtcp\nport = 0\nmode = rfc", forward: COUNTED, rfc: true },
    Way { source: TLS_FLUME, forward: TLS_OLD, rfc: false },
    Way { source: TLS_RFC, forward: TLS_COUNTED, rfc: true },
    Way { source: "type = multiport_syslogtcp\nports = 0", forward: TCP_OLD, rfc: false },
    Way { source: "type = multiport_syslogtcp\nports = 0", forward: TCP_NEW, rfc: false },
    Way { source: "type = syslogudp\nport = 0", forward: UDP_OLD, rfc: false },
    Way { source: "type = syslogudp\nport = 0\nmode = rfc", forward: UDP_NEW, rfc: true },
];
const TCP_OLD: &str = r#"protocol="tcp" template="RSYSLOG_TraditionalForwardFormat""#;
const TCP_NEW: &str = r#"protocol="tcp" template="RSYSLOG_SyslogProtocol23Format""#;
const COUNTED: &str =
    r#"protocol="tcp" template="RSYSLOG_SyslogProtocol23Format" TCP_Framing="octet-counted""#;
const TLS_FLUME: &str = "type = syslogtcp\nport = 0\nssl = true\nkeystore = {stores}/pair.jks\n\
                         keystore-password = storePassword";
const TLS_RFC: &str = "type = syslogtcp\nport = 0\nssl = true\nkeystore = {stores}/pair.jks\n\
                       keystore-password = storePassword\nmode = rfc";
const TLS_OLD: &str = r#"protocol="tcp" template="RSYSLOG_TraditionalForwardFormat" StreamDriver="ossl" StreamDriverMode="1" StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="server" StreamDriver.CAFile="{stores}/server.pem""#;
const TLS_COUNTED: &str = r#"protocol="tcp" template="RSYSLOG_SyslogProtocol23Format" TCP_Framing="octet-counted" StreamDriver="ossl" StreamDriverMode="1" StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="server" StreamDriver.CAFile="{stores}/server.pem""#;
const UDP_OLD: &str = r#"protocol="udp" template="RSYSLOG_TraditionalForwardFormat""#;
const UDP_NEW: &str = r#"protocol="udp" template="RSYSLOG_SyslogProtocol23Format""#;

/// Key stores with one key for `server`, and its certificate.
const STORES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/components/testdata/tls");

/// What is logged.
const TEXTS: &[&str] = &["some text", "gr\u{fc}n, and <5>: more", "three"];

/// A running rsyslogd, killed when dropped.
struct Rsyslog(Child);

impl Rsyslog {
    /// Starts one that takes messages at `dir/socket`.
    fn start(program: &Path, dir: &Path, ports: &[u16]) -> Result<Rsyslog> {
        let at = dir.display();
        let mut config = format!(
            "global(workDirectory=\"{at}\" localHostname=\"mill\")\n\
             module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket=\"{at}/socket\" RateLimit.Interval=\"0\")\n"
        );
        for (way, port) in WAYS.iter().zip(ports) {
            let forward = way.forward.replace("{stores}", STORES);
            writeln!(
                config,
                "action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" {forward})"
            )?;
        }
        let file = dir.join("rsyslog.conf");
        fs::write(&file, config)?;
        let said = fs::File::create(dir.join("rsyslog.log"))?;
        let child = Command::new(program)
            .args(["-n", "-i", "NONE", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()?;
        let mut rsyslog = Rsyslog(child);
        let began = Instant::now();
        while !dir.join("socket").exists() {
            let log = || fs::read_to_string(dir.join("rsyslog.log")).unwrap_or_default();
            ensure!(rsyslog.0.try_wait()?.is_none(), "rsyslog ended: {}", log());
            ensure!(began.elapsed() < LIMIT, "rsyslog does not start: {}", log());
            thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(rsyslog)
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Whether rsyslog has its driver for TLS, which is a package of its own; says so if not.
fn speaks_tls() -> bool {
    let libraries = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let folders =
        libraries.map(|entry| entry.path()).chain(["/usr/lib", "/usr/lib64"].map(PathBuf::from));
    let found =
        folders.map(|folder| folder.join("rsyslog/lmnsd_ossl.so")).any(|path| path.is_file());
    if !found {
        let missing = "rsyslog speaks no TLS; install rsyslog-openssl";
        assert!(!is_set("SPLASHDAM_REQUIRE_INTEROP"), "{missing}");
        eprintln!("skipped: {missing}");
    }
    found
}

#[test]
fn rsyslog_forwards() -> Result<()> {
    let Some((ours, _turn)) = ours() else { return Ok(()) };
    let (Some(rsyslogd), Some(logger)) =
        (program("rsyslogd", "rsyslog"), program("logger", "bsdutils"))
    else {
        return Ok(());
    };
    if !speaks_tls() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let mut agent = start(&ours, dir.path())?;
    let ports: Vec<u16> = (1..=WAYS.len())
        .map(|number| Ok(agent.listening(&format!("r{number}"))?[0].port()))
        .collect::<Result<_>>()?;
    let _rsyslog = Rsyslog::start(&rsyslogd, dir.path(), &ports)?;
    for text in TEXTS {
        let output = Command::new(&logger)
            .arg("--socket")
            .arg(dir.path().join("socket"))
            .args(["--priority", "local0.warning", "--tag", "saw", "--id=77", "--", text])
            .output()?;
        ensure!(output.status.success(), "logger: {}", String::from_utf8_lossy(&output.stderr));
    }
    for number in 1..=WAYS.len() {
        wait_for(&mut agent, &format!("k{number}"), TEXTS.len() as u64)?;
    }
    agent.stop()?;
    for (number, way) in (1..).zip(WAYS) {
        let events = events_of(&dir.path().join(format!("k{number}")))?;
        let name = format!("{:?}, {}", way.source, way.forward);
        assert_eq!(events.len(), TEXTS.len(), "{name}");
        for ((headers, body), text) in events.iter().zip(TEXTS) {
            let header = |name: &str| headers.get(name).map_or("", String::as_str);
            let said = ["Facility", "Severity", "host", "flume.syslog.status"].map(header);
            assert_eq!(said, ["16", "4", "mill", ""], "{name}: {headers:?}");
            assert!(!header("timestamp").is_empty(), "{name}: {headers:?}");
            let body = str::from_utf8(body).context("the body is no text")?;
            if way.rfc {
                let said = [header("appname"), header("procid"), body.trim_start()];
                assert_eq!(said, ["saw", "77", text], "{name}");
            } else {
                assert!(body.contains("saw") && body.ends_with(text), "{name}: {body}");
            }
        }
    }
    Ok(())
}

fn start(ours: &Make, dir: &Path) -> Result<Agent> {
    let mut config = String::new();
    let mut names = [String::new(), String::new(), String::new()];
    for (number, way) in (1..).zip(WAYS) {
        fs::create_dir(dir.join(format!("k{number}")))?;
        config += &channel_and_sink(number, "avro_event");
        let source = way.source.replace("{stores}", STORES);
        let keys = format!("{source}\nhost = 127.0.0.1\nchannels = c{number}");
        for line in keys.lines() {
            writeln!(config, "a1.sources.r{number}.{line}")?;
        }
        for (names, letter) in names.iter_mut().zip(["r", "c", "k"]) {
            write!(names, " {letter}{number}")?;
        }
    }
    let [sources, channels, sinks] = names;
    config += &format!("a1.sources ={sources}\na1.channels ={channels}\na1.sinks ={sinks}\n");
    Agent::start(ours, dir, &config.replace("{dir}", &dir.display().to_string()))
}
