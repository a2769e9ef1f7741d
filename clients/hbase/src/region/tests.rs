use super::*;
use crate::model::{Cell, CellKind};

fn table() -> TableName {
    TableName::parse("t").unwrap()
}

fn region(start: &str, end: &str, id: u64, host: &str) -> Region {
    Region {
        table: table(),
        name: format!("t,{start},{id}.").into(),
        id,
        start: start.to_owned().into(),
        end: end.to_owned().into(),
        server: Address::new(host, 1),
    }
}

fn cache(regions: &[(&str, &str, u64)]) -> RegionCache {
    let mut cache = RegionCache::default();
    for (start, end, id) in regions {
        cache.insert(region(start, end, *id, "a"));
    }
    cache
}

fn found(cache: &RegionCache, row: &str) -> Option<u64> {
    cache.find(&table(), row.as_bytes()).map(|region| region.id)
}

#[test]
fn newer_regions_replace_those_they_overlap() {
    let check = |regions: &[(&str, &str, u64)], rows: &[(&str, Option<u64>)]| {
        let cache = cache(regions);
        for (row, want) in rows {
            assert_eq!(found(&cache, row), *want, "{regions:?} {row}");
        }
    };
    check(&[], &[("a", None)]);
    check(&[("", "", 1)], &[("", Some(1)), ("z", Some(1))]);
    check(&[("", "m", 1), ("m", "", 2)], &[("a", Some(1)), ("m", Some(2)), ("z", Some(2))]);
    // A gap is not filled by a neighbour.
    check(&[("a", "c", 1), ("m", "", 2)], &[("b", Some(1)), ("c", None), ("0", None)]);
    // A split: one daughter drops the parent, the other's part is unknown.
    check(&[("", "", 1), ("m", "", 2)], &[("a", None), ("m", Some(2))]);
    check(&[("", "", 1), ("", "m", 2)], &[("a", Some(2)), ("m", None)]);
    // A merge drops both.
    check(&[("", "m", 1), ("m", "", 2), ("", "", 3)], &[("a", Some(3)), ("z", Some(3))]);
    check(&[("b", "m", 1), ("m", "t", 2), ("a", "z", 3)], &[("b", Some(3)), ("s", Some(3))]);
    // What is older than what is known changes nothing.
    check(&[("m", "", 3), ("", "", 1)], &[("a", None), ("z", Some(3))]);
}

#[test]
fn what_failed_is_forgotten_and_no_more() {
    let mut known = cache(&[("", "m", 1), ("m", "", 2)]);
    known.remove(&region("", "m", 7, "a"));
    known.remove(&region("", "m", 1, "b"));
    assert_eq!(found(&known, "a"), Some(1), "another region in that place");
    known.remove(&region("", "m", 1, "a"));
    assert_eq!((found(&known, "a"), found(&known, "z")), (None, Some(2)));
    known.insert(region("", "m", 3, "b"));
    known.remove_server(&Address::new("a", 1));
    assert_eq!((found(&known, "a"), found(&known, "z")), (Some(3), None));
}

#[test]
fn keys_of_meta_fit_a_row() {
    assert_eq!(meta_key(&table(), b"r"), "t,r,:");
    let long = meta_key(&table(), &vec![b'r'; ROW_LIMIT_BYTES]);
    assert_eq!(long.len(), ROW_LIMIT_BYTES);
    assert!(long.ends_with(b"r,:"));
}

#[test]
fn rows_of_meta_are_read() {
    let info = |table: &str, start: &str, end: &str, offline: bool| {
        let table = TableName::parse(table).unwrap();
        let info = proto::RegionInfo {
            region_id: 5,
            table_name: Some(proto::TableName {
                namespace: table.namespace().to_owned().into(),
                qualifier: table.qualifier().to_owned().into(),
            }),
            start_key: Some(start.to_owned().into()),
            end_key: Some(end.to_owned().into()),
            offline: Some(offline),
            split: None,
        };
        [MARK, &info.encode_to_vec()].concat()
    };
    let row = |info: Option<Vec<u8>>, server: &str| {
        let cell = |qualifier: &str, value: Vec<u8>| Cell {
            row: "t,b,5.".into(),
            family: "info".into(),
            qualifier: qualifier.to_owned().into(),
            timestamp: 0,
            kind: CellKind::Put,
            value: value.into(),
        };
        let mut cells = vec![cell("server", server.into())];
        cells.extend(info.map(|info| cell("regioninfo", info)));
        Row { cells }
    };
    let at = |start: &str, end: &str| {
        Ok(Located::At(Region {
            name: "t,b,5.".into(),
            server: Address::new("h", 2),
            ..region(start, end, 5, "h")
        }))
    };
    let check = |row: Row, want: Result<Located, ()>| {
        assert_eq!(located(&table(), b"k", &row).map_err(|_| ()), want, "{row:?}");
    };
    check(row(Some(info("t", "b", "m", false)), "h:2"), at("b", "m"));
    check(row(Some(info("t", "b", "", false)), "h:2"), at("b", ""));
    check(row(Some(info("t", "b", "k", false)), "h:2"), Ok(Located::Nowhere));
    check(row(Some(info("t", "b", "m", true)), "h:2"), Ok(Located::Nowhere));
    check(row(Some(info("t", "b", "m", false)), ""), Ok(Located::Nowhere));
    check(row(Some(info("t", "b", "m", false)), "h:x"), Ok(Located::Nowhere));
    check(row(Some(info("n:t", "b", "m", false)), "h:2"), Ok(Located::NoTable));
    check(row(None, "h:2"), Ok(Located::Nowhere));
    check(Row::default(), Ok(Located::NoTable));
    check(row(Some(b"junk".to_vec()), "h:2"), Err(()));
    check(row(Some(b"PBUFjunk".to_vec()), "h:2"), Err(()));
}

#[test]
fn nodes_of_zookeeper_are_read_or_refused() {
    let server = proto::ServerName { host_name: "h".into(), port: Some(3), start_code: Some(9) };
    let message = proto::ServerNode { server: Some(server) }.encode_to_vec();
    let node = [b"\xff\0\0\0\x02id", MARK, &message].concat();
    assert_eq!(server_of_node(&node), Ok(Address::new("h", 3)));
    for cut in 0..node.len() {
        assert!(server_of_node(&node[..cut]).is_err(), "{cut}");
    }
    assert!(server_of_node(b"\xff\xff\xff\xff\xffidPBUF").is_err());
}

#[test]
fn a_disabled_table_says_so() {
    for (state, enabled) in [(0, true), (1, false), (2, false), (3, true)] {
        let bytes = proto::TableState { state }.encode_to_vec();
        assert_eq!(is_enabled(&bytes), enabled, "{state}");
    }
    assert!(is_enabled(b"\xff"));
}
