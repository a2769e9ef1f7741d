//! The log under crashes, faults and damage.

mod crashes;
mod damage;
mod faults;
mod features;
mod offline;
mod oracle;
mod origins;
mod planted;
mod siblings;
