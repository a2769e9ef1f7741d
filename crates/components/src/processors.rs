//! Sink processors, one file each: pure functions of what happened and when.

mod default;
mod failover;
mod load_balance;

use std::time::Duration;

pub use default::Default;
pub use failover::Failover;
pub use load_balance::LoadBalance;

/// `2^failures` seconds, at most `most`. Flume's shift overflows from the 22nd failure on, which
/// makes some of its waits negative; this one stays at `most`.
fn penalty(failures: u32, most: Duration) -> Duration {
    1u32.checked_shl(failures).map_or(most, |seconds| Duration::from_secs(seconds.into())).min(most)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use splashdam_config::Section;
    use splashdam_core::{Component, Context, OpenError, Role, SinkId, SinkProcessor, Went};
    use splashdam_testkit::context;

    use super::*;

    #[test]
    fn penalties_double_up_to_their_limit() {
        let most = Duration::from_secs(30);
        let got: Vec<u64> = (1..=6).map(|n| penalty(n, most).as_secs()).collect();
        assert_eq!(got, [2, 4, 8, 16, 30, 30]);
        for failures in [21, 22, 31, 32, 33, 64, u32::MAX] {
            assert_eq!(penalty(failures, most), most);
        }
    }

    pub(super) async fn opened<P: Component>(keys: &str, sinks: &[&str]) -> Result<P, OpenError> {
        let choices = sinks.iter().map(|s| Arc::from(*s)).collect();
        let config = Section::parse(keys).read::<P::Config>().into_result();
        let cx = Context { choices, ..context(Role::SinkGroup) };
        P::open(config.map_err(OpenError::Config)?, cx).await
    }

    /// A group over simulated time, whose sinks answer as `answers` says.
    pub(super) struct Group<P> {
        pub(super) processor: P,
        start: Instant,
        /// One letter for each sink: `d`elivers, `i`s idle, `b`acks off, `f`ails.
        pub(super) answers: Vec<u8>,
    }

    impl<P: SinkProcessor + Component> Group<P> {
        pub(super) async fn new(keys: &str, sinks: &[&str]) -> Self {
            let processor = opened::<P>(keys, sinks).await.unwrap();
            Group { processor, start: Instant::now(), answers: vec![b'd'; sinks.len()] }
        }

        /// One batch at `millis`, as the runner does it: the sinks that were tried, the last of
        /// which took the batch or asked for time; none of them if the list ends with a failure.
        pub(super) fn batch(&mut self, millis: u64) -> Vec<usize> {
            self.batch_without(millis, &[])
        }

        /// The same, where some sinks have nothing to deliver.
        pub(super) fn batch_without(&mut self, millis: u64, idle: &[SinkId]) -> Vec<usize> {
            let now = self.start + Duration::from_millis(millis);
            let mut tried = idle.to_vec();
            self.processor.begin(now);
            while let Some(sink) = self.processor.pick(now, &tried) {
                tried.push(sink);
                let went = match self.answers[sink.0] {
                    b'd' => Went::Delivered,
                    b'i' => Went::Idle,
                    b'b' => Went::BackedOff,
                    _ => Went::Failed,
                };
                self.processor.settle(now, sink, went);
                if went != Went::Failed {
                    break;
                }
            }
            tried.into_iter().skip(idle.len()).map(|SinkId(index)| index).collect()
        }
    }
}
