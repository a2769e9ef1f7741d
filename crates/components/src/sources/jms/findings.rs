//! What `check` says of the keys before anything is connected.

use std::net::IpAddr;

use splashdam_config::{Diagnostic, Section};

use super::{Config, DestinationType, Locator};
use crate::tls::readable_secret;

/// Names in Flume's JNDI before a queue and a topic that need not be set up.
const DYNAMIC: [(&str, DestinationType); 2] =
    [("dynamicQueues/", DestinationType::Queue), ("dynamicTopics/", DestinationType::Topic)];

/// Factories of brokers that speak AMQP 1.0.
const FACTORIES: [&str; 4] = [
    "org.apache.activemq.jndi.ActiveMQInitialContextFactory",
    "org.apache.activemq.artemis.jndi.ActiveMQInitialContextFactory",
    "org.apache.qpid.jms.jndi.JmsInitialContextFactory",
    "org.apache.qpid.jndi.PropertiesFileInitialContextFactory",
];

/// Combinations of keys with which Flume does not run either: the key that is at fault, and why.
pub(super) fn refusals(config: &Config) -> Vec<(&'static str, &'static str)> {
    let mut refusals = Vec::new();
    let mut refuse = |wrong: bool, key, why| {
        if wrong {
            refusals.push((key, why));
        }
    };
    let missing = |text: &Option<String>| text.as_deref().is_none_or(|text| text.trim().is_empty());
    let (durable, key) = (config.create_durable_subscription, "createDurableSubscription");
    refuse(
        durable && config.destination_type != DestinationType::Topic,
        key,
        "a durable subscription needs `destinationType = topic`",
    );
    refuse(durable && missing(&config.client_id), key, "a durable subscription needs `clientId`");
    refuse(
        durable && missing(&config.durable_subscription_name),
        key,
        "a durable subscription needs `durableSubscriptionName`",
    );
    refuse(
        config.user_name.is_some() && config.password_file.is_none(),
        "userName",
        "`userName` needs `passwordFile`",
    );
    refuse(
        config.destination_name.trim().is_empty(),
        "destinationName",
        "`destinationName` is empty",
    );
    refuse(
        address(config).1 != config.destination_type,
        "destinationType",
        "`destinationType` is not what `destinationName` says",
    );
    refusals
}

/// The destination as the broker knows it, and what its name says that it is.
pub(super) fn address(config: &Config) -> (&str, DestinationType) {
    let name = config.destination_name.trim();
    let of = |(prefix, kind)| name.strip_prefix(prefix).map(|name| (name, kind));
    let dynamic = DYNAMIC.into_iter().find_map(of);
    let dynamic = dynamic.filter(|_| config.destination_locator == Locator::Jndi);
    dynamic.unwrap_or((name, config.destination_type))
}

/// All findings.
pub(super) fn of(config: &Config, section: &Section) -> Vec<Diagnostic> {
    let refused = |(key, why)| Diagnostic::error("jms-keys", why).at(section.value_span(key));
    let mut findings: Vec<_> = refusals(config).into_iter().map(refused).collect();
    let warn = |key: &str, message: String, help: &str| {
        let place = section.value_span(key).or(section.span());
        Diagnostic::warning("jms-keys", message).at(place).help(help)
    };
    findings.extend(of_classes(config, section));
    if config.durable_subscription_name.is_some() && !config.create_durable_subscription {
        findings.push(warn(
            "durableSubscriptionName",
            "`durableSubscriptionName` has no effect without `createDurableSubscription`"
                .to_owned(),
            "set `createDurableSubscription = true`, or remove this line",
        ));
    }
    if config.charset_without_effect.is_some() {
        findings.push(warn(
            "converter.charset",
            "`converter.charset` has no effect, as in Flume".to_owned(),
            "write `converter.converter.charset`",
        ));
    }
    if !config.provider.unused.is_empty() {
        let names = config.provider.unused.join("`, `");
        findings.push(warn(
            "providerURL",
            format!("nobody uses the options `{names}`"),
            "remove them from the URL; credit and pauses follow from this source's own keys",
        ));
    }
    if config.user_name.is_some()
        && let Some(host) = in_the_clear(config)
    {
        findings.push(warn(
            "providerURL",
            format!("the password goes to {host} without encryption"),
            "write `amqps://` and the port of the broker's AMQP connector with TLS",
        ));
    }
    findings.extend(readable_secret(config.password_file.as_deref(), "passwordFile", section));
    findings.extend(super::session::tls(config).findings(section));
    findings
}

/// The first host off this machine that is spoken to without TLS.
fn in_the_clear(config: &Config) -> Option<&str> {
    let local = |host: &str| {
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let mut hosts = config.provider.brokers.iter().filter(|broker| !broker.tls && !config.tls.ssl);
    hosts.find(|broker| !local(&broker.address.host)).map(|broker| &*broker.address.host)
}

/// What of JNDI is not there.
fn of_classes(config: &Config, section: &Section) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let factory = config.initial_context_factory.as_deref().map(str::trim).unwrap_or_default();
    if !factory.is_empty() && !FACTORIES.contains(&factory) {
        let message = format!("`{factory}` is not loaded; its broker must speak AMQP 1.0");
        let place = section.value_span("initialContextFactory");
        let help = "see that `providerURL` is that of an AMQP 1.0 connector";
        findings.push(Diagnostic::warning("jms-keys", message).at(place).help(help));
    }
    if config.destination_locator == Locator::Jndi
        && address(config).0 == config.destination_name.trim()
    {
        let name = &config.destination_name;
        let message = format!(
            "no directory is asked what `{name}` is; it is taken for the broker's own name"
        );
        let place = section.value_span("destinationLocator");
        let help = "set `destinationName` to the name that the broker knows, and `destinationLocator = CDI`";
        findings.push(Diagnostic::warning("jms-keys", message).at(place).help(help));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = "providerURL = amqp://localhost\ndestinationName = q\n";

    fn check(keys: &str, want: &[&str]) {
        let kind = if keys.contains("destinationType") { "" } else { "destinationType = queue\n" };
        let mut text = format!("{kind}{keys}\n");
        for line in KEYS.lines() {
            let key = line.split(' ').next().unwrap();
            if !keys.contains(key) {
                text.push_str(&format!("{line}\n"));
            }
        }
        let section = Section::parse(&text);
        let config = section.read::<Config>().into_result().unwrap();
        let findings = of(&config, &section);
        assert_eq!(findings.len(), want.len(), "{keys}: {findings:?}");
        for (finding, says) in findings.iter().zip(want) {
            assert!(finding.message.contains(says), "{says}: {findings:?}");
            assert!(finding.span.is_some(), "{findings:?}");
            assert!(finding.is_error() || finding.help.is_some());
        }
    }

    #[test]
    fn keys_are_judged_together() {
        check("", &[]);
        check(
            "createDurableSubscription = true",
            &["`destinationType = topic`", "`clientId`", "`durableSubscriptionName`"],
        );
        let durable = "createDurableSubscription = true\ndestinationType = TOPIC";
        check(durable, &["`clientId`", "`durableSubscriptionName`"]);
        check(&format!("{durable}\nclientId = c\ndurableSubscriptionName = s"), &[]);
        check("durableSubscriptionName = s", &["no effect without"]);
        check("userName = u", &["needs `passwordFile`"]);
        check("userName = u\npasswordFile = /no/file", &[]);
        check(
            "userName = u\npasswordFile = /no/file\nproviderURL = amqp://far",
            &["goes to far without"],
        );
        check("userName = u\npasswordFile = /no/file\nproviderURL = amqps://far", &[]);
        check("converter.charset = UTF-16", &["as in Flume"]);
        check("converter.type = default\nconverter.converter.charset = UTF-16", &[]);
        check("providerURL = amqp://localhost?jms.x=1", &["nobody uses the options `jms.x`"]);
        check(
            "initialContextFactory = org.apache.activemq.jndi.ActiveMQInitialContextFactory\nconnectionFactory = F",
            &[],
        );
        check("initialContextFactory = com.example.F", &["`com.example.F` is not loaded"]);
        check("destinationLocator = JNDI\ndestinationName = dynamicQueues/a.b", &[]);
        check(
            "destinationLocator = jndi\ndestinationName = dynamicTopics/a",
            &["is not what `destinationName`"],
        );
        check(
            "destinationLocator = JNDI\ndestinationName = a",
            &["no directory is asked what `a` is"],
        );
        check("destinationName = dynamicTopics/a", &[]);
    }

    #[test]
    fn names_of_directories_are_those_of_the_broker() {
        let check = |keys: &str, want: &str| {
            let section =
                Section::parse(&format!("{keys}\nproviderURL = amqp://b\ndestinationType = queue"));
            let config = section.read::<Config>().into_result().unwrap();
            assert_eq!(address(&config).0, want, "{keys}");
        };
        check("destinationName = a", "a");
        check("destinationName = dynamicQueues/a", "dynamicQueues/a");
        check("destinationName = dynamicQueues/a\ndestinationLocator = JNDI", "a");
        check("destinationName = jms/a\ndestinationLocator = JNDI", "jms/a");
    }

    #[test]
    fn other_values_are_refused() {
        let check = |keys: &str, says: &str| {
            let text = format!(
                "{keys}\nproviderURL = amqp://b\ndestinationName = q\ndestinationType = queue"
            );
            let text: Vec<&str> = text.lines().collect();
            let key = keys.split(' ').next().unwrap();
            let kept = text
                .iter()
                .enumerate()
                .filter(|(index, line)| *index == 0 || !line.starts_with(key));
            let text: Vec<&str> = kept.map(|(_, line)| *line).collect();
            let read = Section::parse(&text.join("\n")).read::<Config>();
            let message = format!("{:?}", read.findings);
            assert!(read.value.is_none() && message.contains(says), "{keys}: {message}");
        };
        check("destinationType = both", "must be `queue` or `topic`");
        check("destinationLocator = LDAP", "must be `CDI` or `JNDI`");
        check("converter.type = com.example.Converter", "classes of Java are not loaded");
        check("converter.converter.charset = klingon", "charset");
        check("providerURL = tcp://b:61616", "amqp://b:5672");
        check("batchSize = 0", "batchSize");
        check("maxMessageBytes = 0", "maxMessageBytes");
    }
}
