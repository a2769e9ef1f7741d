//! The order of calls that say where their events come from.

use super::*;

/// Each may be the first that a task is not let do without a pause, which the runtime asks for after so many steps.
#[tokio::test]
async fn calls_with_a_claim_keep_their_order_wherever_their_connection_pauses() {
    let dir = tempfile::tempdir().unwrap();
    let channel = file_channel(dir.path()).await;
    let (source, address) = source("").await;
    let running = run_source_into(source, outlet_to(vec![channel.clone()]));
    let mut client = Client::connect(address).await;
    client.call(1, true, None, &Batch::default()).await;
    assert_eq!(client.answer(true).await, (1, Answer::Ok));
    let mut next = 0;
    for pings in 90..=130 {
        // In one piece, so that they are read at once.
        let mut piece = hex("00000001 00000001 00000002 0000").repeat(pings);
        for serial in 0..8 {
            let numbers = [next..next + 1];
            let mut call = Outgoing::default();
            let claim = claim(0, &numbers);
            call.append_batch(serial, None, Some(&claim), numbered(&numbers).events()).unwrap();
            piece.extend_from_slice(&call.copy_to_bytes(call.remaining()));
            next += 1;
        }
        client.send(&piece).await;
        for _ in 0..pings {
            client.message().await;
        }
        for serial in 0..8 {
            assert_eq!(client.answer(false).await, (serial, Answer::Ok));
        }
    }
    let want = splashdam_testkit::fakes::bodies(numbered(&[0..next]).events());
    assert_eq!(stored(&*channel).await, want);
    running.stop().await.unwrap();
    channel.close().await.unwrap();
}
