//! Compression of bodies, and back, within limits.

use crate::frame::{LZ4, MOST_BODY, ZSTD};

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4: fast.
    Lz4,
    /// Zstandard at its fastest level: smaller.
    Zstd,
}

/// A body made smaller: the flag that says how, and the bytes. `None` when it is not worth it.
pub fn deflate(body: &[u8], how: Compression) -> Option<(u8, Vec<u8>)> {
    let (flag, packed) = match how {
        Compression::None => return None,
        Compression::Lz4 => (LZ4, lz4_flex::block::compress(body)),
        Compression::Zstd => (ZSTD, zstd::bulk::compress(body, 1).ok()?),
    };
    (packed.len() <= body.len() - body.len() / 16).then_some((flag, packed))
}

/// The body that a frame with these flags stored as `packed`, of `length` bytes. `None` when that
/// is not so; no room is made before the length is within its limits.
pub fn inflate(flags: u8, packed: Vec<u8>, length: Option<u32>) -> Option<Vec<u8>> {
    let length = match (flags & (LZ4 | ZSTD), length) {
        (0, None) => return Some(packed),
        (0, Some(_)) | (_, None) => return None,
        (_, Some(length)) if length > MOST_BODY => return None,
        (_, Some(length)) => length as usize,
    };
    let body = match flags & LZ4 {
        0 => zstd::bulk::decompress(&packed, length).ok()?,
        _ if length / 255 > packed.len() => return None,
        _ => lz4_flex::block::decompress(&packed, length).ok()?,
    };
    (body.len() == length).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_come_back_and_wrong_lengths_do_not() {
        let text = b"one line of a log like another\n".repeat(200);
        for (how, flag) in [(Compression::Lz4, LZ4), (Compression::Zstd, ZSTD)] {
            let (found, packed) = deflate(&text, how).expect("smaller");
            assert!(found == flag && packed.len() < text.len() / 4, "{how:?}");
            let length = u32::try_from(text.len()).expect("small");
            assert_eq!(inflate(flag, packed.clone(), Some(length)), Some(text.clone()));
            for wrong in [0, 1, length - 1, length + 1, MOST_BODY, MOST_BODY + 1, u32::MAX] {
                assert_eq!(inflate(flag, packed.clone(), Some(wrong)), None, "{how:?} {wrong}");
            }
            assert_eq!(inflate(flag, packed.clone(), None), None);
            for at in 0..packed.len() {
                let mut bad = packed.clone();
                bad[at] ^= 0x55;
                // Checksums find these; here it is enough that nothing breaks.
                let _whatever = inflate(flag, bad, Some(length));
            }
        }
        assert_eq!(deflate(&text, Compression::None), None);
        let noise: Vec<u8> =
            (0..500u32).flat_map(|at| crc32c::crc32c(&at.to_le_bytes()).to_le_bytes()).collect();
        assert_eq!(deflate(&noise, Compression::Lz4), None);
        assert_eq!(inflate(0, text.clone(), None), Some(text.clone()));
        assert_eq!(inflate(0, text, Some(5)), None);
    }
}
