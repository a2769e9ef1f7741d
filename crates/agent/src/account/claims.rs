//! Files, directories and ports that components claim, where they are in one another's way.
//!
//! What there is to claim, and who may share it, the components say ([`splashdam_core::Claim`]);
//! here no type and no key is known.

use std::fmt;

use splashdam_config::{Diagnostic, Section, Severity};
use splashdam_core::{Claim, Claimed, Facts, Hold};

use crate::checked::{Checked, CheckedChannel};

/// Who claims something.
struct Holder<'c> {
    role: &'static str,
    name: &'c str,
    section: &'c Section,
    facts: &'c Facts,
}

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.name)
    }
}

impl<'c> Holder<'c> {
    fn channel(channel: &'c CheckedChannel) -> Self {
        let (name, part) = (&channel.name, &channel.part);
        Holder { role: "channel", name, section: &part.section, facts: &part.facts }
    }

    fn all(checked: &'c Checked) -> Vec<Self> {
        let channels = checked.channels.iter().map(Holder::channel);
        let sources = checked.sources.iter().map(|source| {
            let (name, part) = (&source.name, &source.part);
            Holder { role: "source", name, section: &part.section, facts: &part.facts }
        });
        let sinks = checked.sinks().map(|(_, sink)| {
            let (name, part) = (&sink.name, &sink.part);
            Holder { role: "sink", name, section: &part.section, facts: &part.facts }
        });
        channels.chain(sources).chain(sinks).collect()
    }

    /// What it claims and does not share but with its log.
    fn own(&self) -> impl Iterator<Item = &'c Claim> {
        self.facts.claims.iter().filter(|claim| claim.hold != Hold::OfFlume)
    }

    /// The directories of its log.
    fn log(&self) -> impl Iterator<Item = &'c Claim> {
        self.facts.claims.iter().filter(|claim| claim.hold == Hold::Log)
    }

    /// Whether a directory of its log is this.
    fn logs_in(&self, to: &Claimed) -> bool {
        self.log().any(|claim| claim.to.meets(to))
    }

    /// Whether it has a log, and all of that lies in directories of the other's.
    fn log_within(&self, other: &Holder<'_>) -> bool {
        self.log().next().is_some() && self.log().all(|claim| other.logs_in(&claim.to))
    }

    fn has_log_of(&self, other: &Holder<'_>) -> bool {
        self.log_within(other) && other.log_within(self)
    }

    /// A finding at the value of `key`.
    fn at(&self, key: &str, finding: Diagnostic) -> Diagnostic {
        let span = self.section.value_span(key).or(self.section.span());
        finding.at(span).component(self.to_string())
    }
}

/// All of them.
pub(super) fn findings(checked: &Checked) -> Vec<Diagnostic> {
    let holders = Holder::all(checked);
    let mut findings = Vec::new();
    for (index, one) in holders.iter().enumerate() {
        let earlier = &holders[..index];
        findings.extend(in_the_way(one, earlier));
        findings.extend(two_minds(one, earlier));
        findings.extend(named_twice(one));
        findings.extend(earlier.iter().filter_map(|other| in_part(one, other)));
        findings.extend(holders.iter().filter_map(|other| log_at_flumes(one, other)));
    }
    findings
}

/// Whether events go from the one to the other of these channels in one commit.
pub(super) fn share_log(checked: &Checked, one: &str, other: &str) -> bool {
    let holder = |name| checked.channel(name).map(Holder::channel);
    let Some((one, other)) = holder(one).zip(holder(other)) else { return false };
    let joint = |holder: &Holder<'_>| holder.facts.log.as_ref().is_some_and(|log| log.joint);
    joint(&one) && joint(&other) && one.has_log_of(&other)
}

/// What this and one before it both claim: once for each of them.
fn in_the_way<'c>(one: &Holder<'c>, earlier: &[Holder<'c>]) -> Vec<Diagnostic> {
    let mut named = Vec::new();
    let mut findings = Vec::new();
    for claim in one.own() {
        let meets = |other: &Holder<'c>| other.own().find(|theirs| keep_out(claim, theirs));
        let met = earlier.iter().find_map(|other| Some((other, meets(other)?)));
        let Some((other, theirs)) = met else { continue };
        let title = other.to_string();
        if named.contains(&title) {
            continue;
        }
        findings.extend(shared_place(one, claim, other, theirs));
        named.push(title);
    }
    findings
}

/// Whether nobody may have both.
fn keep_out(one: &Claim, other: &Claim) -> bool {
    (one.hold, other.hold) != (Hold::Log, Hold::Log) && one.to.meets(&other.to)
}

fn shared_place(
    one: &Holder<'_>,
    claim: &Claim,
    other: &Holder<'_>,
    theirs: &Claim,
) -> Option<Diagnostic> {
    // It is as bad as the one says who minds less, but a log minds whatever comes beside it.
    let severity = match (claim.hold, theirs.hold) {
        (Hold::Alone(one), Hold::Alone(other)) => one.min(other),
        (Hold::Alone(_), Hold::Log) | (Hold::Log, Hold::Alone(_)) => Severity::Error,
        _ => return None,
    };
    let (key, their_key) = (claim.key, theirs.key);
    let written = (one.section.get(key), other.section.get(their_key));
    let what = match written {
        _ if key != their_key => format!("{} (`{key}` and `{their_key}`)", claim.to),
        (None, None) => format!("the default of `{key}`"),
        (Some(value), Some(same)) if value == same => format!("`{key} = {value}`"),
        _ => format!("{} (`{key}`)", claim.to),
    };
    let message = format!("{one} and {other} share {what}, and would be in each other's way");
    let help = match key == their_key {
        true => format!("give each its own `{key}`"),
        false => format!("change `{key}` of {one}, or `{their_key}` of {other}"),
    };
    Some(one.at(key, Diagnostic::new(severity, "shared-place", message).help(help)))
}

/// Channels that share a log and say different things of it: the one that opens first counts.
fn two_minds(one: &Holder<'_>, earlier: &[Holder<'_>]) -> Vec<Diagnostic> {
    let Some(other) = earlier.iter().find(|other| one.has_log_of(other)) else {
        return Vec::new();
    };
    let Some((log, theirs)) = one.facts.log.as_ref().zip(other.facts.log.as_ref()) else {
        return Vec::new();
    };
    let directories = one.log().next().map_or("", |claim| claim.key);
    let differs = |(key, value): &&(&str, String)| {
        theirs.agree.iter().any(|(same, said)| same == key && said != value)
    };
    let found = log.agree.iter().filter(differs).map(|(key, _)| {
        let message = format!(
            "{} share one log, as they name the same `{directories}`, and differ in `{key}`",
            both(other, one)
        );
        let finding = Diagnostic::warning("shared-log-differs", message)
            .with_note("what the channel says that opens first counts for both")
            .help(format!("give both the same `{key}`, or each its own `{directories}`"));
        let at = one.section.value_span(key).or_else(|| other.section.value_span(key));
        one.at(key, finding).at(at.or(one.section.span()))
    });
    found.collect()
}

fn named_twice(one: &Holder<'_>) -> Option<Diagnostic> {
    let again = |(index, claim): &(usize, &Claim)| {
        one.log().take(*index).any(|earlier| earlier.to.meets(&claim.to))
    };
    let (_, Claim { key, to, .. }) = one.log().enumerate().find(again)?;
    let finding = Diagnostic::error("shared-place", format!("`{key}` names {to} twice"))
        .with_note("the channel does not open: each directory has a part of its log")
        .help("name each directory once");
    Some(one.at(key, finding))
}

fn in_part(one: &Holder<'_>, other: &Holder<'_>) -> Option<Diagnostic> {
    let Claim { key, to, .. } = one.log().find(|claim| other.logs_in(&claim.to))?;
    if one.has_log_of(other) {
        return None;
    }
    let message = format!("{} share {to} and not all of their `{key}`", both(other, one));
    let finding = Diagnostic::error("shared-place", message)
        .with_note("the one that opens last does not open: channels share all directories or none")
        .help(format!("give both the same `{key}`, or each its own"));
    Some(one.at(key, finding))
}

/// What Flume had in two directories is looked for in two directories.
fn log_at_flumes(one: &Holder<'_>, other: &Holder<'_>) -> Option<Diagnostic> {
    let of_flume = one.facts.claims.iter().filter(|claim| claim.hold == Hold::OfFlume);
    let mut met = of_flume.filter_map(|claim| {
        let log = other.log().find(|log| log.to.meets(&claim.to))?;
        Some((claim, log.key))
    });
    let (Claim { key, to, .. }, directories) = met.next()?;
    let whose = match (one.role, one.name) == (other.role, other.name) {
        true => format!("this {}", one.role),
        false => other.to_string(),
    };
    let message = format!("`{key}` {to} is among the `{directories}` of {whose}");
    let finding = Diagnostic::warning("shared-place", message)
        .with_note("a Flume with this configuration does not start")
        .help("name the directory where a Flume had its checkpoints, or remove the line");
    Some(one.at(key, finding))
}

/// As in `channels c1 and c2`.
fn both(first: &Holder<'_>, second: &Holder<'_>) -> String {
    format!("{}s {} and {}", first.role, first.name, second.name)
}
