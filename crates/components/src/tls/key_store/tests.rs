//! Stores that JDK 17's keytool and OpenSSL 3 wrote, as their names in `testdata/tls` say, under the password
//! `storePassword` (pairs of keys) or `changeit` (the rest).

use super::*;

macro_rules! stored {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls/", $name))
    };
}

const PAIR_JKS: &[u8] = stored!("pair.jks");
const PAIR_P12: &[u8] = stored!("pair.p12");
/// `keytool -importkeystore` of the first with `-J-Dkeystore.pkcs12.legacy`: RC2 and triple DES.
const LEGACY_P12: &[u8] = stored!("legacy.p12");
const TRUST_JKS: &[u8] = stored!("trust.jks");
const TRUST_P12: &[u8] = stored!("trust.p12");
/// `openssl pkcs12 -export -nokeys`: certificates without Java's mark.
const OPENSSL_P12: &[u8] = stored!("openssl-trust.p12");
const SERVER_PEM: &[u8] = stored!("server.pem");
/// The password of its key differs from its own.
const OTHER_PASSWORD: &[u8] = stored!("other-password.jks");

fn damage(bytes: &[u8], password: Option<&str>, wanted: Wanted) -> String {
    parse(bytes, password, wanted).unwrap_err().to_string()
}

#[test]
fn keys_of_real_stores_are_read() {
    let check = |bytes: &[u8], password, alias| {
        let store = parse(bytes, Some(password), Wanted::Keys).unwrap();
        let [entry] = store.keys.as_slice() else { panic!("{alias}: {} keys", store.keys.len()) };
        assert_eq!((entry.alias.as_str(), entry.chain.len()), (alias, 1));
        let key = entry.key.as_ref().unwrap().clone_key();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = provider.key_provider.load_private_key(key).unwrap();
        rustls::sign::CertifiedKey::new(entry.chain.clone(), key).keys_match().unwrap();
    };
    check(PAIR_JKS, "storePassword", "server");
    check(PAIR_P12, "storePassword", "mill");
    check(LEGACY_P12, "changeit", "server");
}

#[test]
fn trust_of_real_stores_is_the_same_certificate() {
    let server = CertificateDer::from_pem_slice(SERVER_PEM).unwrap();
    let check = |bytes: &[u8], password: Option<&str>| {
        let store = parse(bytes, password, Wanted::Trust).unwrap();
        assert_eq!(store.certificates, std::slice::from_ref(&server), "{password:?}");
    };
    check(TRUST_JKS, Some("changeit"));
    check(TRUST_JKS, None);
    check(TRUST_P12, Some("changeit"));
    check(OPENSSL_P12, Some("changeit"));
    check(SERVER_PEM, None);
    // A key store as trust store: the certificate of its key, which stays closed.
    let pair = parse(PAIR_JKS, None, Wanted::Trust).unwrap();
    assert_eq!((&pair.keys[0].chain[0], pair.keys[0].key.is_none()), (&server, true));
}

#[test]
fn entries_are_listed() {
    let check = |bytes: &[u8], password, want: &[(Option<&str>, usize)]| {
        let listed = list(bytes, Some(password)).unwrap();
        // All of these are good for a hundred years from when they were made.
        assert!(
            listed.iter().all(|entry| entry.valid_until.is_some_and(|end| end > 4_900_000_000))
        );
        let listed: Vec<_> =
            listed.iter().map(|entry| (entry.alias.as_deref(), entry.certificates)).collect();
        assert_eq!(listed, want);
    };
    check(PAIR_JKS, "storePassword", &[(Some("server"), 1)]);
    check(TRUST_P12, "changeit", &[(None, 1)]);
    assert!(list(PAIR_JKS, Some("x")).is_err());
}

#[test]
fn refusals_say_what_to_do() {
    let check = |bytes: &[u8], password: Option<&str>, wanted, want: &str| {
        let said = damage(bytes, password, wanted);
        assert!(said.contains(want), "{said}");
    };
    for store in [PAIR_JKS, PAIR_P12, LEGACY_P12, TRUST_JKS, TRUST_P12, OPENSSL_P12] {
        check(store, Some("wrong"), Wanted::Trust, "the password is wrong");
    }
    check(PAIR_JKS, None, Wanted::Keys, "needs a password");
    check(PAIR_P12, None, Wanted::Keys, "needs a password");
    check(OTHER_PASSWORD, Some("storePassword"), Wanted::Keys, "give both the same");
    check(b"\xce\xce\xce\xce", None, Wanted::Keys, "JCEKS");
    check(b"hello", None, Wanted::Keys, "neither JKS nor PKCS12 nor PEM");
    check(b"", None, Wanted::Trust, "neither JKS nor PKCS12 nor PEM");
    check(b"-----BEGIN CERTIFICATE-----\n!", None, Wanted::Trust, "no valid PEM");
    let sealed =
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    check(sealed, None, Wanted::Keys, "openssl pkcs8");
}

#[test]
fn whatever_is_cut_or_altered_is_refused() {
    for (store, password) in [(PAIR_JKS, "storePassword"), (TRUST_JKS, "changeit")] {
        for at in 0..store.len() {
            assert!(parse(&store[..at], Some(password), Wanted::Keys).is_err(), "{at}");
            let mut altered = store.to_vec();
            altered[at] ^= 0x55;
            assert!(parse(&altered, Some(password), Wanted::Keys).is_err(), "{at}");
        }
    }
    // Sixteen places of a store that takes a while to open.
    for at in (0..TRUST_P12.len()).step_by(TRUST_P12.len() / 16) {
        assert!(parse(&TRUST_P12[..at], Some("changeit"), Wanted::Trust).is_err(), "{at}");
    }
}
