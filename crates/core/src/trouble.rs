//! Trouble is logged once when it starts and once when it ends, however often it repeats.

use std::time::{Duration, Instant};

/// How long the same trouble stays quiet before it is mentioned again.
const REMIND: Duration = Duration::from_secs(300);
/// What was said last is remembered, so much of it: troubles that take turns are each said once.
const MOST_SAID: usize = 16;

/// Whether something is in trouble, and since when.
#[derive(Debug, Default)]
pub struct Trouble {
    since: Option<Instant>,
    /// The last one said stands last.
    said: Vec<(Instant, String)>,
    unsaid: u64,
}

impl Trouble {
    /// No trouble.
    pub const fn new() -> Self {
        Trouble { since: None, said: Vec::new(), unsaid: 0 }
    }

    /// Notes that `what` went wrong. `Some` when it should be logged: the first time, when it
    /// is another trouble than those said before, and as a reminder every five minutes; the number is how many times it
    /// happened unsaid since.
    pub fn happened(&mut self, now: Instant, what: &str) -> Option<u64> {
        self.since.get_or_insert(now);
        let known = self.said.iter().position(|(_, text)| text == what);
        if known.is_some_and(|at| now.saturating_duration_since(self.said[at].0) < REMIND) {
            self.unsaid += 1;
            return None;
        }
        match known {
            Some(at) => drop(self.said.remove(at)),
            None if self.said.len() == MOST_SAID => drop(self.said.remove(0)),
            None => {}
        }
        self.said.push((now, what.to_owned()));
        Some(std::mem::take(&mut self.unsaid))
    }

    /// Whether there is trouble now.
    pub const fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// Notes that all is well. `Some` with the length of the trouble when there was any.
    pub fn ended(&mut self, now: Instant) -> Option<Duration> {
        let since = self.since.take()?;
        self.said.clear();
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
        assert_eq!(trouble.happened(at(312), "full"), Some(0));
    }

    #[test]
    fn troubles_that_take_turns_are_each_said_once() {
        let start = Instant::now();
        let mut trouble = Trouble::new();
        let mut said = Vec::new();
        for second in 0..310 {
            let what = ["full", "closed"][second as usize % 2];
            if trouble.happened(start + Duration::from_secs(second), what).is_some() {
                said.push(second);
            }
        }
        assert_eq!(said, [0, 1, 300, 301]);
        // Whatever comes, no more than so many are remembered.
        let others: Vec<String> = (0..MOST_SAID).map(|n| n.to_string()).collect();
        let now = start + Duration::from_secs(310);
        assert!(others.iter().all(|what| trouble.happened(now, what).is_some()));
        assert!(others.iter().all(|what| trouble.happened(now, what).is_none()));
        assert!(trouble.happened(now, "closed").is_some());
        assert_eq!(trouble.said.len(), MOST_SAID);
    }
}
