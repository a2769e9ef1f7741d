//! As much of ZooKeeper as finding a cluster needs: one short session that reads one node.
//!
//! Nothing is kept open or watched. A cluster's servers are asked for when a call failed, which is
//! rare, and then the answer must be fresh.
//!
//! ```text
//! packet   i32 n │ record                            n counts what follows it; all big-endian
//! connect  i32 0 │ i64 0 │ i32 timeout ms │ i64 0 │ i32 16 │ 16 zeros │ u8 0
//! answer   i32 version │ i32 timeout ms │ i64 session │ buffer password …      timeout 0: refused
//! request  i32 xid │ i32 4 (get data) │ string path │ u8 watch
//! reply    i32 xid │ i64 zxid │ i32 error │ buffer data …
//! ```

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::Malformed;
use crate::model::Address;

const SESSION_TIMEOUT_MILLIS: i32 = 30_000;
const GET_DATA: i32 = 4;
const CLOSE_SESSION: i32 = -11;
const XID: i32 = 1;
/// ZooKeeper's own limit of a node, and room for the rest of a packet.
const PACKET_LIMIT_BYTES: usize = 2 * 1024 * 1024;
const NO_NODE: i32 = -101;

/// What a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Absent,
    Data(Bytes),
}

/// Reads `path`, asking the servers one after another, from the one at `first` on, until one
/// answers. The error says what each of them did.
pub(crate) async fn read(
    quorum: &[Address],
    first: usize,
    path: &str,
    patience: Duration,
) -> Result<Node, String> {
    let mut failures = Vec::new();
    for turn in 0..quorum.len() {
        let server = &quorum[(first % quorum.len() + turn) % quorum.len()];
        match timeout(patience, read_from(server, path)).await {
            Ok(Ok(node)) => return Ok(node),
            Ok(Err(why)) => failures.push(format!("{server}: {why}")),
            Err(_) => failures.push(format!("{server}: no answer within {patience:?}")),
        }
    }
    Err(format!("no ZooKeeper answered ({})", failures.join("; ")))
}

async fn read_from(server: &Address, path: &str) -> Result<Node, String> {
    let said = |e: std::io::Error| e.to_string();
    let mut stream = TcpStream::connect((&*server.host, server.port)).await.map_err(said)?;
    stream.set_nodelay(true).map_err(said)?;
    stream.write_all(&connect_packet()).await.map_err(said)?;
    let welcome = packet(&mut stream).await?;
    check_welcome(welcome).map_err(|e| e.to_string())?;
    stream.write_all(&get_packet(path)).await.map_err(said)?;
    let node = reply(packet(&mut stream).await?)?;
    // The session would end by itself; saying so spares the server from keeping it. What it
    // answers is of no interest.
    stream.write_all(&close_packet()).await.ok();
    Ok(node)
}

async fn packet(stream: &mut TcpStream) -> Result<Bytes, String> {
    let length = stream.read_u32().await.map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            "it closed the connection; is ZooKeeper ready, and is it ZooKeeper?".to_owned()
        }
        _ => e.to_string(),
    })?;
    let length = usize::try_from(length).ok().filter(|&length| length <= PACKET_LIMIT_BYTES);
    let length = length.ok_or("a packet longer than ZooKeeper's limit; is it ZooKeeper?")?;
    let mut packet = BytesMut::zeroed(length);
    stream.read_exact(&mut packet).await.map_err(|e| e.to_string())?;
    Ok(packet.freeze())
}

fn framed(record: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + record.len());
    out.put_u32(u32::try_from(record.len()).unwrap_or(u32::MAX));
    out.put_slice(record);
    out.freeze()
}

fn connect_packet() -> Bytes {
    let mut record = BytesMut::new();
    record.put_i32(0);
    record.put_i64(0);
    record.put_i32(SESSION_TIMEOUT_MILLIS);
    record.put_i64(0);
    record.put_i32(16);
    record.put_bytes(0, 16);
    record.put_u8(0);
    framed(&record)
}

fn get_packet(path: &str) -> Bytes {
    let mut record = BytesMut::new();
    record.put_i32(XID);
    record.put_i32(GET_DATA);
    record.put_u32(u32::try_from(path.len()).unwrap_or(u32::MAX));
    record.put_slice(path.as_bytes());
    record.put_u8(0);
    framed(&record)
}

fn close_packet() -> Bytes {
    let mut record = BytesMut::new();
    record.put_i32(XID + 1);
    record.put_i32(CLOSE_SESSION);
    framed(&record)
}

pub(crate) fn check_welcome(mut record: Bytes) -> Result<(), Malformed> {
    if record.len() < 16 {
        return Err(Malformed("an answer that is not ZooKeeper's"));
    }
    record.advance(4);
    match record.get_i32() {
        1.. => Ok(()),
        _ => Err(Malformed("ZooKeeper refused a session")),
    }
}

/// Reads the reply to the one request of a session.
pub(crate) fn reply(mut record: Bytes) -> Result<Node, String> {
    const SHORT: &str = "a reply cut short";
    if record.len() < 16 {
        return Err(SHORT.to_owned());
    }
    let xid = record.get_i32();
    if xid != XID {
        return Err(format!("a reply to request {xid}, which was not made"));
    }
    record.advance(8);
    match record.get_i32() {
        0 => {}
        NO_NODE => return Ok(Node::Absent),
        code => return Err(format!("ZooKeeper's error {code}")),
    }
    if record.len() < 4 {
        return Err(SHORT.to_owned());
    }
    let length = record.get_i32();
    // Length -1 stands for no data at all.
    let length = usize::try_from(length.max(0)).unwrap_or(0);
    if length > record.len() {
        return Err(SHORT.to_owned());
    }
    Ok(Node::Data(record.split_to(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_zookeeper_reads_them() {
        assert_eq!(connect_packet().len(), 4 + 45);
        assert_eq!(&get_packet("/a")[..], b"\0\0\0\x0f\0\0\0\x01\0\0\0\x04\0\0\0\x02/a\0");
    }

    #[test]
    fn replies_are_read_or_refused() {
        let check = |parts: &[&[u8]], want: Result<Node, ()>| {
            let got = reply(Bytes::from(parts.concat())).map_err(|_| ());
            assert_eq!(got, want, "{parts:?}");
        };
        let head: &[u8] = b"\0\0\0\x01\0\0\0\0\0\0\0\x09";
        let fine: &[u8] = b"\0\0\0\0";
        check(&[head, fine, b"\0\0\0\x02abSTAT"], Ok(Node::Data("ab".into())));
        check(&[head, fine, b"\xff\xff\xff\xff"], Ok(Node::Data(Bytes::new())));
        check(&[head, fine, b"\0\0\0\x03ab"], Err(()));
        check(&[head, fine], Err(()));
        check(&[head, b"\xff\xff\xff\x9b"], Ok(Node::Absent));
        check(&[head, b"\xff\xff\xff\x9a"], Err(()));
        check(&[b"\0\0\0\x02\0\0\0\0\0\0\0\x09", fine, b"\0\0\0\0"], Err(()));
        check(&[b""], Err(()));
        assert!(check_welcome(Bytes::from_static(&[0; 20])).is_err());
        assert!(check_welcome(Bytes::from_static(&[1; 20])).is_ok());
        assert!(check_welcome(Bytes::from_static(&[1; 8])).is_err());
    }
}
