//! Which peers may connect, by rules of Flume's `ipFilter`: `allow:ip:10.*, deny:name:*.example.org, deny:ip:*`.
//!
//! The first rule that fits decides, and who fits none may connect. Patterns cover the whole text, case counts; `*` is
//! any run and `?` any one character, `.` stands for itself, and the rest is a regular expression of Java's. Addresses
//! are written as Java writes them, IPv6 in full (`0:0:0:0:0:0:0:1`). `name:localhost` fits this host's own address and
//! 127.0.0.1; other names are those that DNS has for the address and that have this address in turn, else the address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use splashdam_config::{Diagnostic, Section};
use splashdam_core::{Context, OpenError, World};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::java_regex::JavaRegex;

/// How long a name is waited for; a resolver that is silent keeps the peer out.
const PATIENCE: Duration = Duration::from_secs(10);

/// Names that are looked up at one time. Further peers wait.
const LOOKUPS: usize = 16;

/// Keys of a source that can filter its peers. A source holds them under `#[serde(rename = ".ipFilter", default)]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IpFilterKeys {
    /// Whether `ipFilterRules` decide who may connect.
    pub ip_filter: bool,
    /// Rules between commas, each `allow` or `deny`, then `ip` or `name`, then a pattern, with colons between.
    pub ip_filter_rules: Option<String>,
}

/// Rules, ready to be asked.
#[derive(Clone)]
pub struct IpFilter {
    rules: Arc<[Rule]>,
    world: Arc<dyn World>,
    names: Names,
    lookups: Arc<Semaphore>,
}

/// Looks up the name of an address. Blocking.
type Names = Arc<dyn Fn(IpAddr) -> Option<String> + Send + Sync>;

/// Whether a peer may connect, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Allowed,
    /// It may not, by the rule that is given as written.
    Denied {
        /// The rule.
        rule: Arc<str>,
    },
    /// A rule asks for its name, and DNS did not answer.
    NameUnknown,
}

#[derive(Debug)]
struct Rule {
    written: Arc<str>,
    allow: bool,
    fits: Fits,
}

#[derive(Debug)]
enum Fits {
    Address(JavaRegex),
    Name(JavaRegex),
    Localhost,
}

impl IpFilterKeys {
    /// The filter; `None` when there is to be none.
    ///
    /// # Errors
    /// [`OpenError::Config`] with the rule that cannot be read.
    pub fn filter(&self, cx: &Context) -> Result<Option<IpFilter>, OpenError> {
        if !self.ip_filter {
            return Ok(None);
        }
        let rules = self.rules().map_err(OpenError::config)?.into();
        Ok(Some(IpFilter {
            rules,
            world: cx.world.clone(),
            names: Arc::new(name_of),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }))
    }

    /// What `check` says of the rules, whose keys lie in `section`.
    pub fn findings(&self, section: &Section) -> Vec<Diagnostic> {
        if !self.ip_filter {
            return Vec::new();
        }
        match self.rules() {
            Err(message) => {
                let place = section.value_span("ipFilterRules");
                let place = place.or_else(|| section.value_span("ipFilter"));
                vec![Diagnostic::error("invalid-value", message).at(place)]
            }
            Ok(rules) => {
                let closed = rules.iter().all(|rule| rule.allow);
                let note = || {
                    Diagnostic::warning(
                        "open-filter",
                        "`ipFilterRules` denies nobody, as who fits no rule may connect",
                    )
                    .at(section.value_span("ipFilterRules"))
                    .help("add `,deny:ip:*` to its end")
                };
                closed.then(note).into_iter().collect()
            }
        }
    }

    fn rules(&self) -> Result<Vec<Rule>, String> {
        let written = self.ip_filter_rules.as_deref().unwrap_or_default();
        if written.trim().is_empty() {
            return Err("`ipFilter` is true and there are no rules; set `ipFilterRules`, such as `allow:ip:10.*,deny:ip:*`".into());
        }
        written.split(',').map(Rule::parse).collect()
    }
}

impl Rule {
    fn parse(written: &str) -> Result<Self, String> {
        let written = written.trim();
        let mut parts = written.splitn(3, ':');
        let (Some(action), Some(kind), Some(pattern)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(format!(
                "the rule `{written}` has not three parts with colons between, as in `allow:ip:10.*`"
            ));
        };
        let allow = match action {
            "allow" => true,
            "deny" => false,
            _ => return Err(format!("the rule `{written}` must begin with `allow` or `deny`")),
        };
        let regex = || {
            let pattern = pattern.replace('.', "\\.").replace('*', ".*").replace('?', ".");
            JavaRegex::new(&pattern).map_err(|error| format!("the rule `{written}`: {error}"))
        };
        let fits = match (kind, pattern) {
            ("name", "localhost") => Fits::Localhost,
            ("name", _) => Fits::Name(regex()?),
            ("ip", _) => Fits::Address(regex()?),
            _ => return Err(format!("the rule `{written}` must go on with `ip` or `name`")),
        };
        Ok(Rule { written: written.into(), allow, fits })
    }
}

impl IpFilter {
    /// Whether `peer` may connect. Waits for DNS when a rule asks for a name, ten seconds at the most.
    pub async fn admits(&self, peer: SocketAddr) -> Admission {
        let address = java_address(peer);
        let mut name = None;
        for rule in &*self.rules {
            // A pattern that gives up on a text fits it if it denies, and does not if it allows.
            let fits = match &rule.fits {
                Fits::Address(regex) => regex.is_full_match(address.as_bytes()),
                Fits::Localhost => Ok(self.is_localhost(&address)),
                Fits::Name(regex) => {
                    if name.is_none() {
                        name = self.name(peer.ip()).await;
                    }
                    match &name {
                        None => return Admission::NameUnknown,
                        Some(found) => {
                            regex.is_full_match(found.as_ref().unwrap_or(&address).as_bytes())
                        }
                    }
                }
            };
            match (fits.unwrap_or(!rule.allow), rule.allow) {
                (false, _) => {}
                (true, true) => return Admission::Allowed,
                (true, false) => return Admission::Denied { rule: rule.written.clone() },
            }
        }
        Admission::Allowed
    }

    fn is_localhost(&self, address: &str) -> bool {
        address == "127.0.0.1" || self.world.host_address().as_deref() == Some(address)
    }

    /// `Some(None)` for one without a name, `None` when there was no answer in time.
    async fn name(&self, ip: IpAddr) -> Option<Option<String>> {
        let looked_up = async {
            // The permit goes with the thread, which a timeout does not end.
            let permit = self.lookups.clone().acquire_owned().await.ok()?;
            let names = self.names.clone();
            let found = spawn_blocking(move || {
                let _permit = permit;
                names(ip.to_canonical())
            });
            found.await.ok()
        };
        timeout(PATIENCE, looked_up).await.ok().flatten()
    }
}

/// The name of an address, if that name has this address.
pub(crate) fn name_of(ip: IpAddr) -> Option<String> {
    let name = dns_lookup::lookup_addr(&ip).ok()?;
    // As Java does, lest who owns the address makes up the name.
    let mut addresses = (name.as_str(), 0).to_socket_addrs().ok()?;
    addresses.any(|address| address.ip().to_canonical() == ip).then_some(name)
}

/// The address as Java's `InetAddress.getHostAddress` writes it: IPv4 also where it came as IPv6, and IPv6 in full, with
/// the scope of a local one.
pub fn java_address(peer: SocketAddr) -> String {
    let scope = match peer {
        SocketAddr::V6(peer) if peer.scope_id() != 0 => format!("%{}", peer.scope_id()),
        _ => String::new(),
    };
    match peer.ip().to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::to_string(&ip),
        IpAddr::V6(ip) => ip.segments().map(|part| format!("{part:x}")).join(":") + &scope,
    }
}

#[cfg(test)]
mod tests {
    use splashdam_core::Role;
    use splashdam_testkit::fakes::context;

    use super::*;

    fn keys(rules: &str) -> IpFilterKeys {
        IpFilterKeys { ip_filter: true, ip_filter_rules: Some(rules.into()) }
    }

    /// Two hosts have a name, the last never gets an answer, which takes its thread a while.
    fn filter(rules: &str) -> IpFilter {
        let mut filter = keys(rules).filter(&context(Role::Source)).ok().flatten().unwrap();
        filter.names = Arc::new(|ip| match ip.to_string().as_str() {
            "10.0.0.1" => Some("gate.example.org".into()),
            "10.0.0.2" => Some("mill.example.com".into()),
            "10.0.0.9" => panic!("the resolver is broken"),
            _ => None,
        });
        filter
    }

    #[tokio::test]
    async fn the_first_rule_that_fits_decides() {
        let check = async |rules: &str, peer: &str, want: bool| {
            let peer: SocketAddr = format!("{peer}:4141").parse().unwrap();
            let admission = filter(rules).admits(peer).await;
            assert_eq!(admission == Admission::Allowed, want, "{rules}, {peer}: {admission:?}");
        };
        check("deny:ip:10.*", "10.1.2.3", false).await;
        check("deny:ip:10.*", "110.1.2.3", true).await;
        check("deny:ip:10.*", "[::ffff:10.1.2.3]", false).await;
        check("allow:ip:10.0.0.?, deny:ip:*", "10.0.0.7", true).await;
        check("allow:ip:10.0.0.?, deny:ip:*", "10.0.0.17", false).await;
        check("deny:ip:1.*", "10.0.0.7", true).await;
        check("deny:ip:*,allow:ip:10.*", "10.0.0.7", false).await;
        check("deny:ip:10.0.0.[1-3]", "10.0.0.3", false).await;
        check("deny:ip:10.0.0.[1-3]", "10.0.0.4", true).await;
        check("deny:ip:0:0:0:0:0:0:0:1", "[::1]", false).await;
        check("deny:ip:::1", "[::1]", true).await;
        check("deny:ip:2001:db8:0:*", "[2001:db8::7]", false).await;
        check("deny:ip:FE80*", "[fe80::1]", true).await;
        check("allow:name:localhost,deny:ip:*", "127.0.0.1", true).await;
        check("allow:name:localhost,deny:ip:*", "127.0.0.2", false).await;
        // The host's own address in the made-up world.
        check("allow:name:localhost,deny:ip:*", "192.0.2.7", true).await;
        check("allow:name:*.example.org,deny:ip:*", "10.0.0.1", true).await;
        check("allow:name:*.example.org,deny:ip:*", "10.0.0.2", false).await;
        check("allow:name:*.EXAMPLE.org,deny:ip:*", "10.0.0.1", false).await;
        // Without a name the address stands for it.
        check("deny:name:10.0.0.3", "10.0.0.3", false).await;
        check("deny:name:x,allow:ip:*", "10.0.0.9", false).await;
        check("allow:ip:*,deny:name:x", "10.0.0.9", true).await;
    }

    #[tokio::test]
    async fn a_denial_names_its_rule() {
        let peer = "10.0.0.1:1".parse().unwrap();
        let denied = filter("allow:ip:1.*, deny:ip:10.*").admits(peer).await;
        assert_eq!(denied, Admission::Denied { rule: "deny:ip:10.*".into() });
    }

    #[test]
    fn rules_that_cannot_be_read_are_named() {
        let check = |rules: &str, want: &str| {
            let Err(error) = keys(rules).filter(&context(Role::Source)) else { panic!("{rules}") };
            assert!(error.to_string().contains(want), "{error}");
            let found = keys(rules).findings(&Section::parse("ipFilterRules = x"));
            assert!(found[0].is_error() && found[0].span.is_some(), "{found:?}");
        };
        check("", "there are no rules");
        check("allow:ip:1.*,", "the rule `` has not three parts");
        check("allow:10.*", "the rule `allow:10.*` has not three parts");
        check("Allow:ip:10.*", "must begin with");
        check("allow:IP:10.*", "must go on with");
        check("allow:ip:10.(", "cannot be used");
        let off = IpFilterKeys { ip_filter: false, ip_filter_rules: Some("nonsense".into()) };
        assert!(off.filter(&context(Role::Source)).is_ok_and(|filter| filter.is_none()));
        let open = keys("allow:ip:10.*").findings(&Section::parse("ipFilterRules = allow:ip:10.*"));
        assert_eq!(open.iter().map(|f| f.code).collect::<Vec<_>>(), ["open-filter"]);
        assert_eq!(keys("allow:ip:10.*,deny:ip:*").findings(&Section::parse("x = y")), []);
    }

    #[test]
    fn addresses_are_written_as_in_java() {
        let check = |peer: &str, want: &str| assert_eq!(java_address(peer.parse().unwrap()), want);
        check("127.0.0.1:5", "127.0.0.1");
        check("[::1]:5", "0:0:0:0:0:0:0:1");
        check("[::ffff:192.0.2.1]:5", "192.0.2.1");
        check("[2001:DB8::a0]:5", "2001:db8:0:0:0:0:0:a0");
        check("[fe80::1%3]:5", "fe80:0:0:0:0:0:0:1%3");
    }
}
