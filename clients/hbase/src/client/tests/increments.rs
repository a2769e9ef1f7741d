//! How often an increment is counted that had to be sent again.

use super::*;

const LOST: Fault = Fault::LoseAnswer;

/// A batch of increments of as many rows, each by 3, to a cluster with these faults.
async fn counts(increments: usize, faults: &[Fault]) -> Vec<i64> {
    let (cluster, client) = start(WHOLE, faults).await;
    let one = |n: usize| Mutation::increment(format!("n{n}")).add(FAMILY, "n", 3);
    let all: Vec<Mutation> = (0..increments).map(one).collect();
    client.batch(&table(), &all).await.all().unwrap();
    let number = |bytes: &bytes::Bytes| i64::from_be_bytes(bytes[..].try_into().unwrap());
    let rows = cluster.rows();
    rows.iter().map(|(_, _, value)| number(value)).collect()
}

#[tokio::test]
async fn what_was_not_acknowledged_is_counted_once() {
    for faults in [&[][..], &[LOST], &[LOST, LOST], &[Fault::Silence], &[Fault::Close]] {
        assert_eq!(counts(1, faults).await, [3], "{faults:?}");
        assert_eq!(counts(3, faults).await, [3, 3, 3], "{faults:?}");
    }
    for fault in [LOST, Fault::Silence] {
        let (_, client) = start(WHOLE, &[fault]).await;
        let row = client.mutate(&table(), count()).await.unwrap();
        assert_eq!(row.number(FAMILY, "n"), Some(3));
    }
}

/// A server's nonces reach another one through the log that is read after a crash, and not otherwise.
#[tokio::test]
async fn nonces_outlive_a_crash_and_not_a_move() {
    assert_eq!(counts(2, &[Fault::Crash]).await, [3, 3]);
    assert_eq!(counts(2, &[Fault::Move]).await, [3, 3]);
    assert_eq!(counts(2, &[LOST, Fault::Move]).await, [6, 6]);
}
