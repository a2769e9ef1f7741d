//! Datagrams that the kernel dropped as nobody read them in time, for the sources of UDP.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use splashdam_core::{Context, Outlet, Trouble, World};
use tokio::task::spawn_blocking;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::warn;

/// Where the kernel says so, for IPv4 and IPv6.
const TABLES: [&str; 2] = ["/proc/net/udp", "/proc/net/udp6"];

/// How often the kernel is asked.
const ASK: Duration = Duration::from_secs(5);

/// Counts them.
pub(super) struct Drops {
    name: Arc<str>,
    world: Arc<dyn World>,
    /// By which the kernel knows the socket.
    inode: Option<u64>,
    /// What makes drops fewer.
    remedy: &'static str,
    counted: u64,
    trouble: Trouble,
}

impl Drops {
    pub(super) fn new(cx: &Context, socket: impl AsFd, remedy: &'static str) -> Self {
        let (name, world) = (cx.name.clone(), cx.world.clone());
        let inode = rustix::fs::fstat(socket).ok().map(|stat| stat.st_ino);
        Drops { name, world, inode, remedy, counted: 0, trouble: Trouble::new() }
    }

    /// When to look.
    pub(super) fn times() -> Interval {
        let mut ask = interval(ASK);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ask
    }

    /// Counts what was dropped since the last look.
    pub(super) async fn look(&mut self, out: &Outlet) {
        let Some(inode) = self.inode else { return };
        let Ok(Some(all)) = spawn_blocking(move || dropped(inode)).await else { return };
        let new = usize::try_from(all.saturating_sub(self.counted)).unwrap_or(usize::MAX);
        self.counted = all;
        if new == 0 {
            return;
        }
        out.metrics().events_dropped.add(new);
        if let Some(repeats) = self.trouble.happened(self.world.instant(), "dropped") {
            let remedy = self.remedy;
            warn!(component = %self.name, events = new, repeats, "the kernel dropped datagrams, as they came faster than the channels took them or than its buffer holds; {remedy}, or give the channel more room");
        }
    }
}

fn dropped(inode: u64) -> Option<u64> {
    TABLES.iter().find_map(|table| in_table(&std::fs::read_to_string(table).ok()?, inode))
}

/// The last number in the line of a socket; its inode is the tenth.
fn in_table(table: &str, inode: u64) -> Option<u64> {
    let inode = inode.to_string();
    let mut lines = table.lines().skip(1).map(|line| line.split_ascii_whitespace());
    lines.find_map(|line| {
        let mut fields = line.clone();
        (fields.nth(9) == Some(inode.as_str())).then(|| line.last()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            123: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 40077 2 0000000000000000 17\n\
            124: 0100007F:1F91 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 40078 2 0000000000000000 0\n";
        for (inode, drops) in [(40077, Some(17)), (40078, Some(0)), (1, None)] {
            assert_eq!(in_table(table, inode), drops, "{inode}");
        }
        assert_eq!(in_table("", 1), None);
        assert_eq!(in_table("x\n1 2 3\n", 3), None);
    }
}
