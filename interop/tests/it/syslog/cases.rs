//! What is sent to all sources of syslog, and to netcat: each is a connection, or a datagram, of its own.

/// To the sources of syslog, and what [`cases`] adds.
#[rustfmt::skip]
const SHORT: &[&[u8]] = &[
    b"<13>1 2022-03-04T05:06:07Z mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07+02:00 mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07-11:30 mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07 mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07.5Z mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07.05Z mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07.123Z mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07.123456Z mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07.1234567Z mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07.5 mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07.999+23:59 mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07+24:00 mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07+00:60 mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07+0200 mill app 1 2 - text\n",
    b"<13>1 2022-03-04t05:06:07z mill app 1 2 - text\n",
    b"<13>1 2022-03-04 05:06:07 mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06 mill app 1 2 - text\n",
    b"<13>1 2022-3-4T05:06:07Z mill app 1 2 - text\n",
    b"<13>1 2022-13-01T00:00:00Z mill app 1 2 - text\n",
    b"<13>1 2022-02-30T00:00:00Z mill app 1 2 - text\n",
    b"<13>1 2022-00-00T00:00:00Z mill app 1 2 - text\n",
    b"<13>1 2022-03-04T24:00:00Z mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:60Z mill app 1 2 - text\n",
    b"<13>1 1582-10-10T00:00:00Z mill app 1 2 - text\n",
    b"<13>1 1969-12-31T23:59:59.999Z mill app 1 2 - text\n",
    b"<13>1 0001-01-01T00:00:00Z mill app 1 2 - text\n",
    b"<13>1 9999-12-31T23:59:59Z mill app 1 2 - text\n",
    b"<13>1 12022-03-04T05:06:07Z mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07.Z mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07X mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:07.99999999999999999999Z mill app 1 2 - text\n",
    b"<13>1 - mill app 1 2 - text\n",
    b"<13>1 2024-02-29T12:00:00Z mill app 1 2 - text\n",
    b"<13>1 2022-03-27T02:30:00 mill app 1 2 - text\n",
    b"<34>Nov  1 05:06:07 mill su: text\n",
    b"<34>Nov 1 05:06:07 mill su: text\n",
    b"<34>Nov 01 05:06:07 mill su: text\n",
    b"<34>Jan  1 00:00:00 mill su: text\n",
    b"<34>Feb 28 23:59:59 mill su: text\n",
    b"<34>Feb 29 12:00:00 mill su: text\n",
    b"<34>Feb 30 12:00:00 mill su: text\n",
    b"<34>Mar 15 12:00:00 mill su: text\n",
    b"<34>Jun 15 12:00:00 mill su: text\n",
    b"<34>Sep 30 12:00:00 mill su: text\n",
    b"<34>Oct 20 12:00:00 mill su: text\n",
    b"<34>Dec 15 12:00:00 mill su: text\n",
    b"<34>Dec 31 23:59:59 mill su: text\n",
    b"<34>Nov 31 05:06:07 mill su: text\n",
    b"<34>Nov  0 05:06:07 mill su: text\n",
    b"<34>Nov 99 05:06:07 mill su: text\n",
    b"<34>Nov  1 25:61:61 mill su: text\n",
    b"<34>Nov  1 5:06:07 mill su: text\n",
    b"<34>nov  1 05:06:07 mill su: text\n",
    b"<34>NOV  1 05:06:07 mill su: text\n",
    b"<34>Xyz  1 05:06:07 mill su: text\n",
    b"<34>June 1 05:06:07 mill su: text\n",
    b"<34>Nov\t 1 05:06:07 mill su: text\n",
    b"<34>Nov\t1 05:06:07 mill su: text\n",
    b"<34>Nov \t1 05:06:07 mill su: text\n",
    b"<34>Nov   1 05:06:07 mill su: text\n",
    b"<34>Nov  1 05:06:07.123 mill su: text\n",
    b"<34>Nov  1 05:06:07 2025 mill su: text\n",
    b"<0>Nov  1 05:06:07 mill text\n",
    b"<7>Nov  1 05:06:07 mill text\n",
    b"<191>Nov  1 05:06:07 mill text\n",
    b"<192>Nov  1 05:06:07 mill text\n",
    b"<999>Nov  1 05:06:07 mill text\n",
    b"<1000>Nov  1 05:06:07 mill text\n",
    b"<13000>Nov  1 05:06:07 mill text\n",
    b"<130000>Nov  1 05:06:07 mill text\n",
    b"<>Nov  1 05:06:07 mill text\n",
    b"<a>Nov  1 05:06:07 mill text\n",
    b"<1a>Nov  1 05:06:07 mill text\n",
    b"<-1>Nov  1 05:06:07 mill text\n",
    b"<+1>Nov  1 05:06:07 mill text\n",
    b"< 13>Nov  1 05:06:07 mill text\n",
    b"<13Nov  1 05:06:07 mill text\n",
    b"13>Nov  1 05:06:07 mill text\n",
    b"<13>>Nov  1 05:06:07 mill text\n",
    b"<<13>Nov  1 05:06:07 mill text\n",
    b"<013>Nov  1 05:06:07 mill text\n",
    b"<00013>Nov  1 05:06:07 mill text\n",
    b"Nov  1 05:06:07 mill text\n",
    b"<13>1 - mill text\n",
    b"<13>1- mill text\n",
    b"<13>2 - mill text\n",
    b"<13>11 - mill text\n",
    b"<13>  - mill text\n",
    b"<13>1  - mill text\n",
    b"<13>0 - mill text\n",
    b"<13>x - mill text\n",
    b"<13>2022-03-04T05:06:07Z - text\n",
    b"<13>2022-03-04T05:06:07Z a text\n",
    b"<13>2022-03-04T05:06:07Z A-b.c@d_e text\n",
    b"<13>2022-03-04T05:06:07Z 1.2.3.4 text\n",
    b"<13>2022-03-04T05:06:07Z fe80::1 text\n",
    b"<13>2022-03-04T05:06:07Z _x text\n",
    b"<13>2022-03-04T05:06:07Z -x text\n",
    b"<13>2022-03-04T05:06:07Z .x text\n",
    b"<13>2022-03-04T05:06:07Z m\xc3\xbcnchen text\n",
    b"<13>2022-03-04T05:06:07Z a/b text\n",
    b"<13>2022-03-04T05:06:07Z  text\n",
    b"<13>2022-03-04T05:06:07Z   text\n",
    b"<13>\n",
    b"<13>x\n",
    b"<13>-\n",
    b"<13>- \n",
    b"<13>- mill\n",
    b"<13>- mill \n",
    b"<13>- mill  x\n",
    b"<13>1 -\n",
    b"<13>1 \n",
    b"<13>Nov  1 05:06:07\n",
    b"<13>Nov  1 05:06:07 mill\n",
    b"<13>- mill text",
    b"<13>- mill one\n<13>- mill two\n",
    b"<13>1 - mill one\nbad\n<14>- mill two\nworse\n",
    b"bad\n<13>- mill good\n",
    b"text\n",
    b"\n",
    b"\n\n<13>- mill text\n",
    b"<13>- mill a\n\n<13>- mill b\n",
    b"<1\n3>- mill text\n",
    b"<\n13>x\n",
    b"<13>- mill text\r\n",
    b"<13>- mill te\rxt\n",
    b"<13>- mill text\t \n",
    b" <13>- mill text\n",
    b"<13> - mill text\n",
    b"<13>-mill text\n",
    b"<13>- mill\ttext\n",
    b"<13>\t-\tmill\ttext\n",
    b"<13>- mill \x0b\x0c\n",
    b"<13>- mill gr\xc3\xbcn\n",
    b"<13>- mill gr\xfcn\n",
    b"<13>- mill \xff\xfe\n",
    b"<13>- mill \xed\xa0\x80\n",
    b"<13>- mill \xe2\x80\xa8x\n",
    b"<13>- mill \xc2\x85x\n",
    b"<13>- mill \xf0\x9f\x8c\x8a\n",
    b"\xef\xbb\xbf<13>- mill text\n",
    b"<13>- mill \xef\xbb\xbftext\n",
    b"<13>- mill a\x00b\n",
    b"\x00\n",
    b"<13>\x00- mill x\n",
    b"<1\xff>- mill x\n",
    b"\xff\xff\n",
    b"<13>- m\xffll x\n",
    b"<13>\xe4\xbd\xa0\xe5\xa5\xbd \xe4\xbd\xa0 x\n",
    b"<13>N\xc3\xb6v  1 05:06:07 mill x\n",
    b"<13>- mill \xe2\x82\n",
    b"<13>- mill xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    b"<13>- mill xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    b"<13>- mill xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    b"<13>- mill xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    b"<13>- mill xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    b"<13>- mill xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    b"<13>- mill xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    b"<13>- mill xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    b"<13>- mill xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    b"<13>99999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999\n",
    b"<13>v7 1970/01-02 mill own text\n",
    b"<13> 1970-01/02 mill own text\n",
    b"<13>v7 nonsense mill own text\n",
    b"<13>1 2022-03-04T05:06:07Z mill app 42 id [a@1 b=\"c\"] \xc3\xbcber\n",
    b"<13>- mill a\n<13>- mill a\n<13>- mill a\nx\n<13>- mill b\n<13>- mill b\n<13>- mill b\n",
];

/// To netcat, and what [`netcat_cases`] adds.
#[rustfmt::skip]
const NETCAT_SHORT: &[&[u8]] = &[
    b"one\n",
    b"one\ntwo\n",
    b"\n",
    b"\n\n\n",
    b"\r\n",
    b"a\r\nb\r\n",
    b"a\rb\n",
    b"tab\there\n",
    b" lead\n",
    b"trail \n",
    b"no end",
    b"a\nno end",
    b"\n no end",
    b"",
    b"a\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\na\n",
    b"line with spaces   \n",
    b"null\x00null\n",
    b"\x00\n",
    b"\x01\x02\n",
    b"\x0b\x0c\n",
    b"\xc3\xbc\n",
    b"\xe4\xb8\x96\xe7\x95\x8c\n",
    b"\xf0\x9f\x8c\x8a\n",
    b"a\xe2\x80\xa8b\n",
    b"a\xc2\x85b\n",
    b"\xef\xbb\xbfbom\n",
    b"OK\n",
    b"FAILED: x\n",
    b"{\"json\": true}\n",
    b"a,b;c\n",
    b"\\n\n",
    b"\"quoted\"\n",
    b"'\n",
    b"%s%d\n",
    b"<13>syslog\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"-1\n",
    b"0\n",
    b"a\n\nb\n",
    b"a\n\r\nb\n",
    b"\r\r\n",
    b"\n\r",
    b"last\n\n",
    b"1\n22\n333\n4444\n",
    b"\xcc\x81combining\n",
    b"\xe2\x80\x8bzero\n",
    b"\xed\x9f\xbf\xee\x80\x80\n",
    b"\xef\xbf\xbf\n",
    b"\xf4\x8f\xbf\xbf\n",
    b"bad \xff\n",
    b"\xc3\n",
    b"ok\nbad \xfe\nafter\n",
    b"\xed\xa0\x80\n",
    b"\xf0\x9f\x98",
    b"a\n\xff",
];

/// All that is sent to the sources of syslog: lines around the limit of 300 bytes, and many at once.
pub(super) fn cases() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = SHORT.iter().map(|case| case.to_vec()).collect();
    let line = |head: &str, length: usize| {
        let mut line = head.as_bytes().to_vec();
        line.resize(length, b'x');
        line.push(b'\n');
        line
    };
    for length in [270, 285, 286, 287, 288, 299, 300, 301, 302, 600, 700] {
        all.push(line("<13>- mill ", length));
    }
    all.push([line("<13>- mill ", 400), b"<14>- mill y\n".to_vec()].concat());
    all.push([line("", 299), line("", 300), line("", 301)].concat());
    all.push(line("<13>999", 350));
    all.push((0..150).flat_map(|n| format!("<{n}>- mill {n}\n").into_bytes()).collect());
    all
}

/// All that is sent to netcat: lines around the limit of 512 characters, and many at once.
pub(super) fn netcat_cases() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = NETCAT_SHORT.iter().map(|case| case.to_vec()).collect();
    for (text, count) in [("x", 510), ("x", 511), ("x", 512), ("x", 513), ("x", 600)] {
        all.push((text.repeat(count) + "\n").into_bytes());
    }
    for (text, count) in [("\u{fc}", 511), ("\u{fc}", 512), ("\u{1f30a}", 255), ("\u{1f30a}", 256)]
    {
        all.push((text.repeat(count) + "\n").into_bytes());
    }
    for (text, count) in [("x", 511), ("x", 512), ("a\n", 100), ("a\n", 1000), ("\n", 600)] {
        all.push(text.repeat(count).into_bytes());
    }
    all.push(format!("a\n{}\nlost\n", "x".repeat(600)).into_bytes());
    all.push(format!("{}\n{}\n", "x".repeat(511), "y".repeat(511)).into_bytes());
    all
}

/// Whether a case differs on purpose: with `multiport_syslogtcp`, what makes Flume lose all that came with it, and NULs,
/// behind which it cuts the message off. A line as long as the limit leaves an empty one.
pub(super) fn differs(source: &str, case: &[u8]) -> bool {
    let mut lines = case.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let fits = lines.any(|line| line.len().is_multiple_of(300));
    source.starts_with("multi") && (fits || MULTIPORT_DIFFERENT.contains(&case))
}

const MULTIPORT_DIFFERENT: &[&[u8]] = &[
    b"<13>1 2022-03-04T05:06:07.5 mill app 1 2 - text\n",
    b"<13>1 2022-13-01T00:00:00Z mill app 1 2 - text\n",
    b"<13>1 2022-02-30T00:00:00Z mill app 1 2 - text\n",
    b"<13>1 2022-00-00T00:00:00Z mill app 1 2 - text\n",
    b"<13>1 2022-03-04T24:00:00Z mill app 1 2 - text\n",
    b"<13>1 2022-03-04T05:06:60Z mill app 1 2 - text\n",
    b"\n\n<13>- mill text\n",
    b"<13>- mill a\n\n<13>- mill b\n",
    b"<13>- mill a\0b\n",
    b"\0\n",
    b"<13>\0- mill x\n",
];

/// Bytes that are not UTF-8: Flume closes the connection and loses what came in the same read.
pub(super) const NETCAT_DIFFERENT: &[&[u8]] =
    &[b"bad \xff\n", b"\xc3\n", b"ok\nbad \xfe\nafter\n", b"\xed\xa0\x80\n", b"a\n\xff"];
