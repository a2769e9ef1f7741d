//! The connections of a source that listens: accepted up to a limit, each served by its own task.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use splashdam_core::metrics::SourceMetrics;
use splashdam_core::{Context, Stop, Trouble};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tracing::{error, warn};

/// How long accepting pauses after it failed, for want of file descriptors for example.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves who connects, at most `most` at a time, until `stop`; then no longer listens and waits
/// for those that are being served, which have to see the stop themselves.
pub(crate) async fn serve_all<S: Future<Output = ()> + Send + 'static>(
    cx: &Context,
    metrics: &SourceMetrics,
    stop: &Stop,
    listener: TcpListener,
    most: usize,
    serve: impl Fn(TcpStream, SocketAddr) -> S,
) {
    let mut connections = JoinSet::new();
    let (mut accepting, mut crowd) = (Trouble::new(), Trouble::new());
    loop {
        let full = connections.len() >= most;
        if full && crowd.happened(cx.world.instant(), "full").is_some() {
            warn!(component = %cx.title(), most, "as many connections as maxConnections allows; further ones wait");
        }
        let accepted = tokio::select! {
            biased;
            () = stop.wait() => break,
            Some(ended) = connections.join_next() => {
                report(cx, &ended);
                continue;
            }
            accepted = listener.accept(), if !full => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                accepting.ended(cx.world.instant());
                if connections.len() < most / 2 {
                    crowd.ended(cx.world.instant());
                }
                connections.spawn(serve(stream, peer));
            }
            Err(error) => {
                metrics.processing_failures.add(1);
                if accepting.happened(cx.world.instant(), &error.to_string()).is_some() {
                    warn!(component = %cx.title(), %error, "cannot accept a connection; trying on. If file descriptors ran out, raise the limit (`ulimit -n`) or lower maxConnections");
                }
                // Connections that end give their descriptors back meanwhile.
                stop.or(sleep(PAUSE)).await;
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(cx, &ended);
    }
}

/// Counts a connection as open while it lives.
pub(crate) struct Counted<'a>(&'a SourceMetrics);

impl<'a> Counted<'a> {
    pub(crate) fn new(metrics: &'a SourceMetrics) -> Self {
        metrics.open_connections.add(1);
        Counted(metrics)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.open_connections.add(-1);
    }
}

/// Says that a connection ended by a panic: a mistake of ours that cost its client the connection.
fn report(cx: &Context, ended: &Result<(), JoinError>) {
    if let Err(panicked) = ended {
        error!(component = %cx.title(), %panicked, "a connection ended by a panic, which is a bug to report; its client has to connect again");
    }
}

#[cfg(all(test, target_os = "linux"))]
pub(crate) mod tests {
    use tokio::time::timeout;

    use super::*;

    /// Waits until the system watches, for the server, over a client that says nothing.
    pub(crate) async fn is_kept_alive(server: SocketAddr, client: SocketAddr) {
        let watched = async {
            while !has_keep_alive_timer(server.port(), client.port()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), watched).await.expect("the connection is kept alive");
    }

    /// Whether the timer that runs for a connection of this machine is that of keep-alive.
    fn has_keep_alive_timer(local: u16, remote: u16) -> bool {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().skip(1).any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let port = |at: usize| u16::from_str_radix(words[at].split(':').nth(1)?, 16).ok();
            port(1) == Some(local) && port(2) == Some(remote) && words[5].starts_with("02:")
        })
    }
}
