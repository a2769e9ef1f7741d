//! Trouble is logged once when it starts and once when it ends, however often it repeats.

use std::time::{Duration, Instant};

/// How long the same trouble stays quiet before it is mentioned again.
const REMIND: Duration = Duration::from_secs(300);

/// Whether something is in trouble, and since when.
#[derive(Debug, Default)]
pub struct Trouble {
    since: Option<Instant>,
    said: Option<(Instant, String)>,
    unsaid: u64,
}

impl Trouble {
    /// No trouble.
    pub const fn new() -> Self {
        Trouble { since: None, said: None, unsaid: 0 }
    }

    /// Notes that `what` went wrong. `Some` when it should be logged: the first time, when the
    /// message changes, and as a reminder every five minutes; the number is how many times it
    /// happened unsaid since.
    pub fn happened(&mut self, now: Instant, what: &str) -> Option<u64> {
        self.since.get_or_insert(now);
        let quiet = self
            .said
            .as_ref()
            .is_some_and(|(at, text)| text == what && now.saturating_duration_since(*at) < REMIND);
        if quiet {
            self.unsaid += 1;
            return None;
        }
        self.said = Some((now, what.to_owned()));
        Some(std::mem::take(&mut self.unsaid))
    }

    /// Whether there is trouble now.
    pub const fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// Notes that all is well. `Some` with the length of the trouble when there was any.
    pub fn ended(&mut self, now: Instant) -> Option<Duration> {
        let since = self.since.take()?;
        self.said = None;
        self.unsaid = 0;
        Some(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_each_trouble_once_and_its_end() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut trouble = Trouble::new();
        assert_eq!(trouble.ended(at(0)), None);
        assert!(!trouble.is_on());
        assert_eq!(trouble.happened(at(1), "full"), Some(0));
        assert!(trouble.is_on());
        assert_eq!(trouble.happened(at(2), "full"), None);
        assert_eq!(trouble.happened(at(3), "closed"), Some(1));
        assert_eq!(trouble.happened(at(4), "closed"), None);
        assert_eq!(trouble.happened(at(303), "closed"), Some(1));
        assert_eq!(trouble.ended(at(310)), Some(Duration::from_secs(309)));
        assert_eq!(trouble.ended(at(311)), None);
    }
}
