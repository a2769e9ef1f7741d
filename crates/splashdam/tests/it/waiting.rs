//! Waits for what another process does, each with an end.

use std::fs;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something holds; `what` tells what was waited for in vain.
pub(crate) fn until(mut holds: impl FnMut() -> bool, what: impl Fn() -> String) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {}", what());
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for the end of a process that writes its log to `log`.
pub(crate) fn ended(child: &mut Child, log: &Path) -> ExitStatus {
    let said = || fs::read_to_string(log).unwrap_or_default();
    let mut status = None;
    until(
        || {
            status = child.try_wait().unwrap();
            status.is_some()
        },
        || format!("the end of what is still there:\n{}", said()),
    );
    status.unwrap()
}
