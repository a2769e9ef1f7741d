//! Channel selectors, one file each.

mod load_balancing;
mod multiplexing;
mod replicating;

use splashdam_config::{Diagnostic, Spanned, nearest};
use splashdam_core::{ChannelSet, Context};

pub use load_balancing::LoadBalancing;
pub use multiplexing::Multiplexing;
pub use replicating::Replicating;

/// The channels of these names; each that the source does not have becomes a finding.
fn channels(names: &[Spanned<String>], cx: &Context, findings: &mut Vec<Diagnostic>) -> ChannelSet {
    let mut set = ChannelSet::default();
    for name in names {
        match cx.choices.iter().position(|choice| **choice == *name.value) {
            Some(index) => set = set.with(index),
            None => {
                let known: Vec<&str> = cx.choices.iter().map(|c| &**c).collect();
                let help = match nearest(name, known.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("name one of {}", known.join(", ")),
                };
                let message = format!("{} has no channel `{}`", cx.title(), name.value);
                findings
                    .push(Diagnostic::error("unknown-channel", message).at(name.span).help(help));
            }
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use splashdam_config::Section;
    use splashdam_core::{Component, Context, OpenError, Role};
    use splashdam_testkit::context;

    pub(super) fn context_of(channels: &[&str]) -> Context {
        let choices = channels.iter().map(|c| Arc::from(*c)).collect();
        Context { choices, ..context(Role::Source) }
    }

    pub(super) async fn open<S: Component>(keys: &str, channels: &[&str]) -> S {
        opened::<S>(keys, channels).await.unwrap()
    }

    pub(super) async fn opened<S: Component>(
        keys: &str,
        channels: &[&str],
    ) -> Result<S, OpenError> {
        let config = Section::parse(keys).read::<S::Config>().into_result();
        S::open(config.map_err(OpenError::Config)?, context_of(channels)).await
    }

    /// Opening fails for names that the source does not have, each at its place in `keys`.
    pub(super) async fn refuses<S: Component>(keys: &str, names: &[&str]) {
        let Err(OpenError::Config(findings)) = opened::<S>(keys, &["c1", "c2"]).await else {
            panic!("opened with {keys}");
        };
        let places: Vec<&str> = findings
            .iter()
            .map(|finding| finding.span.map_or("", |span| &keys[span.start..span.end]))
            .collect();
        assert_eq!(places, names, "{findings:?}");
        let config = Section::parse(keys).read::<S::Config>().into_result().unwrap();
        let chosen = S::facts(&config).chooses;
        assert!(names.iter().all(|n| chosen.iter().any(|c| c.value == *n)), "{chosen:?}");
    }
}
