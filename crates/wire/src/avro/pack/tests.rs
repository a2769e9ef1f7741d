use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { message_bytes: 1 << 20, buffers: 100 };

fn pack(serial: i32, buffers: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    put_head(serial, i32::try_from(buffers.len()).unwrap(), &mut out);
    for buffer in buffers {
        put_length(buffer.len(), &mut out).unwrap();
        out.extend_from_slice(buffer);
    }
    out
}

/// Feeds `bytes` in pieces of at most `step`.
fn read(packs: &mut Packs, mut bytes: &[u8], step: usize) -> Result<Vec<Pack>, Malformed> {
    let mut got = Vec::new();
    while !bytes.is_empty() {
        let room = packs.room();
        let fits = (room.capacity() - room.len()).min(step).min(bytes.len());
        assert!(fits > 0, "there is room");
        room.extend_from_slice(&bytes[..fits]);
        bytes = &bytes[fits..];
        while let Some(pack) = packs.next_pack()? {
            got.push(pack);
        }
    }
    Ok(got)
}

proptest! {
    #[test]
    fn packs_come_as_they_were_cut(
        all in prop::collection::vec(
            prop::collection::vec(
                prop_oneof![
                    4 => prop::collection::vec(any::<u8>(), 0..20),
                    1 => prop::collection::vec(any::<u8>(), 20_000..20_005)
                ],
                1..5,
            ),
            1..5,
        ),
        step in prop_oneof![1usize..10, Just(5000), Just(1 << 20)],
    ) {
        let bytes: Vec<u8> =
            all.iter().zip(7..).flat_map(|(buffers, serial)| pack(serial, buffers)).collect();
        let mut packs = Packs::new(LIMITS);
        let got = read(&mut packs, &bytes, step).unwrap();
        prop_assert_eq!(packs.begun(), 0);
        let want: Vec<_> = all.iter().zip(7..)
            .map(|(buffers, serial)| Pack { serial, message: buffers.concat().into() })
            .collect();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn whatever_comes_is_bounded(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut packs = Packs::new(LIMITS);
        drop(read(&mut packs, &bytes, 50));
        prop_assert!(packs.room().capacity() <= 2 * TRUSTED_BYTES);
    }
}

#[test]
fn what_no_peer_means_is_refused() {
    let check = |bytes: &[u8], at: usize, what: &str| {
        let refused = read(&mut Packs::new(LIMITS), bytes, 1).unwrap_err();
        assert_eq!((refused.at, refused.what), (at, what), "{bytes:?}");
    };
    check(b"\0\0\0\x01\0\0\0\0", 4, "a pack without buffers");
    check(b"\0\0\0\x01\xff\xff\xff\xff", 4, "a pack without buffers");
    check(b"GET / HTTP/1.1\r\n", 4, "a pack of more buffers than are allowed");
    check(b"\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff", 8, "a buffer of a negative length");
    check(b"\0\0\0\x01\0\0\0\x01\x7f\xff\xff\xff", 8, "a message longer than is allowed");
    let two = b"\0\0\0\x01\0\0\0\x02\0\0\0\x01x\0\x10\0\0";
    check(two, 13, "a message longer than is allowed");
}

#[test]
fn memory_is_asked_for_as_bytes_come() {
    let mut packs = Packs::new(LIMITS);
    let claimed = [&b"\0\0\0\x01\0\0\0\x01\0\x0f\0\0"[..], &[0; FIRST_BYTES]].concat();
    assert!(read(&mut packs, &claimed, usize::MAX).unwrap().is_empty());
    assert!(packs.room().capacity() <= 2 * TRUSTED_BYTES);
}

#[test]
fn the_longest_buffer_stays_where_it_is() {
    let buffers = [b"head".to_vec(), vec![b'x'; 100_000], b"tail".to_vec()];
    let bytes = pack(1, &buffers);
    let mut packs = Packs::new(LIMITS);
    packs.room().reserve(bytes.len());
    packs.room().extend_from_slice(&bytes);
    let at = packs.buffer.as_ptr();
    let got = packs.next_pack().unwrap().unwrap();
    assert_eq!(got.message, buffers.concat());
    assert_eq!(got.message[4..].as_ptr() as usize - at as usize, HEAD_BYTES + 4 + 4 + 4);
}
