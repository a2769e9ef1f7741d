//! The log under crashes, faults and damage.

mod crashes;
mod damage;
mod faults;
mod origins;
mod planted;
