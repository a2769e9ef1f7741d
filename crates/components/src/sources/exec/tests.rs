use super::*;
use splashdam_core::Role;
use splashdam_testkit::{Collector, Lines, context, contract};

fn cx() -> Context {
    context(Role::Source)
}

async fn start(keys: &str, collector: &Collector) -> contract::Running {
    contract::run_source(contract::open_source::<Exec>(keys, cx()).await, collector)
}

#[tokio::test]
async fn stops() {
    contract::source_stops::<Exec>("command = sleep 600", cx).await;
    contract::source_stops::<Exec>("command = yes", cx).await;
    contract::source_stops::<Exec>("command = true\nrestart = true", cx).await;
}

#[tokio::test]
async fn output_becomes_events() {
    async fn check(keys: &str, want: &[&str], sizes: &[usize]) {
        let collector = Collector::new();
        start(keys, &collector).await.ended().await.unwrap();
        assert_eq!(collector.bodies(), want, "{keys}");
        let batches: Vec<usize> = collector.batches().iter().map(Batch::len).collect();
        assert_eq!(batches, sizes, "{keys}");
        assert!(collector.events().iter().all(|event| event.headers.is_empty()));
    }
    let sh =
        |script: &str| format!("shell = /bin/sh -c\ncommand = {}", script.replace('\\', "\\\\"));
    check("command = echo  a 'b c' | d", &["a 'b c' | d"], &[1]).await;
    check(&sh("echo a | tr a b; printf 'x\\r\\ny\\rz'"), &["b", "x", "y", "z"], &[4]).await;
    check(&(sh("seq 5") + "\nbatchSize = 2"), &["1", "2", "3", "4", "5"], &[2, 2, 1]).await;
    check(&(sh("printf 'gr\\374n\\n'") + "\ncharset = ISO-8859-1"), &["grün"], &[1]).await;
    check(&sh("printf 'a\\377b\\n'"), &["a\u{fffd}b"], &[1]).await;
    check(&(sh("echo abcdefghij") + "\nmaxLineLength = 4"), &["abcd", "efgh", "ij"], &[1, 1, 1])
        .await;
    check(&sh("echo lost >&2; exit 3"), &[], &[]).await;
    // More than a pipe holds: it would block if nobody read standard error.
    check(&sh("head -c 300000 /dev/zero >&2; echo done"), &["done"], &[1]).await;
    check(&(sh("head -c 300000 /dev/zero >&2; echo done") + "\nlogStdErr = true"), &["done"], &[1])
        .await;
}

#[tokio::test]
async fn last_words_on_standard_error_are_logged() {
    let (lines, _listening) = Lines::from_level(tracing::Level::INFO);
    let keys = "shell = /bin/sh -c\nlogStdErr = true\ncommand = ";
    for n in 0..50 {
        let keys = format!("{keys}echo no such file {n}. >&2; exit 1");
        start(&keys, &Collector::new()).await.ended().await.unwrap();
        assert_eq!(lines.with(&format!("stderr: no such file {n}.")).len(), 1);
    }
    // Who goes on in the background and keeps it open is not waited for.
    let keys = format!("{keys}sleep 600 >/dev/null & echo $!");
    let collector = Collector::new();
    let began = Instant::now();
    start(&keys, &collector).await.ended().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
    let pid = collector.bodies()[0].parse().ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_partial_batch_goes_out_after_its_timeout() {
    let collector = Collector::new();
    let keys = "shell = /bin/sh -c\ncommand = echo a; exec sleep 600\nbatchTimeout = 20";
    let running = start(keys, &collector).await;
    assert_eq!(collector.wait_for(1).await.len(), 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn lines_at_hand_go_out_at_a_stop() {
    let collector = Collector::new();
    let keys = "shell = /bin/sh -c\ncommand = echo a; exec sleep 600\nbatchTimeout = 600000";
    let running = start(keys, &collector).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(collector.puts(), 0);
    running.stop().await.unwrap();
    assert_eq!(collector.bodies(), ["a"]);
}

#[tokio::test]
async fn a_refusing_channel_loses_nothing_and_kills_nothing() {
    let collector = Collector::new();
    collector.refuse(2);
    collector.fail_commits(1);
    let running = start("command = seq 1000\nbatchSize = 100", &collector).await;
    running.ended().await.unwrap();
    let want: Vec<String> = (1..=1000).map(|n| n.to_string()).collect();
    assert_eq!(collector.bodies(), want);
}

#[tokio::test]
async fn what_a_stop_leaves_behind_is_counted() {
    let collector = Collector::new();
    collector.refuse(1000);
    let keys = "shell = /bin/sh -c\ncommand = seq 25; exec sleep 600\nbatchSize = 10";
    let running = start(keys, &collector).await;
    while collector.puts() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let outlet = running.outlet.clone();
    running.stop().await.unwrap();
    assert_eq!(outlet.metrics().events_dropped.value(), 25);
}

#[tokio::test]
async fn restarts_after_the_throttle_if_asked_to() {
    let collector = Collector::new();
    let running = start("command = echo a\nrestart = true\nrestartThrottle = 5", &collector).await;
    assert!(collector.wait_for(3).await.len() >= 3);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_the_children_of_the_command_too() {
    for trap in ["", "trap '' TERM; "] {
        let collector = Collector::new();
        let keys = format!(
            "shell = /bin/sh -c\ncommand = {trap}sleep 600 & echo $!; wait; wait\nbatchSize = 1"
        );
        let running = start(&keys, &collector).await;
        collector.wait_for(1).await;
        let pid: u32 = collector.bodies()[0].parse().unwrap();
        assert!(alive(pid));
        running.stop().await.unwrap();
        for _ in 0..1000 {
            if !alive(pid) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!alive(pid), "{trap}");
    }
}

/// Whether a process runs: a zombie that nobody waited for does not.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[tokio::test]
async fn a_command_that_is_not_there_is_named() {
    let running = start("command = /nowhere/to/be/found", &Collector::new()).await;
    let error = running.ended().await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/to/be/found") && error.contains("check `command`"), "{error}");
}

#[test]
fn keys_are_checked() {
    let read = |keys: &str| Section::parse(keys).read::<Config>().into_result();
    for keys in ["", "command =", "command = a\nbatchSize = 0", "command = a\ncharset = Cp037"] {
        assert!(read(keys).is_err(), "{keys}");
    }
    let findings = |keys: &str| Exec::check(&read(keys).unwrap(), &Section::parse(keys)).len();
    assert_eq!(findings("command = tail -F /var/log/messages"), 0);
    assert_eq!(findings("command = tail -F /var/log/messages | grep x"), 1);
    assert_eq!(findings("command = tail -F x | grep x\nshell = /bin/sh -c"), 0);
}
