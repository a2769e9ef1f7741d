//! What loopback takes: bytes of events over one TCP connection, written and read in large pieces.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::BODY_BYTES;
use crate::options::Options;

/// Bytes of one write.
const PIECE: usize = 256 * 1024;
/// What comes before the measured time.
const WARM_UP: Duration = Duration::from_secs(1);

/// Events a second, if events were their bodies alone; the other quantities do not apply.
pub(super) fn run(options: &Options) -> Result<Vec<f64>> {
    let measured = Duration::from_secs(if options.quick { 1 } else { 5 });
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let writer = thread::spawn(move || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let piece = vec![b'x'; PIECE];
        // Ends when the reader is gone.
        while stream.write_all(&piece).is_ok() {}
        Ok(())
    });
    let (mut stream, _) = listener.accept()?;
    let mut piece = vec![0; PIECE];
    let begun = Instant::now();
    while begun.elapsed() < WARM_UP {
        stream.read_exact(&mut piece)?;
    }
    let (counted, mut bytes) = (Instant::now(), 0);
    while counted.elapsed() < measured {
        stream.read_exact(&mut piece)?;
        bytes += PIECE;
    }
    let events = bytes as f64 / f64::from(BODY_BYTES) / counted.elapsed().as_secs_f64();
    drop(stream);
    writer.join().unwrap_or(Ok(()))?;
    Ok(vec![events, f64::NAN, f64::NAN])
}
