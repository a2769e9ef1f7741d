use super::*;

fn key(role: Role) -> (Role, Arc<str>) {
    (role, "x".into())
}

fn channel(held: usize, capacity: usize, taken: u64) -> Reading {
    let (held, capacity) = (Size { events: held, bytes: 0 }, Size { events: capacity, bytes: 0 });
    Reading::Channel { held, capacity, taken, put: 0, refused: 0, hindrance: None }
}

/// A channel with room for some events, of which so many were taken and put.
fn asked(taken: u64, put: u64, refused: u64) -> Reading {
    let (held, capacity) = (Size { events: 9, bytes: 0 }, Size { events: 10, bytes: 0 });
    Reading::Channel { held, capacity, taken, put, refused, hindrance: None }
}

fn observe(health: &mut Health, now: Instant, readings: &[Reading]) -> Verdict {
    let role = |reading: &Reading| match reading {
        Reading::Channel { .. } => Role::Channel,
        Reading::Sink { .. } => Role::Sink,
    };
    let readings: Vec<_> = readings.iter().map(|one| (key(role(one)), one.clone())).collect();
    let states: Vec<_> =
        readings.iter().map(|(key, _)| (key.clone(), status(Phase::Running, None))).collect();
    health.observe(now, &readings, &states, false)
}

fn status(phase: Phase, trouble: Option<&str>) -> Status {
    let (since, trouble) = (Instant::now(), trouble.map(Arc::from));
    Status { phase, since, trouble, again: None, covered: false, need: Need::Required }
}

fn reasons(of: &[Problem]) -> Vec<&str> {
    of.iter().map(|one| one.reason.as_str()).collect()
}

/// The seconds at which a series of readings is judged stuck.
fn stuck_at(series: impl Fn(u64) -> Reading) -> Vec<u64> {
    let start = Instant::now();
    let mut health = Health::default();
    let ill = (0..200).step_by(5).filter(|s| {
        let verdict = observe(&mut health, start + Duration::from_secs(*s), &[series(*s)]);
        assert!(verdict.dead.is_empty(), "a new start would not help");
        !verdict.stuck.is_empty()
    });
    ill.collect()
}

#[test]
fn a_channel_must_move_while_it_holds_events() {
    let check = |want: &[u64], series: fn(u64) -> Reading| {
        let got = stuck_at(series);
        assert_eq!((got.first(), got.last()), (want.first(), want.last()), "{got:?}");
    };
    check(&[], |_| channel(0, 9, 0));
    check(&[], |s| channel(9, 9, s / 20));
    check(&[60, 195], |_| channel(1, 9, 3));
    check(&[30, 195], |_| channel(9, 9, 3));
    check(&[60, 195], |_| channel(9, 0, 3));
    // Long idle, then an event that is taken in time.
    check(&[], |s| channel(usize::from(s > 150 && s < 170), 9, u64::from(s >= 170)));
    check(&[60, 95], |s| channel(5, 9, if s < 100 { 0 } else { s }));
}

#[test]
fn a_sink_must_deliver_while_it_tries() {
    let check = |want: &[u64], series: fn(u64) -> Reading| {
        let got = stuck_at(series);
        assert_eq!((got.first(), got.last()), (want.first(), want.last()), "{got:?}");
    };
    check(&[], |_| Reading::Sink { tried: 7, delivered: 0 });
    check(&[], |s| Reading::Sink { tried: s, delivered: s });
    check(&[60, 195], |s| Reading::Sink { tried: s, delivered: 0 });
    // It failed and another took over: no longer its affair.
    check(&[60, 110], |s| Reading::Sink { tried: s.min(80), delivered: 0 });
    check(&[60, 95], |s| Reading::Sink { tried: s, delivered: if s < 100 { 0 } else { s } });
}

#[test]
fn what_takes_nothing_in_is_not_ready_and_lives() {
    let check = |after: u64, reading: Reading, want: Option<&str>| {
        let (start, mut health) = (Instant::now(), Health::default());
        observe(&mut health, start, std::slice::from_ref(&reading));
        let verdict = observe(&mut health, start + Duration::from_secs(after), &[reading]);
        let want: Vec<_> = want.into_iter().collect();
        assert_eq!(reasons(&verdict.unready), want, "{verdict:?}");
        assert_eq!(verdict.dead, []);
    };
    let full = Some("it is full and nothing was taken for 31 s".to_owned());
    check(31, channel(9, 9, 0), full.as_deref());
    check(5, channel(9, 9, 0), None);
    // It holds events that nobody takes, and has room for more.
    check(90, channel(8, 9, 0), None);
    let disk = "its disk is full: /data has 3.0 MiB free and needs 564.0 MiB";
    let hindrance = Some(disk.to_owned());
    let Reading::Channel { held, capacity, .. } = channel(1, 9, 0) else { return };
    let hindered = Reading::Channel { held, capacity, taken: 0, put: 0, refused: 0, hindrance };
    check(0, hindered, Some(disk));
    // Few events, and as many bytes as it holds.
    let (held, capacity) = (Size { events: 2, bytes: 70 }, Size { events: 9, bytes: 64 });
    let full_of_bytes =
        Reading::Channel { held, capacity, taken: 0, put: 0, refused: 0, hindrance: None };
    check(31, full_of_bytes.clone(), full.as_deref());
    check(5, full_of_bytes, None);
}

/// The seconds at which a series of readings, each five seconds after the other, is not ready.
fn unready_at(series: impl Fn(u64) -> Reading) -> (Option<u64>, Option<u64>) {
    let (start, mut health) = (Instant::now(), Health::default());
    let ill = (0..300).step_by(5).filter(|s| {
        let verdict = observe(&mut health, start + Duration::from_secs(*s), &[series(*s)]);
        let refuses = verdict.unready.iter().any(|one| one.reason.contains("has refused"));
        assert_eq!(refuses, !verdict.unready.is_empty(), "{verdict:?}");
        assert!(verdict.stuck.len() >= verdict.unready.len(), "{verdict:?}");
        refuses
    });
    let ill: Vec<_> = ill.collect();
    (ill.first().copied(), ill.last().copied())
}

#[test]
fn a_channel_that_refuses_whatever_is_put_is_not_ready() {
    const NEVER: (Option<u64>, Option<u64>) = (None, None);
    // Room for less than is put, whether anything is taken or not.
    assert_eq!(unready_at(|s| asked(0, 9, s)), (Some(35), Some(295)));
    assert_eq!(unready_at(|s| asked(s, 9, s)), (Some(35), Some(295)));
    // Some batches get in.
    assert_eq!(unready_at(|s| asked(0, s / 20, s)), NEVER);
    // Refused once, and not asked again.
    assert_eq!(unready_at(|s| asked(0, 9, u64::from(s > 5))), NEVER);
    // Senders keep away, as a load balancer has them do: it is as it was.
    assert_eq!(unready_at(|s| asked(0, 9, s.min(60))), (Some(35), Some(295)));
    // Until something is taken: then they may try again.
    let taken_at = |s: u64| asked(s.max(200), 9, s.min(60));
    assert_eq!(unready_at(taken_at), (Some(35), Some(200)));
    // Until something is put.
    let put_at = |s: u64| asked(0, 9 + u64::from(s >= 200), s.min(195));
    assert_eq!(unready_at(put_at), (Some(35), Some(195)));
    // Until it may hold more.
    let grown_at = |s: u64| match asked(0, 9, s.min(195)) {
        Reading::Channel { held, taken, put, refused, hindrance, .. } if s >= 200 => {
            let capacity = Size { events: 20, bytes: 0 };
            Reading::Channel { held, capacity, taken, put, refused, hindrance }
        }
        before => before,
    };
    assert_eq!(unready_at(grown_at), (Some(35), Some(195)));
}

/// Senders that a load balancer keeps away while it is not ready put nothing that would show it to be.
#[test]
fn who_refused_for_a_full_disk_is_ready_as_soon_as_there_is_room() {
    let (start, mut health) = (Instant::now(), Health::default());
    let series = |s: u64| match asked(0, 9, s.min(60)) {
        Reading::Channel { held, capacity, taken, put, refused, .. } => {
            let hindrance = (s <= 100).then(|| "its disk is full".to_owned());
            Reading::Channel { held, capacity, taken, put, refused, hindrance }
        }
        sink @ Reading::Sink { .. } => sink,
    };
    for s in (0..200).step_by(5) {
        let verdict = observe(&mut health, start + Duration::from_secs(s), &[series(s)]);
        let want: &[&str] = if s <= 100 { &["its disk is full"] } else { &[] };
        assert_eq!(reasons(&verdict.unready), want, "{s}");
    }
}

#[test]
fn only_channels_that_sources_have_to_put_into_make_it_unready() {
    let disk = "its disk is full";
    let hindrance = || Some(disk.to_owned());
    let full = |hindrance| Reading::Channel {
        held: Size { events: 9, bytes: 0 },
        capacity: Size { events: 9, bytes: 0 },
        taken: 0,
        put: 0,
        refused: 0,
        hindrance,
    };
    let check = |need, waits: Option<bool>| {
        let at = |phase, trouble| Status { need, ..status(phase, trouble) };
        let running = [(key(Role::Channel), at(Phase::Running, None))];
        for hindrance in [hindrance(), None] {
            let (start, mut health) = (Instant::now(), Health::default());
            let readings = [(key(Role::Channel), full(hindrance))];
            health.observe(start, &readings, &running, false);
            let later = start + FULL_AFTER;
            let verdict = health.observe(later, &readings, &running, false);
            assert_eq!(verdict.unready.is_empty(), need != Need::Required, "{verdict:?}");
            assert!(!verdict.stuck.is_empty(), "{verdict:?}");
        }
        let waiting = [(key(Role::Channel), at(Phase::Waiting, Some("in use")))];
        let verdict = Health::default().observe(Instant::now(), &[], &waiting, false);
        assert_eq!(Some(!verdict.unready.is_empty()), waits, "{need:?}");
        assert!(!verdict.stuck.is_empty(), "{verdict:?}");
        let opening = [(key(Role::Channel), at(Phase::Opening, None))];
        let verdict = Health::default().observe(Instant::now(), &[], &opening, false);
        assert_eq!(Some(!verdict.unready.is_empty()), waits, "{need:?}");
    };
    check(Need::Required, Some(true));
    // Its source waits for it to open.
    check(Need::Optional, Some(true));
    check(Need::Nothing, Some(false));
}

#[test]
fn an_agent_that_stops_or_runs_nothing_is_not_ready() {
    let check =
        |states: &[((Role, Arc<str>), Status)], stopping, unready: &[&str], stuck: &[&str]| {
            let verdict = Health::default().observe(Instant::now(), &[], states, stopping);
            assert_eq!(reasons(&verdict.unready), unready, "{stopping}");
            assert_eq!(reasons(&verdict.stuck), stuck, "{stopping}");
            assert_eq!(verdict.dead, []);
        };
    let running = [(key(Role::Source), status(Phase::Running, None))];
    check(&running, false, &[], &[]);
    check(&running, true, &["it is stopping"], &[]);
    // Towards its end nobody is left.
    check(&[], true, &["it is stopping"], &[]);
    check(&[], false, &[NOTHING], &[NOTHING]);
}

#[test]
fn what_is_opened_again_says_so_and_is_not_stuck_while_that_takes_long() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let waiting = Status {
        since: start,
        again: Some(at(5)),
        ..status(Phase::Waiting, Some("in use by another agent"))
    };
    let states = [(key(Role::Channel), waiting)];
    let look = |seconds| Health::default().observe(at(seconds), &[], &states, false);
    let reason = ["waiting for 7 s, opening again for 2 s after: in use by another agent"];
    let soon = look(7);
    assert_eq!((reasons(&soon.unready), reasons(&soon.stuck)), (reason.into(), reason.into()));
    let late = look(3605);
    let reason = "waiting for 3605 s, opening again for 3600 s after: in use by another agent";
    assert_eq!((reasons(&late.unready), late.stuck), (vec![reason], vec![]));
}

#[test]
fn phases_decide() {
    let now = Instant::now();
    let check = |role, phase, trouble: Option<&str>, want: [bool; 3]| {
        let status = Status { since: now, ..status(phase, trouble) };
        let verdict = Health::default().observe(now, &[], &[(key(role), status)], false);
        let Verdict { dead, unready, stuck } = verdict;
        let got = [&dead, &unready, &stuck].map(|problems| !problems.is_empty());
        assert_eq!(got, want, "{role:?} {phase:?}");
        stuck
    };
    const WELL: [bool; 3] = [false; 3];
    const UNREADY: [bool; 3] = [false, true, false];
    const STUCK: [bool; 3] = [false, false, true];
    const BOTH: [bool; 3] = [false, true, true];
    for role in [Role::Source, Role::Channel, Role::Sink] {
        check(role, Phase::Running, None, WELL);
        check(role, Phase::Running, Some("slow"), WELL);
        check(role, Phase::Closed, None, WELL);
        check(role, Phase::Opening, None, UNREADY);
        check(role, Phase::Draining, None, UNREADY);
        check(role, Phase::Draining, Some("connection refused"), BOTH);
        // A next hop that is down neither kills the agent nor keeps events from coming in.
        let waits = if role == Role::Sink { STUCK } else { BOTH };
        check(role, Phase::Closed, Some("no such directory"), waits);
        check(role, Phase::Waiting, Some("connection refused"), waits);
        check(role, Phase::Dead, Some("panicked"), [true, false, true]);
    }
    let stuck = check(Role::Sink, Phase::Waiting, Some("connection refused"), STUCK);
    assert_eq!(stuck[0].component, "sink x");
    assert_eq!(stuck[0].reason, "waiting for 0 s: connection refused");
}
