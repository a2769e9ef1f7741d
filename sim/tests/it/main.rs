//! The log under crashes, faults and damage.

mod crashes;
mod faults;
mod planted;
