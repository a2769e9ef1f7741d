//! Bugs planted on purpose: the simulation is worth something only if it finds each of them.

use splashdam_components::Bug;

use crate::run::{Plan, run};

/// The bugs.
pub const BUGS: [Bug; 6] = [
    Bug::StateAfterAnswer,
    Bug::EpochIgnored,
    Bug::SequenceReused,
    Bug::AnswerBeforeStored,
    Bug::RefusalForgotten,
    Bug::LowAhead,
];

/// The most runs in which a bug is looked for.
const MOST: u64 = 5000;

/// Looks for a bug. Says after how many runs it was found and what showed it.
pub fn find(bug: Bug) -> Option<(u64, String)> {
    (0..MOST).find_map(|seed| {
        let why = run(Plan { bug: Some(bug), ..Plan::new(seed) }).err()?;
        Some((seed + 1, why))
    })
}
