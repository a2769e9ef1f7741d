//! Reading an agent's monitoring port: one plain HTTP GET, and Flume's JSON of counters.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// An agent that takes longer to answer its metrics is counted as not answering.
const LIMIT: Duration = Duration::from_secs(20);
const LARGEST_REPLY: u64 = 4 << 20;

/// What `/metrics` said: component key (`SINK.k1`) to counter name to value, as they came.
#[derive(Clone, Debug)]
pub struct Metrics(BTreeMap<String, BTreeMap<String, Value>>);

impl Metrics {
    /// Asks the agent whose monitoring port this is.
    pub fn scrape(port: u16) -> Result<Metrics> {
        let (status, body) = fetch(port, "/metrics")?;
        ensure!(status == 200, "/metrics answered {status}");
        Metrics::parse(&body)
    }

    /// Reads the JSON; anything but an object of objects is refused.
    pub fn parse(body: &[u8]) -> Result<Metrics> {
        serde_json::from_slice(body).map(Metrics).context("/metrics is not an object of objects")
    }

    /// A counter, if it is there and a whole number.
    pub fn count(&self, component: &str, counter: &str) -> Option<u64> {
        self.text(component, counter)?.parse().ok()
    }

    /// A value as text; `None` where it is missing or not a JSON string.
    pub fn text(&self, component: &str, counter: &str) -> Option<&str> {
        self.0.get(component)?.get(counter)?.as_str()
    }

    /// Each component key with the names of its counters.
    pub fn names(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        self.0
            .iter()
            .map(|(component, counters)| {
                (component.as_str(), counters.keys().map(String::as_str).collect())
            })
            .collect()
    }

    /// `component.counter` of every value that is not a JSON string. Flume has none.
    pub fn not_strings(&self) -> Vec<String> {
        let values = self.0.iter().flat_map(|(component, counters)| {
            counters.iter().map(move |(counter, value)| (component, counter, value))
        });
        values
            .filter(|(_, _, value)| !value.is_string())
            .map(|(component, counter, value)| format!("{component}.{counter} = {value}"))
            .collect()
    }
}

/// Status and body of a GET on the loopback. HTTP/1.0, so that the answer is never chunked.
pub fn fetch(port: u16, path: &str) -> Result<(u16, Vec<u8>)> {
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(
        format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut reply = Vec::new();
    stream.take(LARGEST_REPLY).read_to_end(&mut reply)?;
    let head = reply
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("the HTTP answer has no end of headers")?;
    let line = String::from_utf8_lossy(&reply[..head]);
    let Some(status) = line.split(' ').nth(1).and_then(|word| word.parse().ok()) else {
        bail!("the HTTP answer has no status: {line}");
    };
    Ok((status, reply.split_off(head + 4)))
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn reads_flumes_shape() {
        let body = br#"{"SINK.k1":{"Type":"SINK","EventDrainSuccessCount":"12"},"CHANNEL.c1":{"ChannelSize":3}}"#;
        let metrics = Metrics::parse(body).expect("the sample is well formed");
        assert_eq!(metrics.count("SINK.k1", "EventDrainSuccessCount"), Some(12));
        assert_eq!(metrics.count("SINK.k1", "Type"), None);
        assert_eq!(metrics.not_strings(), ["CHANNEL.c1.ChannelSize = 3"]);
        assert!(Metrics::parse(b"[]").is_err());
    }
}
