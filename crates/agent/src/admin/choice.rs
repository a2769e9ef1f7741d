//! Which monitoring `-Dflume.monitoring.*` asks for.

/// What to serve, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitoring {
    /// What `/metrics` shows.
    pub form: Form,
    /// `flume.monitoring.port`, 41414 by default; 0 for any free port.
    pub port: u16,
    /// `flume.monitoring.host`, an address or a name; all interfaces by default, as in Flume,
    /// which has no such key.
    pub host: Option<String>,
}

/// What `/metrics` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Type `http`: JSON.
    Json,
    /// Type `prometheus`: Prometheus text.
    Prometheus,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// What to serve, if anything.
    pub monitoring: Option<Monitoring>,
    /// Said once at the start.
    pub warning: Option<String>,
}

/// A choice that ends the start, as in Flume.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// Not a port.
    #[error("-Dflume.monitoring.port={0} is no port; give a number from 0 to 65535")]
    Port(String),
    /// Ganglia is not there yet.
    #[error(
        "-Dflume.monitoring.type=ganglia is not supported yet; use http or prometheus, or leave it out"
    )]
    Ganglia,
}

impl Choice {
    /// Reads the properties. As in Flume an unknown type leaves the agent without monitoring.
    pub fn read(property: impl Fn(&str) -> Option<String>) -> Result<Self, ChoiceError> {
        let Some(kind) = property("flume.monitoring.type") else { return Ok(Choice::default()) };
        let form = match kind.to_ascii_lowercase().as_str() {
            "http" | "org.apache.flume.instrumentation.http.httpmetricsserver" => Form::Json,
            "prometheus" | "org.apache.flume.instrumentation.http.prometheushttpmetricsserver" => {
                Form::Prometheus
            }
            "ganglia" | "org.apache.flume.instrumentation.gangliaserver" => {
                return Err(ChoiceError::Ganglia);
            }
            _ => {
                let warning = format!(
                    "-Dflume.monitoring.type={kind} is none of http and prometheus; the agent runs without monitoring"
                );
                return Ok(Choice { monitoring: None, warning: Some(warning) });
            }
        };
        let port = match property("flume.monitoring.port") {
            None => 41414,
            Some(text) => text.trim().parse().map_err(|_| ChoiceError::Port(text))?,
        };
        let host = property("flume.monitoring.host").filter(|host| !host.is_empty());
        Ok(Choice { monitoring: Some(Monitoring { form, port, host }), warning: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_choose() {
        let check = |given: &[(&str, &str)], want: &str| {
            let property = |name: &str| {
                let found = given
                    .iter()
                    .find(|(key, _)| name.strip_prefix("flume.monitoring.") == Some(key));
                found.map(|(_, value)| (*value).to_owned())
            };
            let got = match Choice::read(property) {
                Ok(Choice { monitoring: Some(Monitoring { form, port, host }), .. }) => {
                    format!("{form:?} {port} {host:?}")
                }
                Ok(Choice { warning, .. }) => format!("{warning:?}"),
                Err(error) => error.to_string(),
            };
            assert!(got.starts_with(want), "{got}");
        };
        check(&[], "None");
        check(&[("type", "HTTP")], "Json 41414 None");
        check(&[("type", "http"), ("port", "0"), ("host", "::1")], "Json 0 Some(\"::1\")");
        check(&[("type", "prometheus"), ("port", "9")], "Prometheus 9 None");
        check(&[("type", "ganglia")], "-Dflume.monitoring.type=ganglia is not supported yet");
        check(&[("type", "com.example.Mine")], "Some(\"-Dflume.monitoring.type=com.example.Mine");
        check(&[("type", "http"), ("port", "65536")], "-Dflume.monitoring.port=65536 is no port");
    }
}
