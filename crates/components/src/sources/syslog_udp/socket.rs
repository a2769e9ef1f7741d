//! A UDP socket that is read many datagrams at a time.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use bytes::Bytes;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, socket_recv_buffer_size,
};
use splashdam_core::OpenError;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::super::remedy;

/// Bytes of a datagram at the most, or of several that the kernel joined.
const DATAGRAM_BYTES: usize = 64 * 1024;
/// Bytes of all buffers.
pub(super) const BUFFERS_BYTES: usize = BATCH_SIZE * DATAGRAM_BYTES;
/// Bytes that one call may bring, for what has to wait for room; most calls bring far less.
pub(super) const MOST_BYTES: usize = BUFFERS_BYTES;

/// The socket.
pub(super) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    buffers: Vec<u8>,
    metas: Vec<RecvMeta>,
}

/// What one or several calls brought.
pub(super) struct Received(Vec<(Bytes, SocketAddr)>);

impl Received {
    pub(super) const fn new() -> Self {
        Received(Vec::new())
    }

    /// The bytes in them.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(bytes, _)| bytes.len()).sum()
    }

    /// Each datagram and its sender.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (&Bytes, SocketAddr)> {
        self.0.iter().map(|(bytes, sender)| (bytes, *sender))
    }
}

impl Socket {
    /// Listens; the kernel is to keep `wanted` bytes.
    pub(super) async fn open(host: &str, port: u16, wanted: usize) -> Result<Self, OpenError> {
        let refused = |error: io::Error| {
            let remedy = remedy(error.kind());
            let said = format!("cannot listen on {host}:{port}, UDP: {error}; {remedy}");
            OpenError::refused(said, error)
        };
        let socket = UdpSocket::bind((host, port)).await.map_err(refused)?;
        // More than the limit is for the privileged; who is not gets what there is.
        if set_socket_recv_buffer_size_force(&socket, wanted / 2).is_err() {
            set_socket_recv_buffer_size(&socket, wanted).ok();
        }
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).map_err(refused)?;
        let (buffers, metas) = (vec![0; BUFFERS_BYTES], vec![RecvMeta::default(); BATCH_SIZE]);
        Ok(Socket { socket, state, buffers, metas })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What the kernel keeps at the most. It counts its own costs of each datagram, too.
    pub(super) fn receive_buffer_bytes(&self) -> usize {
        socket_recv_buffer_size(&self.socket).unwrap_or(0)
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Waits for datagrams and takes those that are there. Cancel-safe: what is received is handed
    /// out at once.
    pub(super) async fn receive(&mut self, received: &mut Received) -> io::Result<()> {
        loop {
            self.socket.readable().await?;
            match self.read(received) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Such as an answer that nobody listens where something was sent to.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                read => return read,
            }
        }
    }

    /// Takes those that are there; false when there are none.
    pub(super) fn receive_now(&mut self, received: &mut Received) -> bool {
        self.read(received).is_ok()
    }

    fn read(&mut self, received: &mut Received) -> io::Result<()> {
        received.0.clear();
        let (state, metas) = (&self.state, &mut self.metas);
        let mut chunks: Vec<IoSliceMut<'_>> =
            self.buffers.chunks_exact_mut(DATAGRAM_BYTES).map(IoSliceMut::new).collect();
        let socket = &self.socket;
        let count = socket.try_io(Interest::READABLE, || {
            state.recv(UdpSockRef::from(socket), &mut chunks, metas)
        })?;
        for (buffer, meta) in self.buffers.chunks_exact(DATAGRAM_BYTES).zip(&self.metas[..count]) {
            // One copy for what came together.
            let bytes = Bytes::copy_from_slice(&buffer[..meta.len]);
            // The kernel may have joined datagrams of one sender; all but the last are as long.
            let stride = meta.stride.max(1);
            let mut start = 0;
            loop {
                let end = (start + stride).min(bytes.len());
                received.0.push((bytes.slice(start..end), meta.addr));
                start = end;
                if start >= bytes.len() {
                    break;
                }
            }
        }
        Ok(())
    }
}
