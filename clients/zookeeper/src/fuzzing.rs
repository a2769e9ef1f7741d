//! What must hold for any bytes: an error or a value, in memory that the input bounds, and no
//! panic. The fuzz target and the property test run the same function.

use bytes::{Bytes, BytesMut};

use crate::packet::{self, Heard, Outcome, Session};

/// What a server sends: each packet as a welcome and as what comes after it. Answers what nodes
/// would hold.
pub fn packets(input: &[u8]) -> Vec<Bytes> {
    let mut nodes = Vec::new();
    let mut session = Session::new(std::time::Duration::from_secs(1));
    let mut input = BytesMut::from(input);
    let rest = input.clone().freeze();
    let mut one = |record: Bytes| {
        session.welcomed(record.clone()).ok();
        if let Ok(Heard::Reply { outcome: Outcome::Fine(body), .. }) = packet::heard(record)
            && let Ok(data) = packet::data(body)
        {
            nodes.push(data);
        }
    };
    one(rest);
    while let Ok(Some(record)) = packet::cut(&mut input) {
        one(record);
    }
    nodes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_hold(input in proptest::collection::vec(any::<u8>(), 0..300)) {
            let held: usize = packets(&input).iter().map(Bytes::len).sum();
            prop_assert!(held <= 2 * input.len());
        }
    }
}
