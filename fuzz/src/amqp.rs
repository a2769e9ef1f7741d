//! What a broker may send over AMQP 1.0: nothing panics, and no message is more than came.

use splashdam_amqp::fuzzing;

/// What a broker says, in pieces.
pub fn broker(input: &[u8]) {
    // The input comes three times, at three moments.
    assert!(fuzzing::broker(input) <= 3 * input.len());
}

/// A message.
pub fn message(input: &[u8]) {
    assert!(fuzzing::message(input) <= input.len());
}
