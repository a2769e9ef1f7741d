//! Calls of a client that costs next to nothing: blocking, in a thread for each connection, without a runtime and without garbage
//! to collect, so that the times are the source's.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use splashdam_core::{Event, Malformed};
use splashdam_interop::rpc_load::{Load, Report};
use splashdam_wire::avro::handshake::FLUME_HASH;
use splashdam_wire::avro::pack::{Limits, Packs};
use splashdam_wire::avro::rpc::{Answer, Outgoing, read_answer};

use crate::spread::percentiles;

const LIMITS: Limits = Limits { message_bytes: 1 << 20, buffers: 64 };
/// No answer takes this long.
const ANSWER: Duration = Duration::from_secs(30);
/// The system wakes a sleeper this much too late; what is left is waited for without sleep.
const WAKES_LATE: Duration = Duration::from_micros(150);

/// Sends to this port of this machine, at the rate of `load`, or as fast as there are answers. A call counts from when it was
/// due.
pub(super) fn run(load: &Load, port: u16) -> Result<Report> {
    let connect = |_| Connection::open(port);
    let connections: Vec<_> = (0..load.threads).map(connect).collect::<Result<_>>()?;
    let began = Instant::now();
    let mut took = thread::scope(|scope| {
        let workers: Vec<_> = (0..)
            .zip(connections)
            .map(|(nth, connection)| scope.spawn(move || calls(load, connection, nth, began)))
            .collect();
        let mut took = Vec::new();
        for worker in workers {
            took.extend(worker.join().unwrap_or_else(|_| bail!("a client panicked"))?);
        }
        anyhow::Ok(took)
    })?;
    ensure!(!took.is_empty(), "no call was made");
    let events = took.len() as f64 * f64::from(load.batch);
    Ok(Report {
        events_per_second: events / load.measured.as_secs_f64(),
        seconds: percentiles(&mut took),
    })
}

/// The times, in seconds, of what was due in the measured time, by the `nth` client.
fn calls(load: &Load, mut connection: Connection, nth: u32, began: Instant) -> Result<Vec<f64>> {
    let every = (Duration::from_secs(1) * load.threads).checked_div(load.batches_per_second);
    let events = vec![Event::new(vec![b'x'; load.body_bytes as usize]); load.batch as usize];
    let mut took = Vec::new();
    let mut due = began + every.unwrap_or_default() * nth / load.threads;
    while due < began + load.warm_up + load.measured {
        thread::sleep((due - WAKES_LATE).saturating_duration_since(Instant::now()));
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        connection.append_batch(&events)?;
        if due >= began + load.warm_up {
            took.push(due.elapsed().as_secs_f64());
        }
        due = every.map_or_else(Instant::now, |every| due + every);
    }
    Ok(took)
}

struct Connection {
    stream: TcpStream,
    packs: Packs,
    outgoing: Outgoing,
    request: Vec<u8>,
    serial: i32,
}

impl Connection {
    fn open(port: u16) -> Result<Self> {
        // Flume says that it is ready before all of its sources listen.
        let began = Instant::now();
        let stream = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Err(_) if began.elapsed() < ANSWER => thread::sleep(Duration::from_millis(50)),
                connected => break connected.context("connecting")?,
            }
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let (outgoing, request) = (Outgoing::default(), Vec::new());
        Ok(Connection { stream, packs: Packs::new(LIMITS), outgoing, request, serial: 0 })
    }

    fn append_batch(&mut self, events: &[Event]) -> Result<()> {
        let greets = self.serial == 0;
        self.serial += 1;
        self.outgoing.append_batch(self.serial, greets.then_some(FLUME_HASH), None, events)?;
        self.request.clear();
        bytes::BufMut::put(&mut self.request, &mut self.outgoing);
        self.stream.write_all(&self.request).context("sending")?;
        let answer = self.answer()?;
        let malformed = |why: Malformed| anyhow::anyhow!("an answer that is none: {why}");
        match read_answer(&answer, greets).map_err(malformed)? {
            (_, Some(Answer::Ok)) => Ok(()),
            (_, other) => bail!("the source answered {other:?}"),
        }
    }

    fn answer(&mut self) -> Result<bytes::Bytes> {
        let mut piece = [0; 4096];
        loop {
            if let Some(pack) = self.packs.next_pack().map_err(|why| anyhow::anyhow!("{why}"))? {
                ensure!(pack.serial == self.serial, "an answer to another call");
                return Ok(pack.message);
            }
            let count = self.stream.read(&mut piece).context("waiting for an answer")?;
            ensure!(count > 0, "the source closed the connection");
            self.packs.room().extend_from_slice(&piece[..count]);
        }
    }
}
