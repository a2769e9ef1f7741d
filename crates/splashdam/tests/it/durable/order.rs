//! A trace of system calls: between the write of an event and its `OK` lies a good sync of the file it is in.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use super::{BURST, Cut, Load, Site};

/// A system call: lines of the trace on which it began and ended, in the order in which they happened.
#[derive(Debug)]
struct Call {
    name: String,
    text: String,
    began: usize,
    ended: usize,
    answer: String,
}

/// Calls of a trace, in the order in which they began. Calls of several threads overlap there: one begins on a line
/// with `<unfinished ...>` and goes on where its thread has `resumed`.
fn calls(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: HashMap<&str, usize> = HashMap::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim_start();
        let answer = || rest.rsplit_once(" = ").map_or("", |(_, answer)| answer).to_owned();
        if rest.starts_with("<... ") {
            if let Some(call) = open.remove(thread) {
                calls[call].ended = at;
                calls[call].answer = answer();
            }
        } else if let Some((name, text)) = rest.split_once('(') {
            let unfinished = rest.ends_with("<unfinished ...>");
            if unfinished {
                open.insert(thread, calls.len());
            }
            let ended = if unfinished { usize::MAX } else { at };
            calls.push(Call {
                name: name.to_owned(),
                text: text.to_owned(),
                began: at,
                ended,
                answer: if unfinished { String::new() } else { answer() },
            });
        }
    }
    calls
}

impl Call {
    fn descriptor(&self) -> &str {
        self.text.split([',', ')', ' ']).next().unwrap_or_default()
    }
}

#[test]
fn overlapping_calls_are_told_apart() {
    let trace = "7 pwritev(5, \"a\", 1 <unfinished ...>\n8  fdatasync(6) = 0\n7 <... pwritev resumed>) = 1\n";
    let found = calls(trace);
    let told: Vec<_> = found
        .iter()
        .map(|call| (&*call.name, call.descriptor(), call.began, call.ended, &*call.answer))
        .collect();
    assert_eq!(told, [("pwritev", "5", 0, 2, "1"), ("fdatasync", "6", 1, 1, "0")]);
}

#[test]
fn a_good_sync_lies_between_each_write_and_its_answer() {
    if let Err(error) = Command::new("strace").args(["-e", "trace=none", "true"]).output() {
        println!("skipped: no strace to look at system calls with: {error}");
        return;
    }
    let site = Site::draining("$/data1,$/data2");
    let trace = site.path("trace");
    let what = "trace=pwritev,pwritev2,pwrite64,write,writev,fdatasync,fsync,sendto,sendmsg";
    let written = trace.to_str().unwrap().to_owned();
    // With -D the process that is started is the agent, and strace its descendant.
    let under = ["strace", "-D", "-f", "-qq", "-s", "65536", "-e", what, "-o", &written];
    let mut process = site.start_under(&under, &[]);
    // It says so, or ends where tracing is not allowed.
    while !process.log().contains("is running") {
        if let Some(status) = process.child.try_wait().unwrap() {
            println!("skipped: strace may not trace here, {status}: {}", process.log());
            return;
        }
        sleep(Duration::from_millis(5));
    }
    // One client alone, so that the answers in the trace follow each other as its lines do.
    let mut load = Load::new(1, 0);
    load.during(&process.netcat(), || {
        super::until(|| process.taken() > 20 * BURST, || "events under strace".into());
    });
    process.drain_and_stop();
    load.check(&site.path("out"), Cut::default());

    let trace = fs::read_to_string(trace).unwrap();
    let calls = calls(&trace);
    let answers = calls
        .iter()
        .filter(|call| call.text.contains("\"OK\\n"))
        .flat_map(|call| std::iter::repeat_n(call, call.text.matches("OK\\n").count()));
    let writes: Vec<_> = calls.iter().filter(|call| call.name.starts_with("pwrite")).collect();
    let syncs: Vec<_> = calls.iter().filter(|call| call.name == "fdatasync").collect();
    let (sender, mut proven) = (&load.senders[0], 0);
    for (number, answer) in (0..sender.next).zip(answers) {
        assert!(sender.acknowledged.contains(&number), "{number} was not answered");
        // A body is followed by the next event's first byte, which is no digit.
        let body = format!("{}-{number}", sender.name);
        let holds = |call: &&&Call| {
            call.text.match_indices(&body).any(|(at, _)| {
                !call.text[at + body.len()..].starts_with(|next: char| next.is_ascii_digit())
            })
        };
        let write = writes.iter().find(holds).unwrap_or_else(|| panic!("no write of {body}"));
        let synced = syncs.iter().any(|sync| {
            sync.descriptor() == write.descriptor()
                && sync.began > write.ended
                && sync.ended < answer.began
                && sync.answer == "0"
        });
        assert!(synced, "no good sync between {write:?} and the answer at {}", answer.began);
        proven += 1;
    }
    assert_eq!(proven, sender.next, "every line has its answer in the trace");
    println!("{proven} lines answered after a good sync of the file that they were written to");
}
