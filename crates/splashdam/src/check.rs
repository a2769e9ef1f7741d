//! `splashdam check`: what is wrong with a configuration, and what a good one promises.

mod online;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use serde_json::json;
use splashdam_agent::account::{Account, Clause, Flow, Memory, Station, account};
use splashdam_agent::provider::{Loaded, Provider, ProviderError};
use splashdam_agent::{Checked, Read, Reader};
use splashdam_config::diagnostic::escaped;
use splashdam_config::plan::some_of;
use splashdam_config::{Diagnostic, Severity, Sources, diagnostic};
use splashdam_core::World;

use crate::cli::{CheckArgs, FAILED, Origin, ReportFormat};
use crate::render::{self, Look};
use crate::world::Machine;

/// A configuration, read as the agent would read it.
pub(crate) struct Reading {
    /// The agent's name.
    pub(crate) agent: String,
    /// The texts.
    pub(crate) sources: Sources,
    /// The agent, if there is one to run.
    pub(crate) checked: Option<Checked>,
    /// Everything noticed.
    pub(crate) findings: Vec<Diagnostic>,
}

/// Runs `splashdam check`: prints to standard output, answers the exit status.
pub(crate) fn run(args: &CheckArgs) -> io::Result<u8> {
    let mut reading = read(&args.origin);
    if let Some(checked) = reading.checked.as_ref().filter(|_| args.online) {
        reading.findings.extend(online::findings(checked, &args.origin)?);
    }
    let report = Report::new(reading);
    let out = io::stdout();
    let look = Look { colours: has_colours(&out), width: width() };
    let text = match args.format {
        ReportFormat::Text => report.text(&args.origin.notes, look),
        ReportFormat::Json => report.json(),
    };
    out.lock().write_all(text.as_bytes())?;
    let fails =
        report.count(Severity::Error) > 0 || (args.strict && report.count(Severity::Warning) > 0);
    Ok(if fails { FAILED } else { 0 })
}

/// Reads a configuration; what goes wrong is a finding like any other.
pub(crate) fn read(origin: &Origin) -> Reading {
    match load(origin) {
        Ok(loaded) => understand(origin, loaded),
        Err(why) => Reading {
            agent: origin.name.clone(),
            sources: Sources::new(),
            checked: None,
            findings: vec![Diagnostic::error("unreadable", why)],
        },
    }
}

fn understand(origin: &Origin, loaded: Loaded) -> Reading {
    let Loaded { sources, warnings } = loaded;
    let finding = |warning| {
        let of = if sources.is_empty() { Diagnostic::error } else { Diagnostic::warning };
        of("origin", warning)
    };
    let mut findings: Vec<Diagnostic> = warnings.into_iter().map(finding).collect();
    let machine = Arc::new(Machine::new(origin.properties.clone()));
    let mut reader = Reader {
        agent: Arc::from(origin.name.as_str()),
        lists: &splashdam_components::LISTS,
        lookups: machine.clone(),
        world: machine,
    };
    let mut read = reader.read(&sources);
    if origin.name.is_empty()
        && let Some(only) = only_agent(&read.agents)
    {
        reader.agent = Arc::from(only);
        read = reader.read(&sources);
    }
    let agent = reader.agent.to_string();
    if agent.is_empty() {
        if read.fatal {
            findings.append(&mut read.findings);
        } else {
            findings.push(unnamed(&read));
        }
        return Reading { agent, sources, checked: None, findings };
    }
    findings.append(&mut read.findings);
    Reading { agent, sources, checked: read.checked, findings }
}

/// The one that a configuration is for. A byte order mark makes another name of the first key's, and
/// is warned of where it stands.
fn only_agent(agents: &[String]) -> Option<&str> {
    let unmarked = |agent: &&String| !agent.starts_with(['\u{feff}', '\u{ef}']);
    let mut named = agents.iter().filter(unmarked).chain(agents.iter().filter(|a| !unmarked(a)));
    let first = named.next()?;
    named.all(|other| !unmarked(&other)).then_some(first)
}

fn load(origin: &Origin) -> Result<Loaded, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start reading: {error}"))?;
    let seed = Machine::new(origin.properties.clone()).seed();
    let load = async { Provider::new(&origin.settings(seed, false))?.load().await };
    runtime.block_on(load).map_err(|error: ProviderError| error.to_string())
}

fn unnamed(read: &Read) -> Diagnostic {
    if read.agents.is_empty() {
        return Diagnostic::error("unknown-agent", "the configuration names no agent")
            .help("keys look like `a1.sources = r1`, where a1 is the agent");
    }
    Diagnostic::error("unknown-agent", "the configuration names several agents")
        .help(format!("say which with --name: {}", some_of(&read.agents)))
}

/// What is to be told.
pub(crate) struct Report {
    reading: Reading,
    /// Of an agent without errors.
    account: Option<Account>,
}

impl Report {
    pub(crate) fn new(mut reading: Reading) -> Report {
        let failed = reading.findings.iter().any(Diagnostic::is_error);
        let mut account = reading.checked.as_ref().map(account);
        if let Some(account) = &mut account {
            // Where something is left out, what it leaves alone is no news.
            let news = |finding: &Diagnostic| {
                finding.severity > Severity::Note
                    && !matches!(finding.code, "no-sink" | "no-source")
            };
            account.findings.retain(|finding| !failed || news(finding));
            reading.findings.append(&mut account.findings);
        }
        // What has no place comes last; the sort keeps the order of what stands at one place.
        let place = |f: &Diagnostic| (f.span.is_none(), f.span.map(|span| (span.file, span.start)));
        reading.findings.sort_by_key(place);
        let sound = !reading.findings.iter().any(Diagnostic::is_error);
        Report { reading, account: account.filter(|_| sound) }
    }

    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.reading.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// For people.
    pub(crate) fn text(&self, notes: &[String], look: Look) -> String {
        let mut text = String::new();
        for note in notes {
            text = text + "note: " + &escaped(note, false) + "\n";
        }
        for finding in &self.reading.findings {
            text += &render::finding(finding, &self.reading.sources, look);
            text.push('\n');
        }
        if let Some(account) = &self.account {
            text += &escaped(&accounted(account), true);
            text.push('\n');
        }
        text + &escaped(&self.summary(), false) + "\n"
    }

    fn summary(&self) -> String {
        let counted = |severity: Severity| {
            let count = self.count(severity);
            let word = severity.name();
            let plural = if count == 1 { "" } else { "s" };
            (count > 0).then(|| format!("{count} {word}{plural}"))
        };
        let counts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
            .into_iter()
            .filter_map(counted)
            .collect();
        let counts =
            if counts.is_empty() { "nothing to remark".to_owned() } else { counts.join(", ") };
        let agent = match self.reading.agent.as_str() {
            "" => "the configuration".to_owned(),
            agent => format!("agent {agent}"),
        };
        let verdict = match (&self.reading.checked, self.count(Severity::Error)) {
            (Some(_), 0) => "can run",
            (Some(_), _) => "has errors",
            (None, _) => "does not run",
        };
        format!("{agent} {verdict}: {counts}")
    }

    /// For machines; `docs/check.md` says what is in it.
    pub(crate) fn json(&self) -> String {
        let reading = &self.reading;
        let files: Vec<&str> = reading.sources.iter().map(|(_, source)| &*source.name).collect();
        let value = json!({
            "agent": reading.agent,
            "ok": self.count(Severity::Error) == 0,
            "runs": reading.checked.is_some(),
            "files": files,
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "notes": self.count(Severity::Note),
            "findings": json!(diagnostic::report(&reading.findings, &reading.sources)),
            "account": self.account,
        });
        let mut text = String::new();
        for c in format!("{value:#}\n").chars() {
            // JSON lets these stand in strings, the only place where they can be; terminals act.
            match c {
                '\u{7f}'..='\u{9f}' => text += &format!("\\u{:04x}", u32::from(c)),
                _ => text.push(c),
            }
        }
        text
    }
}

/// The account as text.
fn accounted(account: &Account) -> String {
    let mut text = String::new();
    for flow in &account.flows {
        text += &flowing(flow);
        text.push('\n');
    }
    text + &remembering(&account.memory)
}

fn flowing(flow: &Flow) -> String {
    let named = |station: &Station| format!("{} ({})", station.name, station.short_kind());
    let all = |stations: &[Station]| stations.iter().map(named).collect::<Vec<_>>().join(", ");
    let mut way = vec![match (&flow.source, &flow.rejected_by[..]) {
        (Some(source), []) => named(source),
        (Some(source), by) => format!("{}, and what {} rejects", named(source), all(by)),
        (None, []) => "(nothing)".to_owned(),
        (None, by) => format!("what {} rejects", all(by)),
    }];
    if !flow.through.is_empty() {
        way.push(all(&flow.through));
    }
    let optional = if flow.optional { ", optional" } else { "" };
    way.push(named(&flow.channel) + optional);
    way.push(match (&flow.group, &flow.sinks[..]) {
        (_, []) => "(nothing)".to_owned(),
        (Some(group), sinks) => format!("{}: {}", named(group), all(sinks)),
        (None, sinks) => all(sinks),
    });
    let mut text = way.join(" → ") + "\n";
    let mut line = |what: &str, says: &str| {
        // Writing to a string does not fail.
        let _written = writeln!(text, "  {what:<14} {says}");
    };
    line("delivers", flow.promise.sentence());
    if let Some(acknowledged) = &flow.acknowledged {
        line("acknowledged", acknowledged);
    } else if flow.source.is_some() {
        line("acknowledged", "never: the source has nobody to tell");
    }
    let both = |clause: &&Clause| {
        flow.process_crash.contains(clause) && flow.machine_crash.contains(clause)
    };
    let mut crash = |what: &str, clauses: Vec<&Clause>| {
        let mut what = what;
        for clause in clauses {
            line(what, &format!("{}: {}", clause.at, clause.says));
            what = "";
        }
    };
    crash("a bad event", flow.rejects.iter().collect());
    crash("any crash", flow.process_crash.iter().filter(both).collect());
    crash("process crash", flow.process_crash.iter().filter(|clause| !both(clause)).collect());
    crash("machine crash", flow.machine_crash.iter().filter(|clause| !both(clause)).collect());
    text
}

fn remembering(memory: &Memory) -> String {
    let mut parts: Vec<String> =
        memory.shares.iter().map(|share| format!("{} {}", share.of, bytes(share.bytes))).collect();
    parts
        .extend(memory.unknown_channels.iter().map(|name| format!("channel {name} without limit")));
    if parts.is_empty() {
        return String::new();
    }
    let most = if memory.unknown_channels.is_empty() { "at most" } else { "at least" };
    format!("memory for events: {most} {} ({})\n", bytes(memory.bytes), parts.join(", "))
}

/// Bytes as people say them.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {}", UNITS[unit]),
        (whole, tenth) => format!("{whole}.{tenth} {}", UNITS[unit]),
    }
}

fn has_colours(out: &io::Stdout) -> bool {
    out.is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Columns, where a shell says so.
fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.unwrap_or(120usize).clamp(60, 240)
}

#[cfg(test)]
mod tests {
    use splashdam_config::Source;

    use super::*;

    /// Every broken example with a piece of another in it or a piece of it gone, from a fixed seed:
    /// always a report, never a panic, whatever is left of the text.
    #[test]
    fn no_text_is_too_odd_to_be_checked() {
        const ROUNDS: usize = 400;
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/broken");
        let mut names: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let texts: Vec<Vec<u8>> = names.iter().map(|name| std::fs::read(name).unwrap()).collect();
        let random = splashdam_core::Random::new(3);
        let look = Look { colours: true, width: 80 };
        let origin = Origin { name: "a1".into(), ..Origin::default() };
        for _ in 0..ROUNDS {
            let mut text = texts[random.below(texts.len())].clone();
            for _ in 0..=random.below(4) {
                let other = &texts[random.below(texts.len())];
                let (from, to) = (random.below(text.len()), random.below(other.len()));
                let gone = from..(from + random.below(40)).min(text.len());
                let piece = to..(to + random.below(40)).min(other.len());
                text.splice(gone, other[piece].iter().copied());
            }
            let sources = std::iter::once(Source::from_latin1("odd.conf", &text)).collect();
            let reading = understand(&origin, Loaded { sources, warnings: Vec::new() });
            let report = Report::new(reading);
            assert!(report.text(&[], look).contains("agent a1"));
            assert!(report.json().contains("\"agent\": \"a1\""));
        }
    }

    #[test]
    fn a_byte_order_mark_makes_no_second_agent() {
        let check = |agents: &[&str], want: Option<&str>| {
            let agents: Vec<_> = agents.iter().map(ToString::to_string).collect();
            assert_eq!(only_agent(&agents), want, "{agents:?}");
        };
        check(&[], None);
        check(&["a1"], Some("a1"));
        check(&["a1", "a2"], None);
        check(&["a1", "\u{feff}a1"], Some("a1"));
        check(&["a1", "\u{ef}\u{bb}\u{bf}a1"], Some("a1"));
        check(&["\u{feff}a1"], Some("\u{feff}a1"));
    }

    #[test]
    fn bytes_are_said_in_the_largest_unit_that_fits() {
        for (count, said) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (16 << 20, "16 MiB"),
            (1 << 40, "1 TiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(bytes(count), said);
        }
    }
}
