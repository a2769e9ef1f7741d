//! The order and the text of a Java `HashMap<String, String>`, in which Flume prints headers.
//!
//! A key goes to the bucket `spread(hash) & (capacity - 1)`, where `hash` is the 31-polynomial over
//! UTF-16 units and `spread` mixes its upper half into the lower one. Buckets are walked upwards,
//! and keys of one bucket come in the order in which they were put in. The capacity is that of a
//! map filled one by one: 16, doubled whenever more than three quarters are taken. (A map that
//! Flume copied from another may be twice as large around 12, 24, 48, … headers.)

use splashdam_core::{Headers, Text};

/// Where a map of Java starts.
const FIRST_CAPACITY: usize = 16;

/// Names and values in the order in which a Java map would list them.
pub(crate) fn in_order(headers: &Headers) -> Vec<(&Text, &Text)> {
    let mut all: Vec<_> = headers.iter().collect();
    if all.len() > 1 {
        let mask = u32::try_from(capacity(all.len()) - 1).unwrap_or(u32::MAX);
        // The sort is stable: within a bucket the order of insertion stays.
        all.sort_by_cached_key(|(name, _)| spread(hash(name)) & mask);
    }
    all
}

/// Appends `{k1=v1, k2=v2}`, as Java's `Map.toString` writes it: nothing is escaped.
pub(crate) fn print(headers: &Headers, out: &mut impl bytes::BufMut) {
    out.put_u8(b'{');
    for (index, (name, value)) in in_order(headers).into_iter().enumerate() {
        if index > 0 {
            out.put_slice(b", ");
        }
        out.put_slice(name.as_bytes());
        out.put_u8(b'=');
        out.put_slice(value.as_bytes());
    }
    out.put_u8(b'}');
}

/// Bytes that [`print()`] appends.
pub(crate) fn printed_len(headers: &Headers) -> usize {
    let separators = headers.len().saturating_sub(1) * 2;
    2 + headers.bytes() + headers.len() + separators
}

fn capacity(len: usize) -> usize {
    let mut capacity = FIRST_CAPACITY;
    while len > capacity / 4 * 3 {
        capacity *= 2;
    }
    capacity
}

/// Java's `String.hashCode`.
fn hash(text: &str) -> u32 {
    text.encode_utf16().fold(0, |hash: u32, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

fn spread(hash: u32) -> u32 {
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of usual headers, some that collide, and some beyond ASCII.
    const NAMES: [&str; 26] = [
        "timestamp",
        "host",
        "basename",
        "file",
        "Severity",
        "Facility",
        "key",
        "topic",
        "grün",
        "a",
        "b",
        "Aa",
        "BB",
        "AaAa",
        "BBBB",
        "AaBB",
        "flume.syslog.status",
        "offset",
        "\u{1f332}",
        "uuid",
        "x1",
        "x2",
        "x3",
        "x4",
        "x5",
        "x6",
    ];

    /// What a JVM (17) printed for a `HashMap` with the first `n` names put in, each with its
    /// number as the value.
    #[test]
    fn prints_what_java_prints() {
        let check = |n: usize, want: &str| {
            let numbered = NAMES.iter().take(n).enumerate();
            let headers: Headers = numbered.map(|(i, name)| (*name, i.to_string())).collect();
            let mut out = Vec::new();
            print(&headers, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
            assert_eq!(printed_len(&headers), want.len());
        };
        check(0, "{}");
        check(1, "{timestamp=0}");
        check(5, "{basename=2, file=3, host=1, Severity=4, timestamp=0}");
        check(
            12,
            "{Aa=11, a=9, b=10, basename=2, file=3, host=1, topic=7, Severity=4, Facility=5, \
             grün=8, key=6, timestamp=0}",
        );
        check(
            13,
            "{Aa=11, BB=12, a=9, b=10, Severity=4, grün=8, basename=2, file=3, host=1, topic=7, \
             Facility=5, key=6, timestamp=0}",
        );
        check(
            26,
            "{Aa=11, BB=12, uuid=19, file=3, flume.syslog.status=16, host=1, key=6, timestamp=0, \
             AaAa=13, BBBB=14, AaBB=15, a=9, b=10, offset=17, Severity=4, grün=8, \u{1f332}=18, \
             basename=2, topic=7, x1=20, x2=21, Facility=5, x3=22, x4=23, x5=24, x6=25}",
        );
    }
}
