//! An external process in Rust, and how many events a second go through one.
//!
//! ```text
//! cargo run --release -p splashdam-components --example external_process              measures
//! cargo run --release -p splashdam-components --example external_process -- serve     is the process
//! ```
//!
//! As a process it is an interceptor that sets the header `seen` on every event. Measured are this one
//! and `examples/external.py`, which does the same, from the batch in the agent to the batch in the agent.

use std::io::{Read, Write, stdin, stdout};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use splashdam_components::interceptors::External;
use splashdam_config::Section;
use splashdam_core::{Batch, Component, Event, Headers, Malformed, RemoteInterceptor, Role};
use splashdam_testkit::context;
use splashdam_wire::external::{
    Edit, LENGTH_BYTES, Message, VERSION, message_length, read_message, write_edits,
};

type Failure = Box<dyn std::error::Error>;

/// Bytes of a body.
const BODY_BYTES: usize = 200;
/// Events in a batch.
const BATCH: usize = 1000;
/// How long each is measured.
const LENGTH: Duration = Duration::from_secs(5);

fn main() -> Result<(), Failure> {
    match std::env::args().nth(1).as_deref() {
        Some("serve") => serve(),
        _ => tokio::runtime::Runtime::new()?.block_on(measure()),
    }
}

/// What comes from the agent.
struct Incoming {
    buffer: BytesMut,
    most_bytes: usize,
}

impl Incoming {
    /// The next message; `None` when the agent is gone.
    fn next(&mut self) -> Result<Option<Message>, Failure> {
        let mut part = [0; 64 * 1024];
        loop {
            if let Some(message) = self.whole()? {
                return Ok(Some(read_message(&message)?));
            }
            match stdin().lock().read(&mut part)? {
                0 => return Ok(None),
                read => self.buffer.extend_from_slice(&part[..read]),
            }
        }
    }

    fn whole(&mut self) -> Result<Option<Bytes>, Malformed> {
        let Some(head) = self.buffer.first_chunk() else { return Ok(None) };
        let whole = LENGTH_BYTES + message_length(*head, self.most_bytes)?;
        if self.buffer.len() < whole {
            self.buffer.reserve(whole - self.buffer.len());
            return Ok(None);
        }
        let mut message = self.buffer.split_to(whole).freeze();
        message.advance(LENGTH_BYTES);
        Ok(Some(message))
    }
}

fn serve() -> Result<(), Failure> {
    let mut incoming = Incoming { buffer: BytesMut::new(), most_bytes: usize::MAX };
    let mark: Headers = [("seen", "rust")].into_iter().collect();
    let mut out = Vec::new();
    while let Some(message) = incoming.next()? {
        match message {
            Message::Hello(hello) => {
                incoming.most_bytes = hello.most_message_bytes as usize;
                Message::Ready { version: VERSION, program: "external_process 1".into() }
                    .write(&mut out);
            }
            Message::Batch { id, events } => {
                let places = 0..u32::try_from(events.len())?;
                let edits: Vec<_> = places.map(|at| Edit::Added(at, mark.clone())).collect();
                write_edits(id, &edits, &mut out);
            }
            _ => break,
        }
        stdout().lock().write_all(&out)?;
        stdout().lock().flush()?;
        out.clear();
    }
    Ok(())
}

async fn measure() -> Result<(), Failure> {
    let own = format!("command = {} serve", std::env::current_exe()?.display());
    for (name, keys) in
        [("Rust", own.as_str()), ("Python", "command = python3 examples/external.py")]
    {
        let config = Section::parse(keys).read().into_result().map_err(|_| "keys")?;
        let interceptor = External::open(config, context(Role::Source)).await?;
        // Until it is there.
        interceptor.intercept(&mut batch()).await?;
        for askers in [1, 4] {
            let begun = Instant::now();
            let ask = async || {
                let mut events = 0;
                while begun.elapsed() < LENGTH {
                    let mut batch = batch();
                    interceptor.intercept(&mut batch).await.map_err(|undone| undone.to_string())?;
                    events += batch.len();
                }
                Ok::<_, String>(events)
            };
            let counts = futures_util::future::try_join_all((0..askers).map(|_| ask())).await?;
            let events: usize = counts.into_iter().sum();
            let seconds = begun.elapsed().as_secs_f64();
            println!("{name}, {askers} at once: {:.0} events/s", events as f64 / seconds);
        }
        interceptor.close().await;
    }
    Ok(())
}

/// Events as a tail brings them: one header, slices of one buffer.
fn batch() -> Batch {
    let block = Bytes::from(vec![b'x'; BATCH * BODY_BYTES]);
    let event = |at: usize| {
        let mut event = Event::new(block.slice(at * BODY_BYTES..(at + 1) * BODY_BYTES));
        event.headers.insert("file", "/var/log/messages");
        event
    };
    (0..BATCH).map(event).collect()
}
