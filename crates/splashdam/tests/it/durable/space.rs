//! What runs out: a small file system that others fill up, a limit of the size of files, and file descriptors. Puts
//! wait and are refused, takes go on, and when there is room again so does everything else, with no hand on it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{Cut, Load, Process, Site, setting, until};

/// How soon after the trouble is over all must go on, however slow the machine.
const SOON: Duration = Duration::from_secs(20);

/// A mount of its own that ends with this process.
struct SmallDisk {
    holder: Child,
    /// How to start a process that sees it.
    enter: Vec<String>,
    /// The mounted directory as seen from here.
    seen: PathBuf,
}

impl SmallDisk {
    /// `None` where mounts are not allowed.
    fn mount(site: &Site, megabytes: u32) -> Option<SmallDisk> {
        let place = site.path("disk");
        fs::create_dir(&place).unwrap();
        let mount = format!(
            "mount -t tmpfs -o size={megabytes}m tmpfs {} && echo mounted && exec cat",
            place.display()
        );
        for (separate, enter) in [
            (["--mount"].as_slice(), ["-m"].as_slice()),
            (&["--map-root-user", "--mount"], &["-U", "--preserve-credentials", "-m"]),
        ] {
            let Ok(mut holder) = Command::new("unshare")
                .args(separate)
                .args(["sh", "-c", &mount])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
            else {
                continue;
            };
            let mut said = [0; 8];
            let mounted = holder.stdout.as_mut().unwrap().read_exact(&mut said).is_ok();
            if mounted {
                let id = holder.id().to_string();
                let words =
                    ["nsenter", "-t", &id].into_iter().chain(enter.iter().copied()).chain(["--"]);
                let enter = words.map(str::to_owned).collect();
                let seen = PathBuf::from(format!("/proc/{id}/root{}", place.display()));
                return Some(SmallDisk { holder, enter, seen });
            }
            drop(holder.kill());
            drop(holder.wait());
        }
        println!("skipped: no right to mount a small file system");
        None
    }

    fn start(&self, site: &Site) -> Process {
        let under: Vec<&str> = self.enter.iter().map(String::as_str).collect();
        let process = site.start_under(&under, &[]);
        process.netcat();
        process
    }

    /// Takes all room that is left; answers how many bytes that were.
    fn fill(&self) -> u64 {
        let mut file =
            File::options().create(true).append(true).open(self.seen.join("filler")).unwrap();
        let mut bytes = 0;
        for size in [1 << 20, 4096] {
            loop {
                match file.write(&vec![0x5a; size]) {
                    Ok(0) => break,
                    Ok(written) => bytes += written as u64,
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("filling the disk: {error}"),
                }
            }
        }
        bytes
    }

    fn make_room(&self) {
        fs::remove_file(self.seen.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

/// Waits until the disk is full, for as long as it takes while puts go on: it ends.
fn fills_up(process: &Process) {
    while !disk_full(process) {
        let before = put(process);
        until(
            || disk_full(process) || put(process) > before,
            || format!("puts or a full disk:\n{}", process.log()),
        );
    }
}

fn disk_full(process: &Process) -> bool {
    process.metric("splashdam_channel_file_disk_full") == 1
}

fn put(process: &Process) -> u64 {
    let (_, text) = process.ask("/metrics");
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    all["CHANNEL.c1"]["EventPutSuccessCount"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_disk_that_others_fill_up_holds_up_puts_only_and_loses_nothing() {
    let seconds = setting("SPLASHDAM_FULL_SECONDS", 4);
    let site = Site::new("$/disk/data", "");
    let Some(disk) = SmallDisk::mount(&site, 64) else { return };
    let mut process = disk.start(&site);
    let mut load = Load::new(4, 400);
    load.during(&process.netcat(), || {
        let queued = || process.metric("splashdam_channel_queued_events");
        until(|| queued() > 2000, || "events in the channel".into());
        disk.fill();
        fills_up(&process);
        // The sink is in trouble by design; neither that nor a full disk is a reason to start anew.
        let (status, body) = process.ask("/healthz");
        assert_eq!(status, 200, "{body}");
        let ready = || process.ask("/readyz").1;
        let words = ["not ready", "channel c1", "MiB free and needs"];
        until(|| words.iter().all(|word| ready().contains(word)), ready);
        assert_eq!(process.taken(), 0);
        // Longer than a put waits.
        sleep(Duration::from_millis(1500));
        disk.fill();
        assert!(disk_full(&process), "{}", process.log());
        site.drain();
        until(|| disk_full(&process) && process.taken() > 0, || "takes on a full disk".into());
        // What takes free is filled up again by others; what the channel keeps for itself is not.
        let (begun, held) = (Instant::now(), queued());
        while begun.elapsed() < Duration::from_secs(seconds) {
            disk.fill();
            sleep(Duration::from_millis(50));
        }
        assert!(process.taken() >= held, "{} taken, {held} were there", process.taken());
        disk.make_room();
        let (room, before) = (Instant::now(), put(&process));
        until(
            || !disk_full(&process) && put(&process) > before,
            || format!("puts after there is room:\n{}", process.log()),
        );
        assert!(room.elapsed() < SOON, "{:?} until puts went on", room.elapsed());
        process.running();
    });
    let log = process.drain_and_stop();
    for told in ["no room on the disk", "there is room on the disk again"] {
        assert!(log.contains(told), "{told:?} in {log}");
    }
    let found = load.check(&site.path("out"), Cut::default());
    assert!(load.refused() > 0, "nobody was refused: {found}");
    println!("full for {seconds} s: {found}");
}

#[test]
fn a_disk_that_the_channel_fills_up_itself_opens_and_drains() {
    let site = Site::new("$/disk/data", "");
    let Some(disk) = SmallDisk::mount(&site, 40) else { return };
    let process = disk.start(&site);
    let mut load = Load::new(4, 400);
    load.during(&process.netcat(), || {
        fills_up(&process);
        sleep(Duration::from_millis(300));
        // And now not a single byte is left.
        disk.fill();
        process.kill();
    });
    site.drain();
    disk.start(&site).drain_and_stop();
    println!("filled up and killed: {}", load.check(&site.path("out"), Cut::default()));
}

#[test]
fn a_limit_of_file_sizes_is_a_full_disk_and_not_the_end() {
    let site = Site::new("$/data", "");
    let mut load = Load::new(2, 0);
    let process = site.ready();
    load.during(&process.netcat(), || {
        let queued = || process.metric("splashdam_channel_queued_events");
        until(|| queued() > 1000, || "events in the channel".into());
    });
    process.kill();
    // Less than a segment.
    const LIMIT: u64 = (1 << 20) - 4096;
    let mut process = site.start_under(&["prlimit", &format!("--fsize={LIMIT}:unlimited")], &[]);
    load.during(&process.netcat(), || {
        fills_up(&process);
        assert_eq!(process.taken(), 0);
        site.drain();
        until(|| disk_full(&process) && process.taken() > 0, || "takes under the limit".into());
        let unlimited = Rlimit { current: None, maximum: None };
        prlimit(Some(Pid::from_child(&process.child)), Resource::Fsize, unlimited).unwrap();
        let (lifted, before) = (Instant::now(), put(&process));
        until(
            || !disk_full(&process) && put(&process) > before,
            || format!("puts after the limit is lifted:\n{}", process.log()),
        );
        assert!(lifted.elapsed() < SOON, "{:?} until puts went on", lifted.elapsed());
    });
    process.running();
    process.drain_and_stop();
    println!("limited: {}", load.check(&site.path("out"), Cut::default()));
}

#[test]
fn a_process_without_descriptors_loses_nothing_and_goes_on() {
    let site = Site::draining("$/data");
    let mut process = site.start_under(&["prlimit", "--nofile=64:64"], &[]);
    process.says("is running");
    let (mut load, address) = (Load::new(2, 400), process.netcat());
    load.during(&address, || {
        until(|| put(&process) > 1000, || "events".into());
        // Far more than there is room for; the kernel takes them, the source cannot.
        let crowd: Vec<_> = (0..100).map(|_| TcpStream::connect(&address).unwrap()).collect();
        process.says("cannot accept a connection");
        // A segment is full and the next cannot begin.
        process.says("no room on the disk");
        process.running();
        drop(crowd);
        let (gone, before) = (Instant::now(), put(&process));
        until(|| put(&process) > before, || format!("puts:\n{}", process.log()));
        assert!(gone.elapsed() < SOON, "{:?} until puts went on", gone.elapsed());
    });
    let log = process.drain_and_stop();
    assert!(log.contains("no room on the disk"), "{log}");
    println!("without descriptors: {}", load.check(&site.path("out"), Cut::default()));
}
