//! The threads of the log in many orders: a sync answers only those whose bytes were written before
//! it began, closing loses nobody, nobody waits for ever (the scheduler fails a run in which all
//! threads wait).

mod disk;
mod handover;
