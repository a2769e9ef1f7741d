//! What a file of the spooling directory holds: its bytes, or what they are when unpacked.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use flate2::read::MultiGzDecoder;

/// What gzip files begin with.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// What zstd files begin with.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The largest window of a zstd file, as a power of two: it is memory.
const WINDOW_LOG: u32 = 27;

/// Bytes that are read from any place on; going back in a packed file unpacks it from its start.
pub struct Content {
    file: File,
    length: u64,
    unpacking: Option<Unpacking>,
}

/// A packed file.
struct Unpacking {
    packing: Packing,
    /// What reads on, and how many bytes it gave.
    reader: Box<dyn Read + Send>,
    at: u64,
    /// The bytes that it may give.
    most: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    fn begin(self, file: &File) -> io::Result<Box<dyn Read + Send>> {
        let mut file = file.try_clone()?;
        file.rewind()?;
        Ok(match self {
            Packing::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(file))),
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(file)?;
                decoder.window_log_max(WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

impl Content {
    /// A file as it is.
    ///
    /// # Errors
    /// What the system says.
    pub fn plain(file: File) -> io::Result<Content> {
        let length = file.metadata()?.len();
        Ok(Content { file, length, unpacking: None })
    }

    /// What is packed in a file, at most so many bytes; one that is not packed as it is.
    ///
    /// # Errors
    /// What the system says.
    pub fn unpacked(file: File, most: u64) -> io::Result<Content> {
        let mut head = [0; 4];
        let read = file.read_at(&mut head, 0)?;
        let starts = |with: &[u8]| head[..read].starts_with(with);
        let packing = if starts(GZIP) {
            Packing::Gzip
        } else if starts(ZSTD) {
            Packing::Zstd
        } else {
            return Content::plain(file);
        };
        let reader = packing.begin(&file)?;
        let unpacking = Some(Unpacking { packing, reader, at: 0, most });
        Ok(Content { file, length: most, unpacking })
    }

    /// How far it goes, or may go.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads on from there.
    ///
    /// # Errors
    /// What the system says, or that a packed file is damaged or ends before.
    pub fn go_to(&mut self, position: u64) -> io::Result<()> {
        let Some(unpacking) = &mut self.unpacking else {
            return self.file.seek(SeekFrom::Start(position)).map(drop);
        };
        if position < unpacking.at {
            unpacking.reader = unpacking.packing.begin(&self.file)?;
            unpacking.at = 0;
        }
        let distance = position - unpacking.at;
        let passed = io::copy(&mut self.by_ref().take(distance), &mut io::sink())?;
        if passed == distance { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(unpacking) = &mut self.unpacking else { return self.file.read(buffer) };
        let read = unpacking.reader.read(buffer).map_err(damaged)?;
        unpacking.at += read as u64;
        if unpacking.at > unpacking.most {
            let most = unpacking.most;
            let why =
                format!("unpacked it is more than {most} bytes, which maxUncompressedBytes allows");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(read)
    }
}

/// What unpacking makes of bytes that mean nothing is of many kinds; what the system says has a number.
fn damaged(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    io::Error::new(io::ErrorKind::InvalidData, format!("it cannot be unpacked: {error}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    pub(crate) fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    fn rest(content: &mut Content) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        content.read_to_end(&mut rest).map(|_| rest)
    }

    #[test]
    fn packed_files_are_read_from_any_place() {
        let text: Vec<u8> = (0..300_000u32).map(|n| (n % 249) as u8).collect();
        let two = [gzip(&text[..1000]), gzip(&text[1000..])].concat();
        for packed in [text.clone(), two, zstd::encode_all(&text[..], 3).unwrap()] {
            let mut content = Content::unpacked(file_of(&packed), 300_000).unwrap();
            for at in [0, 5, 299_999, 1000, 300_000, 0] {
                content.go_to(at as u64).unwrap();
                assert!(rest(&mut content).unwrap() == text[at..], "{at}");
            }
        }
    }

    #[test]
    fn what_is_packed_has_a_limit_and_may_be_damaged() {
        let bomb = gzip(&vec![0; 1 << 20]);
        let error = rest(&mut Content::unpacked(file_of(&bomb), 1000).unwrap()).unwrap_err();
        assert!(error.to_string().contains("maxUncompressedBytes"), "{error}");
        let cut = &bomb[..bomb.len() - 9];
        assert!(rest(&mut Content::unpacked(file_of(cut), 1 << 30).unwrap()).is_err());
        let text: Vec<u8> = (0..300_000u32).map(|n| (n % 249) as u8).collect();
        for packed in [gzip(&text), zstd::encode_all(&text[..], 3).unwrap()] {
            let mut altered = packed.clone();
            let middle = altered.len() / 2;
            altered[middle..].iter_mut().for_each(|byte| *byte ^= 0x55);
            for bytes in [&packed[..packed.len() - 3], &packed[..7], &altered] {
                let mut content = Content::unpacked(file_of(bytes), 1 << 30).unwrap();
                let error = rest(&mut content).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            }
        }
        assert!(Content::unpacked(file_of(&bomb), 1 << 30).unwrap().go_to(2 << 20).is_err());
        let tiny = rest(&mut Content::unpacked(file_of(b"\x1f"), 10).unwrap()).unwrap();
        assert_eq!(tiny, b"\x1f");
    }
}
