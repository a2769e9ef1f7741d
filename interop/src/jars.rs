//! The jars of Flume and HBase, resolved once with Maven into a cache folder and shared by all who start them.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::peers::{Missing, found_in};

const VERSION: &str = "1.11.0";

/// Groups and artifacts of Flume itself; the version is Flume's own.
const FLUME: &[(&str, &str)] = &[
    ("org.apache.flume", "flume-ng-node"),
    ("org.apache.flume", "flume-ng-core"),
    ("org.apache.flume", "flume-ng-sdk"),
    ("org.apache.flume", "flume-ng-configuration"),
    ("org.apache.flume", "flume-tools"),
    ("org.apache.flume.flume-ng-channels", "flume-file-channel"),
    ("org.apache.flume.flume-ng-channels", "flume-spillable-memory-channel"),
    ("org.apache.flume.flume-ng-sources", "flume-taildir-source"),
    ("org.apache.flume.flume-ng-sinks", "flume-http-sink"),
];

/// What Flume logs with; the version comes from Flume's parent.
const LOGGING: &[(&str, &str)] = &[
    ("org.apache.logging.log4j", "log4j-slf4j-impl"),
    ("org.apache.logging.log4j", "log4j-1.2-api"),
    ("org.apache.logging.log4j", "log4j-core"),
];

/// A cold Maven repository on a slow line needs minutes; more than this means that it hangs.
const MAVEN_LIMIT: Duration = Duration::from_secs(600);

/// The HBase that stands alone in one process; `SPLASHDAM_HBASE_VERSION` names another, such as 2.4.18.
const HBASE_VERSION: &str = "2.6.2";
/// What it logs with.
const HBASE_LOGGING: (&str, &str, &str) = ("org.slf4j", "slf4j-reload4j", "1.7.36");

/// What HBase 2.4 logged with, which does not run on a Java of today beside the above.
const OLD_LOGGING: &[(&str, &str)] = &[("log4j", "log4j"), ("org.slf4j", "slf4j-log4j12")];

/// Flume's appenders for Log4j 1, and the Log4j 1 that is still kept up.
const LOG4J: &[(&str, &str, &str)] = &[
    ("org.apache.flume.flume-ng-clients", "flume-ng-log4jappender", VERSION),
    ("ch.qos.reload4j", "reload4j", "1.2.25"),
    ("org.slf4j", "slf4j-reload4j", "1.7.36"),
];

/// What Flume's HBase sink needs beside it: Flume brings no client of HBase.
const FLUME_HBASE_CLIENT: &str = "2.4.11";

/// The broker that stands alone in one process.
const ARTEMIS_VERSION: &str = "2.37.0";
/// The other broker, and its client beside Flume.
const ACTIVEMQ_VERSION: &str = "5.18.6";
/// The client of AMQP that sends to either, beside their own.
const QPID: (&str, &str, &str) = ("org.apache.qpid", "qpid-jms-client", "1.12.1");
/// A client of Artemis that is as old as Flume, whose libraries it shares.
const FLUME_ARTEMIS_CLIENT: &str = "2.19.1";

/// The folder with ActiveMQ Artemis' jars, server and client, and Qpid's client.
pub(crate) fn artemis() -> Result<PathBuf, Missing> {
    let group = "org.apache.activemq";
    let artifacts = [
        (group, "artemis-server", ARTEMIS_VERSION),
        (group, "artemis-amqp-protocol", ARTEMIS_VERSION),
        (group, "artemis-jms-client", ARTEMIS_VERSION),
        QPID,
    ];
    let pom = standalone_pom("artemis-peer", ARTEMIS_VERSION, &artifacts, &[]);
    fetched(&format!("artemis-{ARTEMIS_VERSION}"), &pom)
}

/// The folder with ActiveMQ Classic's jars, server and client, and Qpid's client.
pub(crate) fn activemq() -> Result<PathBuf, Missing> {
    let group = "org.apache.activemq";
    let artifacts = [
        (group, "activemq-broker", ACTIVEMQ_VERSION),
        (group, "activemq-amqp", ACTIVEMQ_VERSION),
        (group, "activemq-kahadb-store", ACTIVEMQ_VERSION),
        (group, "activemq-jaas", ACTIVEMQ_VERSION),
        QPID,
    ];
    let pom = standalone_pom("activemq-peer", ACTIVEMQ_VERSION, &artifacts, &[]);
    fetched(&format!("activemq-{ACTIVEMQ_VERSION}"), &pom)
}

/// The folder with Flume's jars, its JMS source and clients of both brokers for that.
pub(crate) fn flume_with_jms() -> Result<PathBuf, Missing> {
    let mut more = String::new();
    let pinned = |version: &str, without: &[(&str, &str)]| {
        format!("<version>{version}</version>{}", exclusions(without))
    };
    // The source brings the interfaces of JMS 1.1, the client those of 2.0, which hold them.
    let source = pinned(VERSION, &[("org.apache.geronimo.specs", "geronimo-jms_1.1_spec")]);
    depend(&mut more, "org.apache.flume.flume-ng-sources", "flume-jms-source", &source);
    // Flume has a Netty, all of one version.
    let client = pinned(FLUME_ARTEMIS_CLIENT, &[("io.netty", "*")]);
    depend(&mut more, "org.apache.activemq", "artemis-jms-client", &client);
    let client = pinned(ACTIVEMQ_VERSION, &[]);
    depend(&mut more, "org.apache.activemq", "activemq-client", &client);
    fetched(&format!("flume-{VERSION}-jms"), &pom(&more))
}

/// The folder with Flume's jars, its HBase sink and a client for that.
pub(crate) fn flume_with_hbase() -> Result<PathBuf, Missing> {
    let mut more = String::new();
    let version = |version: &str| format!("<version>{version}</version>");
    let sink = "flume-ng-hbase2-sink";
    depend(&mut more, "org.apache.flume.flume-ng-sinks", sink, &version(VERSION));
    for artifact in ["hbase-client", "hbase-common"] {
        depend(&mut more, "org.apache.hbase", artifact, &version(FLUME_HBASE_CLIENT));
    }
    fetched(&format!("flume-{VERSION}-hbase"), &pom(&more))
}

/// The folder with Flume's jars and its legacy Avro source.
pub(crate) fn flume_with_avro_legacy() -> Result<PathBuf, Missing> {
    let mut more = String::new();
    let version = format!("<version>{VERSION}</version>");
    let group = "org.apache.flume.flume-ng-legacy-sources";
    depend(&mut more, group, "flume-avro-source", &version);
    fetched(&format!("flume-{VERSION}-legacy"), &pom(&more))
}

/// The folder with Flume's jars.
pub(crate) fn flume() -> Result<PathBuf, Missing> {
    fetched(&format!("flume-{VERSION}"), &pom(""))
}

/// The folder with Flume's appenders for Log4j, and a Log4j 1.
pub(crate) fn flume_log4j() -> Result<PathBuf, Missing> {
    fetched(&format!("flume-{VERSION}-log4j"), &standalone_pom("log4j-peer", VERSION, LOG4J, &[]))
}

/// The folder with HBase's jars, server and client.
pub(crate) fn hbase() -> Result<PathBuf, Missing> {
    let version = env::var("SPLASHDAM_HBASE_VERSION").unwrap_or_else(|_| HBASE_VERSION.to_owned());
    let artifacts = [
        ("org.apache.hbase", "hbase-server", &*version),
        ("org.apache.hbase", "hbase-zookeeper", &*version),
        HBASE_LOGGING,
    ];
    let pom = standalone_pom("hbase-peer", &version, &artifacts, OLD_LOGGING);
    fetched(&format!("hbase-{version}"), &pom)
}

/// The folder with what a POM asks for. A stamp file marks it whole, a lock file keeps two processes from filling it at
/// once.
fn fetched(name: &str, pom: &str) -> Result<PathBuf, Missing> {
    let home = cache().join(name);
    let lib = home.join("lib");
    let stamp = home.join("complete");
    if stamp.is_file() {
        return Ok(lib);
    }
    let failed = |error: io::Error| Missing::Jars(format!("{}: {error}", home.display()));
    fs::create_dir_all(&home).map_err(failed)?;
    let lock = File::create(home.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    if stamp.is_file() {
        return Ok(lib);
    }
    if lib.exists() {
        fs::remove_dir_all(&lib).map_err(failed)?;
    }
    resolve(&home, &lib, pom)?;
    fs::write(&stamp, name).map_err(failed)?;
    Ok(lib)
}

fn resolve(home: &Path, lib: &Path, pom: &str) -> Result<(), Missing> {
    let maven = found_in("MAVEN_HOME", "mvn").ok_or(Missing::Maven)?;
    let failed = |error: io::Error| Missing::Jars(error.to_string());
    fs::write(home.join("pom.xml"), pom).map_err(failed)?;
    let log = home.join("maven.log");
    let said = File::create(&log).map_err(failed)?;
    let mut child = Command::new(maven)
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .args(["-Drat.skip=true", "-Denforcer.skip=true"])
        .arg(format!("-DoutputDirectory={}", lib.display()))
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(said.try_clone().map_err(failed)?)
        .stderr(said)
        .spawn()
        .map_err(failed)?;
    let began = Instant::now();
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if began.elapsed() > MAVEN_LIMIT => {
                child.kill().map_err(failed)?;
                break child.wait().map_err(failed)?;
            }
            None => thread::sleep(Duration::from_millis(50)),
        }
    };
    if status.success() {
        Ok(())
    } else {
        Err(Missing::Jars(format!("maven ended with {status}, its words are in {}", log.display())))
    }
}

/// Our own POM. Its version is Flume's because the parent names Flume's modules by `project.version`.
fn pom(more: &str) -> String {
    let mut wanted = String::new();
    for (group, artifact) in FLUME {
        depend(&mut wanted, group, artifact, &format!("<version>{VERSION}</version>"));
    }
    for (group, artifact) in LOGGING {
        depend(&mut wanted, group, artifact, "");
    }
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <parent>
    <groupId>org.apache.flume</groupId>
    <artifactId>flume-parent</artifactId>
    <version>{VERSION}</version>
    <relativePath/>
  </parent>
  <groupId>splashdam</groupId>
  <artifactId>flume-peer</artifactId>
  <version>{VERSION}</version>
  <packaging>pom</packaging>
  <dependencies>
{wanted}{more}  </dependencies>
</project>
"#
    )
}

/// A POM of some artifacts, without others that they would bring.
fn standalone_pom(
    name: &str,
    named_version: &str,
    artifacts: &[(&str, &str, &str)],
    without: &[(&str, &str)],
) -> String {
    let exclusions = exclusions(without);
    let mut wanted = String::new();
    for (group, artifact, version) in artifacts {
        let more = format!("<version>{version}</version>{exclusions}");
        depend(&mut wanted, group, artifact, &more);
    }
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>splashdam</groupId>
  <artifactId>{name}</artifactId>
  <version>{named_version}</version>
  <packaging>pom</packaging>
  <dependencies>
{wanted}  </dependencies>
</project>
"#
    )
}

/// What a dependency is not to bring.
fn exclusions(without: &[(&str, &str)]) -> String {
    let exclusion = |(group, artifact): &(&str, &str)| {
        format!(
            "<exclusion><groupId>{group}</groupId><artifactId>{artifact}</artifactId></exclusion>"
        )
    };
    let all: String = without.iter().map(exclusion).collect();
    format!("<exclusions>{all}</exclusions>")
}

fn depend(pom: &mut String, group: &str, artifact: &str, version: &str) {
    writeln!(
        pom,
        "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>{version}</dependency>"
    )
    .expect("writing to a string does not fail");
}

fn cache() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir);
    base.join("splashdam")
}
