use super::*;

/// Content under a right digest may still lie about its lengths and counts.
#[test]
fn a_signed_store_that_lies_is_refused() {
    let check = |content: &[&[u8]], want: &str| {
        let mut store = [MAGIC, &2_u32.to_be_bytes()].concat();
        store.extend(content.concat());
        store.extend(store_digest("x", &store));
        for password in [Some("x"), None] {
            let said = parse(&store, password, Wanted::Trust).unwrap_err().to_string();
            assert!(said.contains(want), "{said}");
        }
    };
    let (one, most) = (1_u32.to_be_bytes(), u32::MAX.to_be_bytes());
    let named = [&[0, 1, b'a'][..], &[0; 8]].concat();
    check(&[&most], "too soon");
    check(&[&one, &9_u32.to_be_bytes(), &named], "no known kind");
    check(&[&one, &one, &named, &most], "too soon");
    check(&[&one, &one, &named, &[0; 4], &most], "too soon");
    check(&[&one, &one, &[0xff, 0xff], &named], "too soon");
    check(&[&one, &2_u32.to_be_bytes(), &named, &[0, 0], &most], "too soon");
}

#[test]
fn other_versions_are_refused() {
    let mut store = [MAGIC, &3_u32.to_be_bytes(), &0_u32.to_be_bytes()].concat();
    store.extend(store_digest("x", &store));
    let said = parse(&store, Some("x"), Wanted::Keys).unwrap_err().to_string();
    assert!(said.contains("version"), "{said}");
}

#[test]
fn keys_under_other_ciphers_are_refused() {
    let check = |sealed: &[u8], want: &str| {
        let said = open(sealed, Some("x"), "a").unwrap_err().to_string();
        assert!(said.contains(want), "{said}");
    };
    check(&[], "cipher is not known");
    check(&[0x30, 4, 0x30, 2, 6, 0], "cipher is not known");
    let algorithm = [&[0x30, 12, 6, 10][..], KEY_PROTECTOR].concat();
    let sealed = |content: &[u8]| {
        let tail = [&[4, u8::try_from(content.len()).unwrap()][..], content].concat();
        let whole = [&algorithm[..], &tail].concat();
        [&[0x30, u8::try_from(whole.len()).unwrap()][..], &whole].concat()
    };
    check(&sealed(&[]), "not that of the store");
    check(&sealed(&[7; 39]), "not that of the store");
    check(&sealed(&[7; 60]), "not that of the store");
}
