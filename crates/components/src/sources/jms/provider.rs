//! What `providerURL` says: which brokers there are, and how they are spoken to.

use serde::Deserialize;
use splashdam_client::Address;

/// Brokers that a list may name.
const BROKERS_LIMIT: usize = 64;

/// Where the brokers are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Provider {
    /// At least one, in the order in which they are tried.
    pub brokers: Vec<Broker>,
    /// Names of options that nobody here uses.
    pub unused: Vec<String>,
    /// Whether the certificate must be for the host that was connected to: not where no URL wants that.
    pub verify_host: bool,
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Where it listens.
    pub address: Address,
    /// Whether it is spoken to over TLS.
    pub tls: bool,
}

impl TryFrom<String> for Provider {
    type Error = String;

    /// Reads `amqp://host:port?options`, `amqps://…`, lists of these between commas, perhaps in brackets, and
    /// `failover:` before that.
    fn try_from(url: String) -> Result<Self, String> {
        let url = url.trim();
        let list = url.strip_prefix("failover:").unwrap_or(url);
        let list = list.strip_prefix("//").unwrap_or(list);
        let (list, options) = match list.strip_prefix('(').and_then(|list| list.rsplit_once(')')) {
            Some((list, options)) => (list, options.strip_prefix('?').unwrap_or(options)),
            None => (list, ""),
        };
        let mut provider = Provider { brokers: Vec::new(), unused: Vec::new(), verify_host: true };
        let for_all = provider.take_options(options).unwrap_or(true);
        provider.verify_host = false;
        for one in list.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            let (one, options) = one.split_once('?').unwrap_or((one, ""));
            provider.verify_host |= provider.take_options(options).unwrap_or(for_all);
            provider.brokers.push(broker(one)?);
        }
        match provider.brokers.len() {
            0 => Err("names no broker; write `amqp://host:5672`".to_owned()),
            1..=BROKERS_LIMIT => Ok(provider),
            _ => Err(format!("names more than {BROKERS_LIMIT} brokers")),
        }
    }
}

impl Provider {
    /// Answers whether they have the host verified, if they say.
    fn take_options(&mut self, options: &str) -> Option<bool> {
        let mut verify = None;
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some((name, value)) if name.ends_with("transport.verifyHost") => {
                    verify = Some(!value.eq_ignore_ascii_case("false"));
                }
                // `failover.nested.transport.x` and the like: the name without the value, which may be a secret.
                _ => self.unused.push(option.split('=').next().unwrap_or_default().to_owned()),
            }
        }
        verify
    }
}

fn broker(url: &str) -> Result<Broker, String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!("`{url}` is no URL; write `amqp://host:5672`"));
    };
    let (tls, port) = match &*scheme.to_ascii_lowercase() {
        "amqp" => (false, 5672),
        "amqps" | "amqp+ssl" => (true, 5671),
        other => return Err(refused(other, rest)),
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return Err("has a user in its URL; set `userName` and `passwordFile` instead".to_owned());
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let whole = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    let address = whole.parse().map_err(|_| {
        format!("`{url}` has no host and port that can be read; write `{scheme}://host:{port}`")
    })?;
    Ok(Broker { address, tls })
}

/// Why a scheme is not spoken, and which one is.
fn refused(scheme: &str, rest: &str) -> String {
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let host = if host.is_empty() { "host" } else { host };
    let write = |scheme, port| {
        format!("write the URL of the broker's AMQP connector, such as `{scheme}://{host}:{port}`")
    };
    match scheme {
        "tcp" | "nio" | "auto" | "auto+nio" => format!(
            "`{scheme}://` is OpenWire or Artemis' own protocol, which only Java's clients speak; {}",
            write("amqp", 5672)
        ),
        "ssl" | "nio+ssl" | "auto+ssl" | "auto+nio+ssl" => format!(
            "`{scheme}://` is OpenWire or Artemis' own protocol, which only Java's clients speak; {}",
            write("amqps", 5671)
        ),
        "vm" => format!("`vm://` is a broker inside of Java's process; {}", write("amqp", 5672)),
        "amqpws" | "amqpwss" => {
            format!("AMQP over WebSocket is not spoken; {}", write("amqp", 5672))
        }
        _ => format!("`{scheme}://` is not spoken, only AMQP 1.0 is; {}", write("amqp", 5672)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_brokers() {
        let check = |url: &str, want: &str| {
            let provider = Provider::try_from(url.to_owned()).unwrap();
            let shown = |broker: &Broker| {
                format!("{}{}", broker.address, if broker.tls { " tls" } else { "" })
            };
            let brokers: Vec<_> = provider.brokers.iter().map(shown).collect();
            assert_eq!(brokers.join(", "), want, "{url}");
        };
        check("amqp://broker:5673", "broker:5673");
        check(" amqp://broker ", "broker:5672");
        check("AMQPS://broker/", "broker:5671 tls");
        check("amqp+ssl://broker:1?x=y", "broker:1 tls");
        check("amqp://[::1]:5672", "[::1]:5672");
        check("amqp://[::1]", "[::1]:5672");
        check("failover:(amqp://a:1,amqps://b)", "a:1, b:5671 tls");
        check("failover:(amqp://a:1?jms.x=1, amqp://b:2)?failover.y=2", "a:1, b:2");
        check("failover:amqp://a,amqp://b", "a:5672, b:5672");
        check("failover://(amqp://a)", "a:5672");
        check("(amqp://a,amqp://b)?ha=true", "a:5672, b:5672");
    }

    #[test]
    fn others_are_refused_with_what_to_write() {
        let check = |url: &str, says: &str| {
            let error = Provider::try_from(url.to_owned()).expect_err(url);
            assert!(error.contains(says), "{url}: {error}");
        };
        check("tcp://broker:61616", "OpenWire or Artemis' own protocol");
        check("tcp://broker:61616", "`amqp://broker:5672`");
        check("failover:(tcp://broker:61616)?randomize=false", "`amqp://broker:5672`");
        check("ssl://broker:61617", "`amqps://broker:5671`");
        check("vm://localhost", "inside of Java's process");
        check("amqpws://broker", "WebSocket");
        check("smf://broker:55555", "only AMQP 1.0 is");
        check("broker:5672", "is no URL");
        check("", "names no broker");
        check("failover:()", "names no broker");
        check("amqp://user:secret@broker", "set `userName` and `passwordFile`");
        check("amqp://:5672", "no host and port");
        check("amqp://broker:port", "no host and port");
        check(&["amqp://a"; 65].join(","), "more than 64");
        let tcp = Provider::try_from("tcp://user:secret@broker".to_owned()).expect_err("refused");
        assert!(!tcp.contains("secret"));
    }

    #[test]
    fn options_are_used_or_named() {
        let check = |url: &str, verify_host: bool, unused: &[&str]| {
            let provider = Provider::try_from(url.to_owned()).unwrap();
            assert_eq!(
                (provider.verify_host, provider.unused),
                (verify_host, unused.iter().map(|name| (*name).to_owned()).collect()),
                "{url}"
            );
        };
        check("amqps://a?transport.verifyHost=false", false, &[]);
        check("amqps://a?transport.verifyHost=false,amqps://b", true, &[]);
        check("amqps://a,amqps://b?transport.verifyHost=false", true, &[]);
        check(
            "amqps://a?transport.verifyHost=true&amqp.idleTimeout=5",
            true,
            &["amqp.idleTimeout"],
        );
        check(
            "failover:(amqps://a?jms.password=secret)?failover.nested.transport.verifyHost=false&flag",
            false,
            &["flag", "jms.password"],
        );
    }
}
