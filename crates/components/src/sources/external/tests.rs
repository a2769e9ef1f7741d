use std::collections::BTreeSet;

use splashdam_config::Section;
use splashdam_core::Role;
use splashdam_testkit::{Collector, bodies, context, contract};
use tempfile::TempDir;

use super::*;
use crate::external::tests::{READY, example, python, script, until};

fn cx() -> Context {
    context(Role::Source)
}

async fn start(keys: &str, collector: &Collector) -> contract::Running {
    let keys = format!("{keys}\nrestartThrottle = 20");
    contract::run_source(contract::open_source::<External>(&keys, cx()).await, collector)
}

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("line {n}")).collect()
}

/// What a script notes about the answers that it gets.
fn noted(dir: &TempDir) -> String {
    std::fs::read_to_string(dir.path().join("noted")).unwrap_or_default()
}

/// Sends `batches` of two events each at once, and notes each answer by number and outcome. It goes on
/// until it is told to stop, or its input ends.
const SENDS: &str = "
def bring(numbers):
    for n in numbers:
        e.send(e.BATCH, struct.pack('>QI', n, 2), e.event({'n': str(n)}, '%d a' % n), e.event({}, '%d b' % n))
def note(until):
    while until > 0:
        kind, payload = e.receive()
        if kind is None:
            sys.exit()
        if kind == e.ANSWER:
            until -= 1
            with open(DIR + '/noted', 'a') as file:
                file.write('%d:%d ' % struct.unpack_from('>QB', payload))
";

fn sending(dir: &TempDir, text: &str) -> String {
    script(dir, &format!("DIR = {:?}\n{SENDS}{READY}{text}", dir.path()))
}

#[tokio::test]
async fn stops() {
    contract::source_stops::<External>("command = sleep 600", cx).await;
    if python() {
        let endless = format!("{}\nset.count = 1000000000", example());
        contract::source_stops::<External>(&endless, cx).await;
    }
}

#[tokio::test]
async fn the_example_brings_everything_and_is_over() {
    if !python() {
        return;
    }
    let collector = Collector::new();
    collector.refuse(2);
    collector.fail_commits(1);
    let running =
        start(&format!("{}\nset.count = 1234\nbatchSize = 200", example()), &collector).await;
    until("all of it", || collector.events().len() >= 1234).await;
    assert_eq!(bodies(&collector.events()), lines(1234));
    assert_eq!(&**collector.events()[0].headers.get("origin").unwrap(), "python");
    running.ended().await.unwrap();
    assert_eq!(collector.events().len(), 1234);
}

#[tokio::test]
async fn batches_are_answered_in_order_once_they_are_stored() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::new();
    collector.refuse(3);
    let keys = sending(&dir, "bring(range(20))\nnote(20)\nnote(1)\n");
    let running = start(&format!("{keys}\nbatchSize = 1"), &collector).await;
    let all: String = (0..20).map(|n| format!("{n}:0 ")).collect();
    until("the answers", || noted(&dir) == all).await;
    let want: Vec<String> = (0..20).flat_map(|n| [format!("{n} a"), format!("{n} b")]).collect();
    assert_eq!(collector.bodies(), want);
    assert!(collector.batches().iter().all(|batch| batch.len() == 1), "larger than `batchSize`");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_not_stored_at_a_stop_is_wanted_again() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::new();
    collector.refuse(10_000);
    // What the agent has not read yet it need not answer.
    let text = "import fcntl, termios\nbring(range(3))\n\
                while struct.unpack('I', fcntl.ioctl(e._output, termios.FIONREAD, bytes(4)))[0]: time.sleep(0.01)\n\
                claim('read')\nnote(3)\n";
    let running = start(&format!("{}\nstopTimeout = 30000", sending(&dir, text)), &collector).await;
    until("a put", || collector.puts() > 0 && dir.path().join("read").exists()).await;
    running.stop().await.unwrap();
    let noted = noted(&dir);
    let noted: BTreeSet<&str> = noted.split_whitespace().collect();
    assert_eq!((noted, collector.batches().len()), (["0:1", "1:1", "2:1"].into(), 0));
}

#[tokio::test]
async fn a_process_that_ends_badly_is_started_again_and_what_it_sent_is_stored() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::new();
    let text = "for n in range(3):\n    if claim(str(n)):\n        bring([n])\n        \
                if n == 1: e._output.write(b'garbage'); e._output.flush()\n        \
                os.kill(os.getpid(), signal.SIGKILL)\nbring([9])\nnote(1)\nsys.exit(0)\n";
    let running = start(&sending(&dir, text), &collector).await;
    until("the last", || noted(&dir) == "9:0 ").await;
    let want = ["0 a", "0 b", "1 a", "1 b", "2 a", "2 b", "9 a", "9 b"];
    assert_eq!(collector.bodies(), want);
    running.ended().await.unwrap();
}

/// Nobody reads the answers: all is stored once, however many batches were on their way when the first
/// answer failed, and the status at the end says whether there is more.
#[tokio::test]
async fn a_process_that_does_not_listen_is_judged_by_its_end() {
    if !python() {
        return;
    }
    let closed = "e._input.close(); os.close(0)\n";
    for (input, status) in [("", 0), (closed, 0), ("", 3), (closed, 3)] {
        let dir = tempfile::tempdir().unwrap();
        let collector = Collector::new();
        // The channel is slow, so that much is still in the pipe when the process is gone.
        collector.refuse(2);
        let text = format!(
            "{input}if claim('first'):\n    bring(range(2000))\n    os._exit({status})\n\
             bring([2000])\nos._exit(0)\n"
        );
        let running = start(&sending(&dir, &text), &collector).await;
        running.ended().await.unwrap();
        let last = if status == 0 { 2000 } else { 2001 };
        let want: Vec<String> =
            (0..last).flat_map(|n| [format!("{n} a"), format!("{n} b")]).collect();
        assert!(collector.bodies() == want, "{input}{status}: {}", collector.bodies().len());
    }
}

#[tokio::test]
async fn a_batch_that_never_fits_ends_the_source() {
    if !python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let keys = sending(&dir, "bring([4])\nnote(1)\n");
    let source = contract::open_source::<External>(&keys, cx()).await;
    let keys = Section::parse("capacity = 1\ntransactionCapacity = 1");
    let small = crate::channels::memory::Memory::open(
        keys.read().into_result().unwrap(),
        context(Role::Channel),
    );
    let outlet = splashdam_testkit::fakes::outlet(small.await.unwrap());
    let running = contract::run_source_into(source, outlet);
    until("an answer", || noted(&dir) == "4:1 ").await;
    let error = running.ended().await.unwrap_err().to_string();
    assert!(error.contains("at most 1 events in a transaction"), "{error}");
}
