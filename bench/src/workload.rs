//! What a workload is: a preparation, a run that yields one number per quantity, and what the numbers mean.

use std::fmt::Write as _;

use anyhow::Result;
use splashdam_interop::Make;

use crate::options::Options;

/// One run with one make of agent; the values are in the order of the workload's quantities.
pub(crate) type Run = Box<dyn Fn(&Make) -> Result<Vec<f64>>>;

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What is done and how it is measured, for the page.
    pub(crate) about: fn(&Options) -> String,
    pub(crate) quantities: &'static [Quantity],
    /// Makes what all rounds share (input files, say) and answers what to run.
    pub(crate) prepare: fn(&Options) -> Result<Run>,
}

pub(crate) struct Quantity {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) better: Better,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

#[derive(Clone, Copy)]
pub(crate) enum Unit {
    EventsPerSecond,
    Seconds,
    Milliseconds,
    CpuSecondsPerMillion,
    Bytes,
}

impl Workload {
    /// All values of a run in one line.
    pub(crate) fn shown(&self, values: &[f64]) -> String {
        let mut line = String::new();
        for (quantity, value) in self.quantities.iter().zip(values) {
            let comma = if line.is_empty() { "" } else { ", " };
            // Writing to a string does not fail.
            write!(line, "{comma}{} {}", quantity.name, quantity.unit.show(*value)).ok();
        }
        line
    }
}

impl Unit {
    /// A value with its unit, to three digits or so.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Unit::EventsPerSecond if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
            Unit::EventsPerSecond => format!("{:.0} k/s", value / 1e3),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Milliseconds => format!("{value:.1} ms"),
            Unit::CpuSecondsPerMillion => format!("{value:.3} s"),
            Unit::Bytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
        }
    }
}
