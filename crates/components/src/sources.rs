//! The sources, one file each.

pub mod avro;
pub mod avro_legacy;
pub mod exec;
pub mod external;
pub mod http;
pub mod jms;
pub mod multiport_syslog_tcp;
pub mod netcat;
pub mod netcatudp;
pub mod scribe;
pub mod seq;
pub mod spooldir;
pub mod stress;
pub mod syslog;
pub mod syslog_tcp;
pub mod syslog_udp;
pub mod taildir;
pub mod thrift;
pub mod thrift_legacy;
mod udp_drops;

mod senders;

use splashdam_core::{ChannelError, OpenError, PutError, SourceError, Stop};
use tokio::net::TcpListener;

/// What a source answers when its channels refuse a batch and it gives up: after a request to stop
/// that is a proper end, as nobody was told that the batch was taken; else it is an early one.
pub(crate) fn gave_up(error: PutError, stop: &Stop) -> Result<(), SourceError> {
    if stop.requested() { Ok(()) } else { Err(SourceError::new(error)) }
}

/// The smallest transaction that any of the refusing channels takes, if that is what it takes to
/// put the events.
pub(crate) fn smaller_group(error: &PutError) -> Option<usize> {
    let capacities = error.failures.iter().filter_map(|failure| match failure {
        ChannelError::TooLarge { capacity, .. } => Some(*capacity),
        _ => None,
    });
    let most = error.batch.len().checked_sub(1).filter(|most| *most > 0)?;
    capacities.min().map(|least| least.clamp(1, most))
}

/// Listens on a host's address and a port; 0 lets the system choose one.
pub(crate) async fn listen(bind: &str, port: u16) -> Result<TcpListener, OpenError> {
    TcpListener::bind((bind, port)).await.map_err(|error| {
        let remedy = remedy(error.kind());
        OpenError::refused(format!("cannot listen on {bind}:{port}: {error}; {remedy}"), error)
    })
}

/// What to do when a port cannot be listened on.
pub(crate) fn remedy(kind: std::io::ErrorKind) -> &'static str {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    match kind {
        AddrInUse => "stop what listens there (`ss -ltnp` tells) or choose another port",
        AddrNotAvailable => "`bind` must be an address of this machine, or 0.0.0.0 for all of them",
        PermissionDenied => "choose a port above 1023 or allow the agent to bind low ports",
        _ => "check `bind` and `port`",
    }
}

#[cfg(test)]
mod tests {
    use splashdam_config::Section;
    use splashdam_core::find;

    #[test]
    fn examples_are_read_without_a_finding() {
        let examples = [
            ("avroLegacy", include_str!("../../../examples/avro-legacy.conf")),
            ("exec", include_str!("../../../examples/exec.conf")),
            ("external", include_str!("../../../examples/external-source.conf")),
            ("http", include_str!("../../../examples/http.conf")),
            ("jms", include_str!("../../../examples/jms.conf")),
            ("multiport_syslogtcp", include_str!("../../../examples/multiport-syslogtcp.conf")),
            ("netcat", include_str!("../../../examples/netcat.conf")),
            ("netcatudp", include_str!("../../../examples/netcatudp.conf")),
            ("scribe", include_str!("../../../examples/scribe.conf")),
            ("seq", include_str!("../../../examples/seq.conf")),
            ("spooldir", include_str!("../../../examples/spooldir.conf")),
            ("stress", include_str!("../../../examples/stress.conf")),
            ("syslogtcp", include_str!("../../../examples/syslogtcp.conf")),
            ("syslogudp", include_str!("../../../examples/syslogudp.conf")),
            ("thrift", include_str!("../../../examples/thrift.conf")),
            ("thriftLegacy", include_str!("../../../examples/thrift-legacy.conf")),
        ];
        for (name, text) in examples {
            let keys = text.lines().filter_map(|line| line.strip_prefix("a1.sources.r1."));
            let section = Section::parse(&keys.collect::<Vec<_>>().join("\n"));
            let entry = find(crate::SOURCES, section.get("type").unwrap()).unwrap();
            let looked = entry.look(&section);
            assert!(looked.findings.is_empty(), "{name}: {:?}", looked.findings);
            assert_eq!((entry.name, looked.facts.is_some()), (name, true));
        }
    }
}
