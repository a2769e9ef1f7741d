//! What the process uses, from `/proc`.

use std::fs;

/// Linux counts processor time for user space in hundredths of a second (USER_HZ), on every
/// platform it still supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Use of the machine so far.
#[derive(Debug, PartialEq)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) open_files: usize,
    pub(super) start_seconds: f64,
    pub(super) uptime_seconds: f64,
}

impl Usage {
    /// Reads it now; nothing where there is no `/proc`.
    pub(super) fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let system = fs::read_to_string("/proc/stat").ok()?;
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let open_files = fs::read_dir("/proc/self/fd").ok()?.count();
        Self::parse(&stat, &status, &system, &uptime, open_files)
    }

    fn parse(
        stat: &str,
        status: &str,
        system: &str,
        uptime: &str,
        open_files: usize,
    ) -> Option<Self> {
        // The name in brackets may hold anything, so count from its end: state is field 0.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |field: usize| fields.get(field)?.parse::<f64>().ok();
        let cpu_seconds = (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND;
        let started = ticks(19)? / TICKS_PER_SECOND;
        let resident = word_after(status, "VmRSS:")?.parse::<u64>().ok()?;
        let booted = word_after(system, "btime ")?.parse::<f64>().ok()?;
        let up = uptime.split_ascii_whitespace().next()?.parse::<f64>().ok()?;
        Some(Usage {
            cpu_seconds,
            resident_bytes: resident.saturating_mul(1024),
            open_files,
            start_seconds: booted + started,
            uptime_seconds: (up - started).max(0.0),
        })
    }
}

fn word_after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(start))?;
    line.split_ascii_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_fields() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 3 0 1200 1 1";
        let usage = Usage::parse(
            stat,
            "Name:\ta\nVmRSS:\t    2048 kB\n",
            "cpu  1 2\nbtime 1700000000\n",
            "100.00 50.0",
            9,
        );
        let want = Usage {
            cpu_seconds: 3.0,
            resident_bytes: 2 << 20,
            open_files: 9,
            start_seconds: 1_700_000_012.0,
            uptime_seconds: 88.0,
        };
        assert_eq!(usage, Some(want));
        assert_eq!(Usage::parse("", "", "", "", 0), None);
    }
}
