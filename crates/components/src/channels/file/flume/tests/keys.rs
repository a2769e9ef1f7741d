//! Encrypted logs: their keys are asked for, and a wrong one is told from damage.

use super::super::error::KeyTrouble;
use super::super::record::RECORD;
use super::*;

/// Encrypts the logs in a directory as a Flume with this key would have; what is encrypted already comes out of it.
pub(in super::super::super) fn encrypt(directory: &Path, alias: &str, secret: &[u8]) {
    let cipher = Cipher::from_parts(secret, &[9; 16]).unwrap();
    for (id, log) in log_file::list(&[directory.to_owned()]).unwrap() {
        let mut bytes = fs::read(&log.path).unwrap();
        let mut rest = &mut bytes[..];
        while let [RECORD, a, b, c, d, ..] = *rest {
            let (record, behind) = rest.split_at_mut(5 + u32::from_be_bytes([a, b, c, d]) as usize);
            cipher.apply(&mut record[5..]);
            rest = behind;
        }
        fs::write(&log.path, bytes).unwrap();
        let meta = log.path.with_extension("meta");
        let encryption = Encryption {
            cipher: "AESCTRNOPADDING".into(),
            alias: alias.into(),
            vector: vec![9; 16],
        };
        let written = LogMeta::parse(&fs::read(&meta).unwrap()).unwrap();
        assert_eq!(u32::try_from(written.file_id), Ok(id));
        fs::write(meta, LogMeta { encryption: Some(encryption), ..written }.encode()).unwrap();
    }
}

#[test]
fn keys_are_asked_for_and_wrong_ones_are_seen() {
    let cipher = Cipher::from_parts(&KEY, &[9; 16]).unwrap();
    let steps = [Put(1), Put(1), Puts(1), Take(2, 0), Takes(2), Put(3), Puts(3)];
    let (log, offsets) = log_of(&steps, Some(&cipher));
    let with = |cipher: &str, alias: &str, vector: &[u8]| {
        let place = Place::new();
        let (cipher, alias, vector) = (cipher.into(), alias.into(), vector.to_vec());
        let encryption = Some(Encryption { cipher, alias, vector });
        place.log_with(&log, &LogMeta { file_id: 1, encryption, ..LogMeta::default() });
        place
    };
    let place = with("AesCtrNoPadding", "key-0", &[9; 16]);
    assert_eq!(place.bodies(), ["e1", "e5"]);
    let channel = place.find().unwrap().unwrap();
    assert_eq!(channel.key_aliases(), ["key-0"]);
    let without = channel.read(None, OnDamage::Skip, &mut |_| {});
    assert!(matches!(without, Err(Error::Key { why: KeyTrouble::NoProvider, .. })));
    for (cipher, alias, vector) in [
        ("ROT13", "key-0", &[9; 16][..]),
        ("AESCTRNOPADDING", "key-1", &[9; 16]),
        ("AESCTRNOPADDING", "key-0", &[9; 15]),
    ] {
        let read = with(cipher, alias, vector).read(OnDamage::Skip);
        assert!(matches!(read, Err(Error::Key { .. })), "{read:?}");
    }
    let other = with("AESCTRNOPADDING", "key-0", &[8; 16]);
    let another = |error: &Error| matches!(error, Error::Key { why: KeyTrouble::Other, .. });
    for on_damage in [OnDamage::Stop, OnDamage::Skip] {
        let read = other.read(on_damage);
        assert!(read.as_ref().is_err_and(another), "{read:?}");
    }
    // A checkpoint that knows all leaves no record to be read but the events themselves.
    let place = with("AESCTRNOPADDING", "key-0", &[8; 16]);
    let covered = Covered { position: i64::try_from(log.len()).unwrap(), order: 100 };
    let encryption =
        Encryption { cipher: "AESCTRNOPADDING".into(), alias: "key-0".into(), vector: vec![8; 16] };
    let meta = LogMeta {
        file_id: 1,
        checkpoint: covered,
        encryption: Some(encryption),
        ..LogMeta::default()
    };
    place.log_with(&log, &meta);
    checkpoint(&place.path("c"), 100, 0, &offsets[..1], &[], &[]);
    let queue = place.read(OnDamage::Skip).unwrap();
    assert_eq!((queue.len(), queue.counts.damaged), (1, 0));
    let read = queue.into_events().next().unwrap();
    assert!(read.as_ref().is_err_and(another), "{read:?}");
    // One damaged event is damage when others can be read.
    let place = with("AESCTRNOPADDING", "key-0", &[9; 16]);
    flip(&place.path("d/log-1"), offsets[2] as usize - 8);
    let mut events = place.read(OnDamage::Skip).unwrap().into_events();
    assert_eq!(events.by_ref().filter(Result::is_ok).count(), 1);
}
