//! Who sends to an example: programs of this machine where there are some, else bytes as such programs write them.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use splashdam_interop::thrift_client::{self, Load};
use splashdam_interop::{Agent, Make, Peers};

use crate::side_by_side::LIMIT;

/// How something comes in.
#[derive(Clone, Copy)]
pub(super) enum Send {
    /// By itself.
    Nothing,
    /// A line, as `nc` sends it.
    Line,
    /// This line.
    Says(&'static str),
    /// A datagram, as `nc -u` sends it.
    Datagram,
    /// A line at the end of this file.
    File(&'static str),
    /// A message of `logger`, with this option.
    Logger(&'static str),
    /// A request of curl.
    Curl,
    /// A line, by our own `avro-client`.
    AvroClient,
    /// Events of Flume's client, or a call in its bytes where there is no Java.
    Thrift,
    /// A call of Scribe's.
    Scribe,
    /// A call of an agent of Flume 0.9.
    Legacy,
    /// The same in Avro.
    AvroLegacy,
}

impl Send {
    pub(super) fn act(
        self,
        ours: &Make,
        agent: &Agent,
        source: &str,
        dir: &Path,
        text: &str,
    ) -> Result<()> {
        let address = || -> Result<SocketAddr> { Ok(agent.listening(source)?[0]) };
        match self {
            Send::Nothing => {}
            Send::Line => drop(exchange(address()?, format!("{text}\n").as_bytes())?),
            Send::Says(line) => drop(exchange(address()?, format!("{line}\n").as_bytes())?),
            Send::Datagram => {
                let to = address()?;
                let any = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
                UdpSocket::bind(any)?.send_to(text.as_bytes(), to)?;
            }
            Send::File(file) => {
                let path = dir.join(file);
                let mut file = OpenOptions::new().create(true).append(true).open(path)?;
                writeln!(file, "{text}")?;
            }
            Send::Logger(way) => {
                let (host, port) = parts(address()?);
                let mut command = Command::new("logger");
                command.args([way, "--rfc5424", "--tag", "saw", "--server", &host]);
                run(command.args(["--port", &port, "--", text]))?;
            }
            Send::Curl => {
                let mut command = Command::new("curl");
                command.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]);
                command.args(["-H", "Content-Type: text/plain", "--data-binary", text]);
                run(command.arg(format!("http://{}/?host=mill", address()?)))?;
            }
            Send::AvroClient => {
                let Make::Splashdam(binary) = ours else { return Ok(()) };
                let (host, port) = parts(address()?);
                let lines = dir.join("lines.txt");
                fs::write(&lines, format!("{text}\n"))?;
                let mut command = Command::new(binary);
                command.args(["avro-client", "-H", &host, "-p", &port, "-F"]);
                run(command.arg(lines))?;
            }
            Send::Thrift => {
                if let Ok(peers) = Peers::available() {
                    let load = Load { threads: 1, events: 1, together: 1 };
                    thrift_client::send(&peers, &address()?.to_string(), &[], load)?;
                }
                exchange(address()?, &framed(&thrift_call(1, "append", &thrift_event(text))))?;
            }
            Send::Scribe => {
                let entry = [string(1, "web"), string(2, text), vec![0]].concat();
                let list = [&[15, 0, 1, 12, 0, 0, 0, 1], &entry[..], &[0]].concat();
                exchange(address()?, &framed(&thrift_call(1, "Log", &list)))?;
            }
            Send::Legacy => {
                let event = [
                    &[10, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 8, 0, 2, 0, 0, 0, 3][..],
                    &string(3, text),
                    &[10, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5],
                    &string(5, "mill"),
                    &[13, 0, 6, 11, 11, 0, 0, 0, 0, 0],
                ]
                .concat();
                let call = [&[12, 0, 1], &event[..], &[0]].concat();
                // One way: nobody answers.
                exchange(address()?, &thrift_call(4, "append", &call))?;
            }
            Send::AvroLegacy => {
                let handshake =
                    [&[1; 16], &[2][..], &avro_text(FLUME_0_9), &[0; 16], &[0]].concat();
                let event = [&[10, 6][..], &avro_text(text), &[10], &avro_text("mill"), &[0]];
                let call = [&handshake, &[0][..], &avro_text("append"), &event.concat()].concat();
                let body = [&framed(&call)[..], &[0; 4]].concat();
                let head = format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
                let answer = exchange(address()?, &[head.as_bytes(), &body].concat())?;
                // No metadata, and no error.
                ensure!(answer.ends_with(&[0, 0, 0, 0, 0, 0]), "{}", answer.escape_ascii());
            }
        }
        Ok(())
    }
}

/// The protocol of agents of Flume 0.9.
const FLUME_0_9: &str = concat!(
    r#"{"protocol":"FlumeEventAvroServer","types":[{"type":"record","name":"AvroFlumeEvent","fields":["#,
    r#"{"name":"timestamp","type":"long"},{"name":"priority","type":{"type":"enum","name":"Priority","#,
    r#""symbols":["FATAL","ERROR","WARN","INFO","DEBUG","TRACE"]}},{"name":"body","type":"bytes"},"#,
    r#"{"name":"nanos","type":"long"},{"name":"host","type":"string"},"#,
    r#"{"name":"fields","type":{"type":"map","values":"bytes"}}]}],"#,
    r#""messages":{"append":{"request":[{"name":"evt","type":"AvroFlumeEvent"}],"response":"null"}}}"#,
);

fn parts(address: SocketAddr) -> (String, String) {
    (address.ip().to_string(), address.port().to_string())
}

/// Runs a client to its end.
fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}

/// Sends all, and reads whatever is answered until the other side closes.
fn exchange(to: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// A message of Thrift's binary protocol: 1 asks for an answer, 4 for none.
fn thrift_call(kind: u8, method: &str, arguments: &[u8]) -> Vec<u8> {
    [&[0x80, 1, 0, kind], &counted(method)[..], &[0, 0, 0, 1], arguments].concat()
}

/// The argument of Flume's `append`: no headers, and a body.
fn thrift_event(text: &str) -> Vec<u8> {
    let headers = [13, 0, 1, 11, 11, 0, 0, 0, 0];
    [&[12, 0, 1], &headers[..], &string(2, text), &[0, 0]].concat()
}

/// A field that holds a text.
fn string(field: u8, text: &str) -> Vec<u8> {
    [&[11, 0, field], &counted(text)[..]].concat()
}

fn counted(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes(), text.as_bytes()].concat()
}

/// A text with its length before it, as Avro writes it.
fn avro_text(text: &str) -> Vec<u8> {
    let twice = 2 * text.len();
    let length =
        if twice < 128 { vec![twice as u8] } else { vec![twice as u8 | 128, (twice >> 7) as u8] };
    [&length[..], text.as_bytes()].concat()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes(), message].concat()
}
