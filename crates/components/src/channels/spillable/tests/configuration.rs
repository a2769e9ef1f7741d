//! What keys come to, and what is said of them.

use super::*;

#[test]
fn keys_fall_back_as_in_flume() {
    let check = |keys: &str, memory, overflow, slots, transaction, seconds, percent| {
        let limits = read(keys).limits();
        let got = (
            (limits.memory_events, limits.overflow_events, limits.slots),
            (limits.transaction_events, limits.wait.as_secs(), limits.free_percent),
        );
        assert_eq!(got, ((memory, overflow, slots), (transaction, seconds, percent)), "{keys}");
    };
    check("", 10_000, 100_000_000, 26_843, 10_000, 3, 5);
    let bad = "memoryCapacity = -1\noverflowCapacity = x\noverflowTimeout = -1\n\
               overflowDeactivationThreshold = -1\navgEventSize = 0\nbyteCapacity = -1";
    check(bad, 10_000, 100_000_000, 26_843, 10_000, 3, 5);
    check("overflowCapacity = 0\nmemoryCapacity = 50", 50, 0, 26_843, 50, 3, 5);
    check("byteCapacity = 1000\navgEventSize = 100", 10_000, 100_000_000, 8, 10_000, 3, 5);
    check("byteCapacity = 0", 10_000, 100_000_000, i32::MAX as usize, 10_000, 3, 5);
    check("overflowDeactivationThreshold = 200", 10_000, 100_000_000, 26_843, 10_000, 3, 100);
}

#[test]
fn findings_name_what_is_wrong_or_without_effect() {
    let check = |keys: &str, want: &[&str]| {
        let section = Section::parse(keys);
        let reading = section.read::<Config>();
        assert!(reading.findings.is_empty(), "{:?}", reading.findings);
        let findings = Spillable::check(&reading.value.unwrap(), &section);
        let got: Vec<_> =
            findings.iter().map(|f| format!("{}: {}", f.severity.name(), f.message)).collect();
        assert_eq!(got, want, "{keys}");
        assert!(findings.iter().all(|finding| finding.span.is_some()), "{keys}");
    };
    check("dataDirs = /x\nmemoryCapacity = 20000\ntransactionCapacity = 20000", &[]);
    check(
        "memoryCapacity = 0\noverflowCapacity = 0",
        &["error: memoryCapacity and overflowCapacity are both 0"],
    );
    check(
        "overflowCapacity = 500",
        &["error: transactionCapacity 10000 is greater than overflowCapacity 500"],
    );
    check("memoryCapacity = -5", &["warning: `memoryCapacity` cannot be -5"]);
    check("avgEventSize = 0", &["warning: `avgEventSize` cannot be 0"]);
    check(
        "capacity = 5\nkeep-alive = 7",
        &[
            "note: `capacity` has no effect: `overflowCapacity` takes its place",
            "note: `keep-alive` has no effect: `overflowTimeout` takes its place",
        ],
    );
    check(
        "use-fast-replay = true",
        &[
            "note: `use-fast-replay` has no effect: there is one way to read the log, and it is fast",
        ],
    );
    check("maxFileSize = 5", &["warning: `maxFileSize` cannot be 5"]);
}

#[test]
fn its_facts_say_what_a_crash_loses() {
    let check = |keys: &str, durable, volatile, capacity| {
        let facts = Spillable::facts(&read(keys));
        let got = (facts.durable, facts.volatile_events, facts.capacity_events);
        assert_eq!(got, (durable, volatile, Some(capacity)), "{keys}");
    };
    check("", false, Some(10_000), 100_010_000);
    check("memoryCapacity = 0\noverflowCapacity = 70", true, None, 70);
    check("overflowCapacity = 0", false, None, 10_000);
    let log = |keys: &str| Spillable::facts(&read(keys)).log;
    let alike = Some(FileChannel::facts(&Default::default()).log.unwrap().agree);
    for keys in ["", "memoryCapacity = 0"] {
        assert_eq!(log(keys).map(|log| log.joint), Some(false), "{keys}");
        assert_eq!(log(keys).map(|log| log.agree), alike, "{keys}");
    }
    assert_eq!(log("overflowCapacity = 0"), None);
    let key = |keys: &str| Spillable::facts(&read(keys)).capacity_key;
    assert_eq!(
        [key(""), key("overflowCapacity = 0")],
        [Some("overflowCapacity"), Some("memoryCapacity")]
    );
}
