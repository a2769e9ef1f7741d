//! A run with every end it can have: a crash at every act and every fate of what was not synced, a
//! failure of every call, a bit flipped anywhere.

use std::ops::AddAssign;

use crate::dice::Dice;
use crate::disk::{Errno, MOODS};
use crate::run::{Harm, Plan, Run};

/// What was tried, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Crash points: plan, act and fate, no two alike; each opened and compared with the model.
    pub points: u64,
    /// Crashes inside the starts that followed.
    pub nested: u64,
    /// Runs with one failing call each: plan, act and error, no two alike.
    pub faults: u64,
    /// Bits flipped at rest, and those of them that cost a frame, which was named.
    pub flips: u64,
    /// See `flips`.
    pub named: u64,
    /// Puts that were acknowledged, in all these lives.
    pub stored: u64,
    /// Takes that were acknowledged.
    pub taken: u64,
    /// Puts and takes that failed or were refused.
    pub refused: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Tally) {
        self.points += more.points;
        self.nested += more.nested;
        self.faults += more.faults;
        self.flips += more.flips;
        self.named += more.named;
        self.stored += more.stored;
        self.taken += more.taken;
        self.refused += more.refused;
    }
}

/// Runs a plan with the power failing at each act of its disks in turn, those of its end included,
/// and from there with every fate: the process alone ends, or the power fails in one of its moods.
pub fn crash_everywhere(plan: &Plan) -> Result<Tally, String> {
    let told = |what: String, why: String| format!("seed {}, {what}: {why}", plan.seed);
    let whole = Run::until_the_end(plan.clone()).map_err(|why| told("no crash".into(), why))?;
    let mut tally = Tally::default();
    for at in 1..=whole.verdict.acts {
        let run = Run::until_the_end(Plan { crash_at: Some(at), ..plan.clone() })
            .map_err(|why| told(format!("crash at act {at}"), why))?;
        for mood in std::iter::once(None).chain((0..MOODS).map(Some)) {
            let verdict = run
                .fate(mood)
                .map_err(|why| told(format!("crash at act {at}, mood {mood:?}"), why))?;
            tally.points += 1;
            tally.nested += verdict.crashes;
            tally.stored += verdict.stored - run.verdict.stored;
            tally.taken += verdict.taken - run.verdict.taken;
            tally.refused += verdict.refused - run.verdict.refused;
        }
    }
    tally.stored += whole.verdict.stored;
    tally.taken += whole.verdict.taken;
    Ok(tally)
}

/// Runs a plan with each `stride`th of its calls failing in turn, with EIO and with ENOSPC.
pub fn fail_everywhere(plan: &Plan, stride: usize) -> Result<Tally, String> {
    let whole = Run::new(plan.clone())
        .all()
        .map_err(|why| format!("seed {}, nothing more fails: {why}", plan.seed))?;
    let mut tally = Tally::default();
    for at in (1 + plan.seed % stride as u64..=whole.acts).step_by(stride) {
        for errno in [Errno::Io, Errno::NoSpace] {
            let mut plan = plan.clone();
            match errno {
                Errno::Io => plan.faults.push(at),
                Errno::NoSpace => plan.no_space.push(at),
            }
            let seed = plan.seed;
            Run::new(plan)
                .all()
                .map_err(|why| format!("seed {seed}, act {at} fails with {errno:?}: {why}"))?;
            tally.faults += 1;
        }
    }
    Ok(tally)
}

/// Closes the log of a plan and flips single bits of its segments, one at a time: what is lost is
/// at most the frame that was hit, it is named, and nothing else than what was put comes out.
pub fn flip_bits(plan: &Plan, count: u64) -> Result<Tally, String> {
    let told = |why: String| format!("seed {}, a flipped bit: {why}", plan.seed);
    let run = Run::closed(plan.clone()).map_err(told)?;
    let mut dice = Dice::new(plan.seed ^ 0xF11B);
    let mut tally = Tally::default();
    for _ in 0..count {
        let disk = dice.index(plan.disks);
        let names = run.disks.names(disk);
        let segments: Vec<_> = names.iter().filter(|name| name.ends_with(".seg")).collect();
        let Some(name) = segments.get(dice.index(segments.len().max(1))) else { continue };
        let used = run.disks.bytes(disk, name).iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let (at, bit) = (dice.index(used + 1), dice.below(8));
        let harm = run
            .after_damage(|disks| disks.alter(disk, name, |bytes| bytes[at] ^= 1 << bit))
            .map_err(|why| told(format!("{name} byte {at} bit {bit}: {why}")))?;
        tally.flips += 1;
        tally.named += u64::from(harm == Harm::Named);
    }
    Ok(tally)
}
