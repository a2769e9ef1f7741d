//! The program as a whole.

mod check;
