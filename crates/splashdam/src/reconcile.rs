//! `splashdam reconcile`: what got lost, or came twice, between two agents.

use std::io::{self, Write};

use splashdam_agent::ledger::fetch;
use splashdam_agent::reconcile::{Found, Late, Reconciled, reconcile};
use splashdam_config::diagnostic::escaped;

use crate::cli::reconcile::ReconcileArgs;
use crate::cli::{FAILED, ReportFormat};

/// Exit status when nothing could be compared, or not be told: 1 would say that events are missing or double.
const NOT_COMPARED: u8 = 2;

/// Runs `splashdam reconcile`: answers the exit status, which says something of the events only when
/// they were compared, whatever else fails.
pub(crate) fn run(args: &ReconcileArgs) -> u8 {
    let done = compared(args).and_then(|found| told(&found, args.format, &mut io::stdout().lock()));
    done.unwrap_or_else(|why| {
        // Who would have read why has gone.
        crate::log::refused(&why).ok();
        NOT_COMPARED
    })
}

fn compared(args: &ReconcileArgs) -> Result<Reconciled, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot begin: {error}"))?;
    let fetched = runtime.block_on(async {
        // The sender before and after: what it counts in between is in flight.
        Ok((fetch(&args.sender).await?, fetch(&args.receiver).await?, fetch(&args.sender).await?))
    });
    let (before, receiver, after) =
        fetched.map_err(|error: splashdam_agent::ledger::FetchError| error.to_string())?;
    reconcile(&before, &receiver, &after, &args.way).map_err(|error| error.to_string())
}

/// Tells what was found; the exit status.
fn told(found: &Reconciled, format: ReportFormat, out: &mut impl Write) -> Result<u8, String> {
    let told = match format {
        ReportFormat::Json => {
            serde_json::to_string_pretty(found).map_err(|error| error.to_string())? + "\n"
        }
        ReportFormat::Text => escaped(&text(found), true).into_owned(),
    };
    match out.write_all(told.as_bytes()).and_then(|()| out.flush()) {
        // Whoever read our output has gone; the status is still an answer.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write what was found: {error}"))
        }
        _ => Ok(if found.is_balanced() { 0 } else { FAILED }),
    }
}

fn text(found: &Reconciled) -> String {
    let Reconciled { path, sent, received, in_flight, held, .. } = found;
    let mut told = format!("{path}, since {}", time(found.from));
    if found.is_partial {
        told += " (one side does not count what was before)";
    }
    told += &format!(
        "\n  sent {sent}, received {received}, in flight {in_flight}, held by the sender {held}\n"
    );
    tell(&mut told, "missing", path, &found.missing);
    tell(&mut told, "double", path, &found.double);
    for Late { from, until, events } in &found.late {
        let (from, until) = (time(*from), time(*until));
        told += &match events {
            0.. => format!(
                "  from {from} to {until} at least {events} were not there: late, or lost while others came twice\n"
            ),
            _ => format!(
                "  from {from} to {until} at least {} were too many: early by the clocks, or double while others were lost\n",
                -events
            ),
        };
    }
    if found.is_empty() {
        told += "  nothing to compare: neither agent has counted any of these events\n";
    } else if found.is_balanced() {
        told += "  nothing is missing, nothing came twice\n";
    }
    told
}

fn tell(told: &mut String, word: &str, path: &str, found: &[Found]) {
    let sum: u64 = found.iter().map(|found| found.events).sum();
    if sum > 0 {
        *told += &format!("  {word}: {sum}\n");
    }
    for Found { minute, events } in found {
        *told += &format!("    {}  {events}  {path}\n", time(*minute));
    }
}

/// A minute since 1970 as people write it.
fn time(minute: i64) -> String {
    let at = jiff::Timestamp::from_second(minute.saturating_mul(60));
    at.map_or_else(|_| minute.to_string(), |at| at.strftime("%Y-%m-%dT%H:%MZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refuses what is written to it.
    struct Refuses(io::ErrorKind);

    impl Write for Refuses {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_status_speaks_of_events_only_where_they_were_compared_and_told() {
        let balanced = Reconciled::default();
        let missing =
            Reconciled { missing: vec![Found { minute: 1, events: 1 }], ..Reconciled::default() };
        for format in [ReportFormat::Text, ReportFormat::Json] {
            for (found, want) in [(&balanced, 0), (&missing, 1)] {
                assert_eq!(told(found, format, &mut Vec::new()), Ok(want));
                let gone = told(found, format, &mut Refuses(io::ErrorKind::BrokenPipe));
                assert_eq!(gone, Ok(want));
                let full = told(found, format, &mut Refuses(io::ErrorKind::StorageFull));
                assert!(full.unwrap_err().starts_with("cannot write what was found: "));
            }
        }
    }

    #[test]
    fn findings_are_told_with_minute_and_path() {
        let found = Reconciled {
            path: "k1 → r1".into(),
            from: 29_000_000,
            sent: 1000,
            received: 900,
            held: 7,
            missing: vec![Found { minute: 29_000_003, events: 100 }],
            late: vec![Late { from: 29_000_000, until: 29_000_002, events: 5 }],
            ..Reconciled::default()
        };
        let want = "k1 → r1, since 2025-02-19T21:20Z
  sent 1000, received 900, in flight 0, held by the sender 7
  missing: 100
    2025-02-19T21:23Z  100  k1 → r1
  from 2025-02-19T21:20Z to 2025-02-19T21:22Z at least 5 were not there: late, or lost while others came twice
";
        assert_eq!(text(&found), want);
        let balanced =
            Reconciled { is_partial: true, sent: 1, received: 1, ..Reconciled::default() };
        assert!(text(&balanced).ends_with("nothing came twice\n"));
        assert!(text(&Reconciled::default()).contains("\n  nothing to compare: "));
    }
}
