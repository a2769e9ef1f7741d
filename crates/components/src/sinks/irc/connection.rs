//! The connection of the IRC sink: registering, joining, speaking, and answering the server's `PING`.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use splashdam_client::Address;
use splashdam_client::connect::tcp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::tls::Password;

/// How long a connection, registering with the channel joined, and each answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long parting may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes of a line of the server at the most; with tags they may have 8191 and 512.
const LINE_BYTES: usize = 16 * 1024;

/// There was no text, and there was too much of it.
const NOT_SAYABLE: [&str; 2] = ["412", "417"];

/// Where to connect to, and as whom.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) password: Option<Password>,
    pub(super) nick: String,
    pub(super) user: String,
    pub(super) name: String,
    /// With its `#`.
    pub(super) channel: String,
}

/// A connection whose nick is in the channel.
pub(super) struct Connection {
    stream: TcpStream,
    read: BytesMut,
    /// Counts the signs of life that were asked for.
    asked: u64,
    channel: String,
    /// Whether the server took the nick and the user.
    welcome: bool,
    /// What the server said of something that it will never let be said, since the last answer.
    unsayable: Option<String>,
}

/// The server could not be spoken to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("cannot connect to {to}: {why}")]
    Connect { to: Address, why: io::Error },
    #[error("the connection to the IRC server broke: {0}")]
    Io(#[from] io::Error),
    #[error("the IRC server did not answer within {PATIENCE:?}")]
    Silent,
    #[error("the IRC server closed the connection")]
    Closed,
    #[error("the IRC server refuses: {0}")]
    Refused(String),
    #[error("the IRC server sent a line of more than {LINE_BYTES} bytes")]
    TooLong,
}

/// A line of the server: its command or number, and what follows it.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    command: String,
    arguments: Vec<String>,
}

impl Line {
    /// Reads `[@tags] [:from] command argument … [:last argument]`.
    fn parse(text: &str) -> Line {
        let mut rest = text.trim_end_matches(['\r', '\n']);
        for mark in ['@', ':'] {
            if rest.starts_with(mark) {
                rest = rest.split_once(' ').map_or("", |(_, rest)| rest).trim_start();
            }
        }
        let (middle, last) = match rest.split_once(" :") {
            Some((middle, last)) => (middle, Some(last)),
            None => (rest, None),
        };
        let mut words = middle.split_whitespace().map(str::to_owned);
        let command = words.next().unwrap_or_default().to_ascii_uppercase();
        let arguments = words.chain(last.map(str::to_owned)).collect();
        Line { command, arguments }
    }

    /// Whether it says that something will not do: numbers from 400 on, and `ERROR`.
    fn refuses(&self) -> bool {
        let is_number = self.command.len() == 3 && self.command.bytes().all(|b| b.is_ascii_digit());
        self.command == "ERROR" || (is_number && self.command.as_str() >= "400")
    }

    /// Whether it says that what was said is too short or too long to be said ever.
    fn is_about_the_text(&self) -> bool {
        NOT_SAYABLE.contains(&self.command.as_str())
    }

    /// Whether, before the welcome, it says no more than that this takes a while or goes without
    /// something: 439, `Please wait while we process your connection`, and those from 900 on, which are
    /// about logins by SASL.
    fn is_about_the_wait(&self) -> bool {
        self.command == "439" || (self.command.len() == 3 && self.command.starts_with('9'))
    }

    fn mentions(&self, word: &str) -> bool {
        self.arguments.iter().any(|argument| argument.eq_ignore_ascii_case(word))
    }
}

impl Connection {
    /// Connects, registers and joins the channel.
    pub(super) async fn open(settings: &Settings) -> Result<Connection, Trouble> {
        let to = Address { host: settings.host.clone(), port: settings.port };
        let stream = match timeout(PATIENCE, tcp(&to)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(why)) => return Err(Trouble::Connect { to, why }),
            Err(_) => return Err(Trouble::Silent),
        };
        let channel = settings.channel.clone();
        let read = BytesMut::new();
        let mut connection =
            Connection { stream, read, asked: 0, channel, welcome: false, unsayable: None };
        let registered = timeout(PATIENCE, connection.register(settings)).await;
        registered.unwrap_or(Err(Trouble::Silent))?;
        Ok(connection)
    }

    async fn register(&mut self, settings: &Settings) -> Result<(), Trouble> {
        let Settings { password, nick, user, name, .. } = settings;
        let pass = password.as_ref().map(|password| format!("PASS {}\r\n", password.reveal()));
        let hello = format!("NICK {nick}\r\nUSER {user} 0 * :{name}\r\n");
        self.send(&(pass.unwrap_or_default() + &hello)).await?;
        // 001 is the welcome.
        self.wait_for(|line| line.command == "001").await?;
        self.welcome = true;
        let join = format!("JOIN {}\r\n", self.channel);
        self.send(&join).await?;
        let channel = self.channel.clone();
        // 366 ends the names of who is there.
        self.wait_for(|line| line.command == "366" && line.mentions(&channel)).await
    }

    /// Sends commands, and waits until the server has seen them all. Answers what it said of one
    /// that it will never take.
    pub(super) async fn say(&mut self, commands: &[u8]) -> Result<Option<String>, Trouble> {
        self.asked += 1;
        let token = format!("splashdam-{}", self.asked);
        let said = async {
            self.stream.write_all(commands).await?;
            self.send(&format!("PING :{token}\r\n")).await?;
            self.wait_for(|line| line.command == "PONG" && line.mentions(&token)).await
        };
        timeout(PATIENCE, said).await.unwrap_or(Err(Trouble::Silent))?;
        Ok(self.unsayable.take())
    }

    /// Answers what the server asked meanwhile, without waiting.
    pub(super) async fn attend(&mut self) -> Result<(), Trouble> {
        loop {
            match self.stream.try_read_buf(&mut self.read) {
                Ok(0) => return Err(Trouble::Closed),
                Ok(_) => {
                    while let Some(line) = self.next_line()? {
                        self.judge(&line).await?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn leave(mut self) {
        let farewell = async {
            self.send("QUIT\r\n").await?;
            Ok::<_, Trouble>(self.stream.shutdown().await?)
        };
        // Whether it is heard changes nothing.
        drop(timeout(FAREWELL, farewell).await);
    }

    async fn send(&mut self, text: &str) -> Result<(), Trouble> {
        Ok(self.stream.write_all(text.as_bytes()).await?)
    }

    async fn wait_for(&mut self, wanted: impl Fn(&Line) -> bool) -> Result<(), Trouble> {
        loop {
            while let Some(line) = self.next_line()? {
                if wanted(&line) {
                    return Ok(());
                }
                self.judge(&line).await?;
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(Trouble::Closed);
            }
        }
    }

    /// Answers a question; a refusal is the end.
    async fn judge(&mut self, line: &Line) -> Result<(), Trouble> {
        match line.command.as_str() {
            "PING" => {
                let token = line.arguments.last().cloned().unwrap_or_default();
                self.send(&format!("PONG :{token}\r\n")).await
            }
            // No message of the day.
            "422" => Ok(()),
            _ if !self.welcome && line.is_about_the_wait() => Ok(()),
            _ if line.is_about_the_text() => {
                self.unsayable.get_or_insert_with(|| line.arguments.join(" "));
                Ok(())
            }
            _ if line.refuses() => Err(Trouble::Refused(line.arguments.join(" "))),
            "KICK" if line.mentions(&self.channel) => {
                Err(Trouble::Refused(format!("kicked out: {}", line.arguments.join(" "))))
            }
            _ => Ok(()),
        }
    }

    fn next_line(&mut self) -> Result<Option<Line>, Trouble> {
        match memchr::memchr(b'\n', &self.read) {
            Some(end) => {
                let line = self.read.split_to(end + 1);
                Ok(Some(Line::parse(&String::from_utf8_lossy(&line))))
            }
            None if self.read.len() > LINE_BYTES => Err(Trouble::TooLong),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let check = |text: &str, command: &str, arguments: &[&str]| {
            let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
            assert_eq!(
                Line::parse(text),
                Line { command: command.to_owned(), arguments },
                "{text}"
            );
        };
        check("PING :abc d\r\n", "PING", &["abc d"]);
        check(":mill 001 nick :Welcome to it\n", "001", &["nick", "Welcome to it"]);
        check("@time=1 :a!b@c privmsg #x :hi\r\n", "PRIVMSG", &["#x", "hi"]);
        check("PONG mill x", "PONG", &["mill", "x"]);
        check("", "", &[]);
        check(":only-from", "", &[]);
    }
}
