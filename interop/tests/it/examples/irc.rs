//! A server of IRC that lets everybody in, and remembers what is said.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

/// It, at work until the process ends.
pub(super) struct Irc {
    port: u16,
    said: Arc<Mutex<Vec<String>>>,
}

impl Irc {
    pub(super) fn start() -> Result<Irc> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (port, said) = (listener.local_addr()?.port(), Arc::default());
        let irc = Irc { port, said: Arc::clone(&said) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that is gone is no trouble.
                serve(stream, &said).ok();
            }
        });
        Ok(irc)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn heard(&self, text: &str) -> bool {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().any(|line| line.contains(text))
    }
}

fn serve(mut stream: TcpStream, said: &Mutex<Vec<String>>) -> Result<()> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match word {
            "USER" => ":mill 001 n :Welcome\r\n".to_owned(),
            "JOIN" => format!(":n JOIN {rest}\r\n:mill 366 n {rest} :End\r\n"),
            "PING" => format!(":mill PONG mill {rest}\r\n"),
            _ => String::new(),
        };
        if word == "PRIVMSG" {
            said.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}
