//! Channels, one file each.

pub mod file;
pub mod memory;
pub mod pseudo_memory;
pub mod spillable;

use std::fmt::Display;

use splashdam_config::{Diagnostic, Lenient, Section};

/// A value that is a number, but none that can be meant: Flume takes another without a word that
/// anybody reads. `instead` says which.
pub(crate) fn value_replaced(
    section: &Section,
    key: &str,
    value: Lenient<i64>,
    least: i64,
    instead: impl Display,
) -> Option<Diagnostic> {
    let value = value.0.filter(|value| *value < least)?;
    let finding = Diagnostic::warning("value-replaced", format!("`{key}` cannot be {value}"))
        .at(section.value_span(key))
        .label(format!("{instead} is used instead"))
        .help(format!("write a number from {least} on, or remove the line"));
    Some(finding)
}
