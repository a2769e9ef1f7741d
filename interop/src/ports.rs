//! TCP ports for agents and their peers, which nobody else gets for as long as this process lives.
//!
//! A port that the system gave for a moment and took back may be anybody's the next: another test's, or that of a
//! connection on its way out, which keeps a killed agent from coming back to it. So ports are taken from below those
//! that Linux gives by itself (32768 and up), in blocks that processes lock for each other.

use std::collections::VecDeque;
use std::env;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::process;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

/// Where blocks lie: above what is well known, below what the system gives.
const PORTS: Range<u16> = 20_000..32_000;
/// Ports of a block.
const BLOCK: u16 = 50;

static OURS: Mutex<Ours> = Mutex::new(Ours { blocks: Vec::new(), free: VecDeque::new() });

struct Ours {
    /// Locked until the process ends.
    blocks: Vec<File>,
    free: VecDeque<u16>,
}

/// A port of 127.0.0.1 that nobody uses, of TCP and UDP, and that is given to nobody else.
///
/// # Errors
/// When there is none left, or the directory for temporary files cannot be written.
pub fn free_port() -> Result<u16> {
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        while let Some(port) = ours.free.pop_front() {
            if is_free(port) {
                return Ok(port);
            }
        }
        ours.take_block()?;
    }
}

/// Somebody who does not lock may have it.
fn is_free(port: u16) -> bool {
    let place = (Ipv4Addr::UNSPECIFIED, port);
    TcpListener::bind(place).is_ok() && UdpSocket::bind(place).is_ok()
}

impl Ours {
    fn take_block(&mut self) -> Result<()> {
        let dir = env::temp_dir().join("splashdam-ports");
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let count = PORTS.len() as u32 / u32::from(BLOCK);
        // Processes begin apart, so that one that looks need not pass all others.
        let begin = process::id().wrapping_mul(7) % count;
        for block in (begin..count).chain(0..begin) {
            let first = PORTS.start + u16::try_from(block)? * BLOCK;
            let path = dir.join(first.to_string());
            let file = File::options().create(true).append(true).open(&path);
            let file = file.with_context(|| format!("opening {}", path.display()))?;
            if file.try_lock().is_ok() {
                self.blocks.push(file);
                self.free.extend(first..first + BLOCK);
                return Ok(());
            }
        }
        anyhow::bail!(
            "all ports from {} to {} are locked in {}",
            PORTS.start,
            PORTS.end,
            dir.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_port_is_given_once_and_free() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port().unwrap())).unwrap();
        let ports: BTreeSet<u16> = (0..3 * BLOCK).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 3 * usize::from(BLOCK));
        assert!(!ports.contains(&taken.local_addr().unwrap().port()));
        assert!(ports.iter().all(|port| PORTS.contains(port) && is_free(*port)));
    }

    /// As another process would find it: the lock is the file's, not the process's.
    #[test]
    fn a_block_is_locked_for_others() {
        let port = free_port().unwrap();
        let first = port - (port - PORTS.start) % BLOCK;
        let path = env::temp_dir().join("splashdam-ports").join(first.to_string());
        assert!(File::options().append(true).open(path).unwrap().try_lock().is_err());
    }
}
