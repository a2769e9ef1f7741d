//! What keys come to, and what is said of them.

use super::*;

#[test]
fn keys_fall_back_as_in_flume() {
    let check = |keys: &str, capacity, transaction, seconds, bytes| {
        let limits = read(keys).limits();
        let got = (
            limits.capacity.events,
            limits.transaction_events,
            limits.keep_alive.as_secs(),
            limits.capacity.bytes,
        );
        assert_eq!(got, (capacity, transaction, seconds, bytes), "{keys}");
    };
    check("", 1_000_000, 10_000, 3, u64::MAX);
    check("capacity = 0\ntransactionCapacity = -1\nkeep-alive = x", 1_000_000, 10_000, 3, u64::MAX);
    check("capacity = 7\ntransactionCapacity = 5\nkeep-alive = 0\ncapacityBytes = 9", 7, 5, 0, 9);
    let check = |keys: &str, segment, free| {
        let settings = read(keys).settings();
        assert_eq!((settings.segment_bytes, settings.least_free_bytes), (segment, free), "{keys}");
    };
    check("", 64 << 20, 524_288_000);
    check("maxFileSize = 1\nminimumRequiredSpace = 1", 1 << 20, 1 << 20);
    check("maxFileSize = 5000000\nminimumRequiredSpace = 5000000", 5_000_000, 5_000_000);
}

#[test]
fn findings_name_what_is_wrong_or_without_effect() {
    let check = |keys: &str, want: &[&str]| {
        let section = Section::parse(keys);
        let findings = FileChannel::check(&read(keys), &section);
        let got: Vec<_> =
            findings.iter().map(|f| format!("{}: {}", f.severity.name(), f.message)).collect();
        assert_eq!(got, want, "{keys}");
        assert!(findings.iter().all(|finding| finding.span.is_some()), "{keys}");
    };
    check("dataDirs = /x\ncapacity = 20000", &[]);
    check("capacity = 5", &["error: transactionCapacity 10000 is greater than capacity 5"]);
    check("capacity = -5", &["warning: `capacity` cannot be -5"]);
    check("maxFileSize = 5", &["warning: `maxFileSize` cannot be 5"]);
    check(
        "checkpointDir = /x\nuse-fast-replay = true",
        &[
            "note: `checkpointDir` has no effect: the state is kept in `dataDirs`, and this is only read to take over what a Flume left",
            "note: `use-fast-replay` has no effect: there is one way to read the log, and it is fast",
        ],
    );
    check(
        "useDualCheckpoints = true",
        &[
            "error: backupCheckpointDir is missing with useDualCheckpoints",
            "note: `useDualCheckpoints` has no effect: the state can always be read from the data",
        ],
    );
    check("fsyncPerTransaction = false\nfsyncInterval = 2\ncompression = LZ4", &[]);
    check(
        "fsyncInterval = 2",
        &["note: `fsyncInterval` has no effect: every transaction is synced"],
    );
    let encryption = |more: &str| {
        format!(
            "encryption.keyProvider = JCEKSFILE\nencryption.keyProvider.keyStoreFile = /x\n\
             encryption.keyProvider.keyStorePasswordFile = /y\n\
             encryption.keyProvider.keys = k0 k1\n{more}"
        )
    };
    let cipher = "note: `encryption.cipherProvider` has no effect: new data is sealed with AES-256-GCM, and what a Flume left says itself what it is encrypted with";
    check(
        &encryption("encryption.activeKey = k1\nencryption.cipherProvider = AESCTRNOPADDING"),
        &[cipher],
    );
    check(
        &encryption("encryption.activeKey = k2\nencryption.cipherProvider = AESCTRNOPADDING"),
        &["error: the active key k2 is not among encryption.keyProvider.keys", cipher],
    );
    check(
        &encryption("encryption.activeKey = k1"),
        &["error: encryption.cipherProvider is missing, which encryption needs"],
    );
    check(
        &encryption(
            "encryption.activeKey = k1\nencryption.cipherProvider = com.example.Mine\nencryption.keyProvider.keyz = x",
        ),
        &[
            "error: cipher provider com.example.Mine is not known",
            cipher,
            "warning: key providers have no key `encryption.keyProvider.keyz`",
        ],
    );
}

#[test]
fn what_a_crash_costs_depends_on_the_syncs() {
    let facts = |keys: &str| FileChannel::facts(&read(keys));
    let (each, now_and_then) = (facts(""), facts("fsyncPerTransaction = false"));
    assert!(each.machine_crash.unwrap().starts_with("nothing that was committed is lost"));
    assert!(
        now_and_then.machine_crash.unwrap().starts_with("what was committed since the last sync")
    );
    assert_eq!(each.process_crash, now_and_then.process_crash);
    assert_eq!(read("fsyncInterval = 0").settings().sync, wal::Syncs::Each);
    for (keys, seconds) in [("", 5), ("fsyncInterval = 0", 5), ("fsyncInterval = 9", 9)] {
        let sync = read(&format!("fsyncPerTransaction = false\n{keys}")).settings().sync;
        assert_eq!(sync, wal::Syncs::Every(Duration::from_secs(seconds)), "{keys}");
    }
}

#[test]
fn what_channels_of_one_log_must_agree_on_is_what_keys_come_to() {
    let differ = |one: &str, other: &str| {
        let [one, other] = [one, other].map(|keys| FileChannel::facts(&read(keys)).log.unwrap());
        assert!(one.joint && other.joint);
        let differs = |(key, value): &&(&'static str, String)| {
            other.agree.iter().any(|(same, said)| same == key && said != value)
        };
        one.agree.iter().filter(differs).map(|(key, _)| *key).collect::<Vec<_>>()
    };
    assert_eq!(differ("", "compression = none\nmaxFileSize = 1623195647"), [""; 0]);
    assert_eq!(differ("fsyncInterval = 7", "capacity = 7\ncheckpointDir = /c"), [""; 0]);
    assert_eq!(differ("", "fsyncPerTransaction = false"), ["fsyncPerTransaction"]);
    let lazy = "fsyncPerTransaction = false\nfsyncInterval = ";
    assert_eq!(differ(&format!("{lazy}7"), &format!("{lazy}8")), ["fsyncInterval"]);
    let others = "maxFileSize = 2000000\nminimumRequiredSpace = 2000000\nmemoryBytes = 70000\n\
                  onDamage = halt\ncompression = zstd";
    let keys = ["maxFileSize", "minimumRequiredSpace", "memoryBytes", "onDamage", "compression"];
    assert_eq!(differ("", others), keys);
    let sealed = |active: &str, store: &str| {
        format!(
            "encryption.activeKey = {active}\nencryption.cipherProvider = AESCTRNOPADDING\n\
             encryption.keyProvider = JCEKSFILE\nencryption.keyProvider.keyStoreFile = {store}\n\
             encryption.keyProvider.keyStorePasswordFile = /p\nencryption.keyProvider.keys = a b"
        )
    };
    assert_eq!(differ("", &sealed("a", "/s")), ["encryption.activeKey"]);
    assert_eq!(differ(&sealed("a", "/s"), &sealed("a", "/s")), [""; 0]);
    let both = ["encryption.activeKey", "encryption.keyProvider.keyStoreFile"];
    assert_eq!(differ(&sealed("a", "/s"), &sealed("b", "/t")), both);
}
