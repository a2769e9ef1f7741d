use super::*;

/// A line as a shell would split it, blanks only, and what it is understood as.
fn parsed(line: &str) -> Command {
    let words = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from);
    let surroundings =
        Surroundings { flume_java_opts: Some("-Xmx1g -Dfrom.env=1 -Dboth=env".to_owned()) };
    parse(words, &surroundings)
}

fn agent_of(line: &str) -> AgentArgs {
    match parsed(line) {
        Command::Agent(args) => *args,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn agent_takes_what_flume_takes() {
    for line in [
        "splashdam agent -n a1 -f x.conf",
        "splashdam agent --name a1 --conf-file x.conf",
        "splashdam agent --name=a1 --conf-file=x.conf",
        "splashdam agent -name a1 -conf-file x.conf",
        "splashdam agent -f x.conf -Xmx1g -n a1 -c conf",
        "splashdam node -n a1 -f x.conf",
        "flume-ng agent -n a1 -f x.conf",
        "flume-ng --conf conf agent -n a1 -f x.conf",
        "flume-ng -c agent -Xmx1g -Da=b -C a:b --plugins-path p agent -n a1 -f x.conf",
        "/opt/flume/bin/flume-ng agent -n a1 -c conf -f x.conf --plugins-path p -C a:b",
        "flume-ng node --conf conf -n a1 -f x.conf -javaagent:x.jar -J-Xss1m",
    ] {
        let args = agent_of(line);
        assert_eq!(args.origin.name, "a1", "{line}");
        assert_eq!(args.origin.files, [PathBuf::from("x.conf")], "{line}");
        assert!(args.reload, "{line}");
        assert_eq!(args.grace, Duration::from_secs(10), "{line}");
        assert_eq!(args.poll_interval, None, "{line}");
    }
}

#[test]
fn every_option_of_flumes_agent_is_understood() {
    let args = agent_of(
        "splashdam agent -n a1 -f a -f b -u http://x/c -u file:///d -c conf -prov a.B -user me \
         -pwd -Dnot=this -a c.D -b backup -i 5 --no-reload-conf -p /zk --grace-time 7 \
         --log-format json -Dk=v -D l=w -Dempty",
    );
    let origin = &args.origin;
    assert_eq!(origin.files.len(), 2);
    assert_eq!(origin.uris, ["http://x/c", "file:///d"]);
    assert_eq!(origin.conf_dir, Some("conf".into()));
    assert_eq!(origin.backup, Some("backup".into()));
    assert_eq!(origin.user.as_deref(), Some("me"));
    assert_eq!(origin.password, Some(Secret("-Dnot=this".into())));
    assert!(!format!("{args:?}").contains("-Dnot"), "the password is not shown");
    assert_eq!(args.poll_interval, Some(Duration::from_secs(5)));
    assert_eq!(args.grace, Duration::from_secs(7));
    assert!(!args.reload);
    let properties: Vec<_> = origin.properties.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(properties, ["empty=", "flume.log.format=json", "k=v", "l=w"]);
    assert_eq!(origin.notes.len(), 3, "{:?}", origin.notes);
    assert_eq!(origin.settings(0, true).password.as_deref(), Some("-Dnot=this"));
}

#[test]
fn zookeeper_is_named_as_in_flume() {
    let check = |line: &str, follows: bool, base: Option<&str>, notes: usize| {
        let args = agent_of(line);
        let zookeeper = args.origin.settings(1025, args.reload).zookeeper.unwrap();
        assert_eq!(zookeeper.connect, "zk1:1,zk2/c", "{line}");
        assert_eq!(zookeeper.base_path.as_deref(), base, "{line}");
        assert_eq!((zookeeper.follow, zookeeper.first), (follows, 1), "{line}");
        assert_eq!(args.origin.notes.len(), notes, "{line}: {:?}", args.origin.notes);
    };
    check("splashdam agent -n a1 -z zk1:1,zk2/c", true, None, 0);
    check("splashdam agent -n a1 --zkConnString zk1:1,zk2/c -p /x", true, Some("/x"), 0);
    check("splashdam agent -n a1 -zkConnString zk1:1,zk2/c --zkBasePath /x", true, Some("/x"), 0);
    check("splashdam agent -n a1 -z zk1:1,zk2/c --no-reload-conf -i 5", false, None, 1);
    check("flume-ng agent -n a1 -c conf -z zk1:1,zk2/c -p /x", true, Some("/x"), 1);
    assert_eq!(agent_of("splashdam agent -n a1 -f x -p /x").origin.notes.len(), 1);
}

#[test]
fn what_means_nothing_here_is_said_once() {
    for (line, notes) in [
        ("splashdam agent -n a1 -f x", 0),
        ("splashdam agent -n a1 -f x -Xmx1g -agentlib:x -C cp", 3),
        // `FLUME_JAVA_OPTS` is the script's, and has one such option.
        ("flume-ng agent -n a1 -f x", 1),
        ("flume-ng node -n a1 -f x", 2),
    ] {
        let notes_given = agent_of(line).origin.notes;
        assert_eq!(notes_given.len(), notes, "{line}: {notes_given:?}");
    }
    for property in LEFT_ASIDE.iter().map(|(property, _)| property) {
        let notes = agent_of(&format!("splashdam agent -n a1 -f x -D{property}=true")).origin.notes;
        assert!(matches!(&notes[..], [one] if one.contains(property)), "{notes:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("flume.opts"), "name=a2\n").unwrap();
    let line = format!("splashdam agent -n a1 -f x -c {}", dir.path().display());
    let origin = agent_of(&line).origin;
    assert!(origin.name == "a1" && origin.notes[0].contains("flume.opts is not read"));
    let properties = agent_of("flume-ng agent -n a1 -f x -Dboth=line").origin.properties;
    assert_eq!(properties["from.env"], "1");
    assert_eq!(properties["both"], "line");
}

#[test]
fn what_cannot_be_done_is_refused_with_a_status() {
    for (line, status, says) in [
        ("splashdam", USAGE, "Usage"),
        ("splashdam agent -f x", USAGE, "--name"),
        ("splashdam agent -n a1", USAGE, "no configuration is named"),
        ("splashdam agent -n a1 -prov a.B", USAGE, "no configuration is named"),
        ("splashdam check -z zk:2181", USAGE, "--zkConnString needs --name"),
        ("splashdam agent -n a1 -z zk -Dzookeeper.client.secure=true", USAGE, "without TLS"),
        ("splashdam agent -n a1 -f x -i soon", USAGE, "soon"),
        ("splashdam agent -n a1 -f x --wrong", USAGE, "--wrong"),
        ("splashdam agent -n a1 -f x -D", USAGE, "-D"),
        ("splashdam check", USAGE, "no configuration is named"),
        ("splashdam graph -f x --format png", USAGE, "png"),
        ("splashdam tool FCINTEGRITYTOOL", FAILED, "--dataDirs"),
        ("splashdam tool FCINTEGRITYTOOL -l d -e a.B$Builder", FAILED, "a.B$Builder"),
        ("splashdam tool sharpen -l d", FAILED, "sharpen"),
        ("splashdam log", USAGE, "Usage"),
        ("splashdam log verify", USAGE, "--data-dirs"),
        ("splashdam log verify -f x -n a1 --data-dirs d", USAGE, "--data-dirs"),
        ("splashdam log inspect --data-dirs d --format xml", USAGE, "xml"),
        ("splashdam log export --data-dirs d --format flume", USAGE, "--to-data-dirs"),
        ("splashdam log import --data-dirs d", USAGE, "--channel"),
        (
            "splashdam log accept-loss --data-dirs d --missing-segments",
            USAGE,
            "--i-accept-the-loss",
        ),
        (
            "splashdam log accept-loss --data-dirs d --i-accept-the-loss",
            USAGE,
            "--missing-segments",
        ),
        ("flume-ng", FAILED, "no command"),
        ("flume-ng -c conf", FAILED, "no command"),
        ("flume-ng -c conf start", FAILED, "unknown or unspecified command 'start'"),
        ("flume-ng password", FAILED, "unknown or unspecified command 'password'"),
        ("flume-ng tool fcintegritytool", FAILED, "--dataDirs"),
    ] {
        match parsed(line) {
            Command::Refuse(text, got) => {
                assert_eq!(got, status, "{line}: {text}");
                assert!(text.contains(says), "{line}: {text}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn what_is_asked_for_is_printed() {
    for (line, says) in [
        ("splashdam --help", "completions"),
        ("splashdam help agent", "--no-reload-conf"),
        ("splashdam agent --help", "--poll-interval"),
        ("splashdam version", "splashdam "),
        ("splashdam --version", "which speaks Apache Flume"),
        ("splashdam -V", "which speaks Apache Flume"),
        ("flume-ng --version", "Flume 1.11.0\nsplashdam "),
        ("flume-ng -c conf version", "Flume 1.11.0\nsplashdam "),
        ("flume-ng -d -c conf agent -n a1 -f x", "splashdam agent -c conf -n a1 -f x -D"),
        ("splashdam completions bash", "complete"),
        ("splashdam completions fish", "complete"),
        ("splashdam man", ".TH splashdam"),
        ("flume-ng help", "flume-ng <command>"),
        ("flume-ng version", "Flume 1.11.0\nsplashdam "),
        (
            "flume-ng agent -d -n a1 -f it's.conf -Dx=y",
            "splashdam agent -n a1 -f 'it'\\''s.conf' -Dboth=env -Dfrom.env=1 -Dx=y\n",
        ),
    ] {
        match parsed(line) {
            Command::Print(text) => assert!(text.contains(says), "{line}: {text}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn check_and_graph_need_no_name() {
    match parsed("splashdam check -f x --format json --strict -Da=b") {
        Command::Check(args) => {
            assert_eq!(args.format, ReportFormat::Json);
            assert!(args.strict && !args.online && args.origin.name.is_empty());
            assert_eq!(args.origin.properties["a"], "b");
        }
        other => panic!("{other:?}"),
    }
    match parsed("splashdam graph -n a1 -u file:x --format mermaid") {
        Command::Graph(args) => assert_eq!(args.format, Drawing::Mermaid),
        other => panic!("{other:?}"),
    }
    assert!(matches!(parsed("splashdam man pages"), Command::Man(dir) if dir == *"pages"));
}

#[test]
fn avro_client_takes_what_flume_takes() {
    use avro_client::{Input, Target};
    let check = |line: &str, target: Target, input: Input, headers: Option<&str>| {
        let Command::AvroClient(args) = parsed(line) else { panic!("{line}") };
        assert_eq!((args.target, args.input), (target, input), "{line}");
        assert_eq!(args.headers, headers.map(PathBuf::from), "{line}");
    };
    let to = |port| Target::Address("h".into(), port);
    check("splashdam avro-client -H h -p 1", to(1), Input::Standard, None);
    check("splashdam avro-client --host h --port 2 -F f", to(2), Input::File("f".into()), None);
    check(
        "flume-ng avro-client --conf c -host h -port 3 --dirname d -R r",
        to(3),
        Input::Directory("d".into()),
        Some("r"),
    );
    check(
        "flume-ng avro-client -P p --headerFile r",
        Target::Properties("p".into()),
        Input::Standard,
        Some("r"),
    );
    for (line, says) in [
        ("splashdam avro-client", "either --rpcProps or both"),
        ("splashdam avro-client -H h", "either --rpcProps or both"),
        ("splashdam avro-client -P p -H h", "leave --host"),
        ("splashdam avro-client -H h -p 1 -F f --dirname d", "not both"),
        ("splashdam avro-client -H h -p 70000", "70000"),
    ] {
        let Command::Refuse(text, USAGE) = parsed(line) else { panic!("{line}") };
        assert!(text.contains(says), "{line}: {text}");
    }
    assert!(matches!(parsed("splashdam avro-client -h"), Command::Print(_)));
}
