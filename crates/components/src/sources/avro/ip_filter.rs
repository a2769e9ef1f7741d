//! Who may connect: the keys `ipFilter` and `ipFilterRules`.
//!
//! Rules stand between commas, each `allow` or `deny`, then `ip` or `name`, then a pattern in which
//! `*` is any text and `?` any character; what else means something in a regular expression keeps
//! its meaning, as in Flume, but for the dot. The first that matches decides, and who matches none
//! is let in. An address is matched as Java writes it, IPv6 without `::`; a name is what the
//! system's resolver says of the address. `name:localhost` means this host's own addresses.

use std::net::{IpAddr, Ipv4Addr};

use regex::{Regex, RegexBuilder};
use splashdam_core::World;

/// The rules, in order.
#[derive(Clone, Debug)]
pub(super) struct IpFilter(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    allows: bool,
    whom: Whom,
}

#[derive(Clone, Debug)]
enum Whom {
    Address(Regex),
    Name(Regex),
    ThisHost,
}

impl IpFilter {
    /// Reads the rules.
    pub(super) fn parse(text: &str) -> Result<IpFilter, String> {
        text.split(',').map(|rule| parse_rule(rule.trim())).collect::<Result<_, _>>().map(IpFilter)
    }

    /// Whether a rule asks for names, which the resolver takes its time to find.
    pub(super) fn needs_name(&self) -> bool {
        self.0.iter().any(|rule| matches!(rule.whom, Whom::Name(_)))
    }

    /// Whether a peer may connect. `name` is its name, if it has one.
    pub(super) fn lets_in(&self, peer: IpAddr, name: Option<&str>, world: &dyn World) -> bool {
        let peer = peer.to_canonical();
        let decides = |rule: &&Rule| match &rule.whom {
            Whom::Address(pattern) => pattern.is_match(&java_text(peer)),
            Whom::Name(pattern) => name.is_some_and(|name| pattern.is_match(name)),
            Whom::ThisHost => {
                let own = world.host_address().and_then(|own| own.parse::<IpAddr>().ok());
                peer == Ipv4Addr::LOCALHOST || own == Some(peer)
            }
        };
        self.0.iter().find(decides).is_none_or(|rule| rule.allows)
    }
}

fn parse_rule(text: &str) -> Result<Rule, String> {
    let wrong = || {
        format!(
            "ipFilterRules has `{text}`, which is not a rule; write allow or deny, ip or name, and \
             a pattern with colons between them, such as `allow:ip:127.*`"
        )
    };
    let mut parts = text.splitn(3, ':');
    let (Some(act), Some(of), Some(pattern)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let allows = match act {
        "allow" => true,
        "deny" => false,
        _ => return Err(wrong()),
    };
    let whom = match of {
        "ip" => Whom::Address(regex_of(pattern)?),
        "name" if pattern == "localhost" => Whom::ThisHost,
        "name" => Whom::Name(regex_of(pattern)?),
        _ => return Err(wrong()),
    };
    Ok(Rule { allows, whom })
}

fn regex_of(pattern: &str) -> Result<Regex, String> {
    let inner = pattern.replace('.', "\\.").replace('*', ".*").replace('?', ".");
    RegexBuilder::new(&format!("^(?:{inner})$"))
        .size_limit(1 << 20)
        .build()
        .map_err(|_| format!("ipFilterRules has the pattern `{pattern}`, which cannot be understood; besides * and ? escape what means something in a regular expression"))
}

/// An address as Java writes it.
fn java_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let groups = address.segments().map(|group| format!("{group:x}"));
            groups.join(":")
        }
    }
}

#[cfg(test)]
mod tests {
    use splashdam_core::Role;
    use splashdam_testkit::context;

    use super::*;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let world = context(Role::Source).world;
        let check = |rules: &str, peer: &str, name: Option<&str>, want: bool| {
            let filter = IpFilter::parse(rules).unwrap();
            let got = filter.lets_in(peer.parse().unwrap(), name, &*world);
            assert_eq!(got, want, "{rules}, {peer}, {name:?}");
        };
        check("allow:ip:127.*", "10.0.0.1", None, true);
        check("allow:ip:127.*,deny:ip:*", "10.0.0.1", None, false);
        check("allow:ip:127.*, deny:ip:* ", "127.0.0.9", None, true);
        check("deny:ip:10.0.0.?", "10.0.0.1", None, false);
        check("deny:ip:10.0.0.?", "10.0.0.11", None, true);
        check("deny:ip:10.0.0.1", "::ffff:10.0.0.1", None, false);
        check("deny:ip:10.0.0.1", "10a0.0.1".replace('a', ".").as_str(), None, false);
        check("deny:ip:0:0:0:0:0:0:0:1", "::1", None, false);
        check("deny:ip:10.0.0.[12]", "10.0.0.2", None, false);
        check("deny:name:*.example.org", "10.0.0.1", Some("a.example.org"), false);
        check("deny:name:*.example.org", "10.0.0.1", Some("a.Example.org"), true);
        check("deny:name:*", "10.0.0.1", None, true);
        check("allow:name:localhost,deny:ip:*", "127.0.0.1", None, true);
        check("allow:name:localhost,deny:ip:*", "127.0.0.2", None, false);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for rules in
            ["", "allow", "allow:ip", "Allow:ip:*", "allow:host:*", "allow:ip:*,", "deny:ip:("]
        {
            assert!(IpFilter::parse(rules).is_err(), "{rules}");
        }
        assert!(!IpFilter::parse("deny:name:localhost").unwrap().needs_name());
        assert!(IpFilter::parse("deny:name:x").unwrap().needs_name());
    }
}
