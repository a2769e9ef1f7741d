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
    /// What the machine itself does, beside the agents.
    pub(crate) peer: Option<Peer>,
}

/// Something without an agent that is measured in each round too, to compare with.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// The values in the order of the workload's quantities, not a number where it has none.
    pub(crate) run: fn(&Options) -> Result<Vec<f64>>,
}

pub(crate) struct Quantity {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) better: Better,
}

/// What a flow through an agent is measured by.
pub(crate) const FLOW: &[Quantity] = &[RATE, CPU, PEAK];
pub(crate) const RATE: Quantity =
    Quantity { name: "Events per second", unit: Unit::EventsPerSecond, better: Better::Higher };
pub(crate) const CPU: Quantity = Quantity {
    name: "CPU per million events",
    unit: Unit::CpuSecondsPerMillion,
    better: Better::Lower,
};
pub(crate) const PEAK: Quantity =
    Quantity { name: "Peak memory", unit: Unit::Bytes, better: Better::Lower };

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
    Count,
}

impl Workload {
    /// All values of a run in one line.
    pub(crate) fn shown(&self, values: &[f64]) -> String {
        let mut line = String::new();
        for (quantity, value) in self.quantities.iter().zip(values) {
            if value.is_nan() {
                continue;
            }
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
            Unit::EventsPerSecond if value >= 1e4 => format!("{:.0} k/s", value / 1e3),
            Unit::EventsPerSecond => format!("{value:.0} /s"),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Milliseconds => format!("{value:.1} ms"),
            Unit::CpuSecondsPerMillion => format!("{value:.3} s"),
            Unit::Bytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
            Unit::Count => format!("{value:.0}"),
        }
    }
}
