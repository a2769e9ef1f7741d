//! Names of files, one after the other (Flume's path managers).

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Config, PathManager};

/// Makes names: prefix, time, `-`, number, and the extension behind a dot.
#[derive(Debug)]
pub(super) struct Names {
    scheme: Scheme,
    prefix: String,
    suffix: String,
    number: u64,
}

#[derive(Debug)]
enum Scheme {
    /// The milliseconds at which the sink was configured, and numbers through all files.
    Started(i64),
    /// The second of the roll in local time, and numbers within it.
    Rolled { zone: TimeZone, last: String },
}

impl Names {
    /// `zone` is asked for only where names show local time: the system's list of zones is long.
    pub(super) fn new(config: &Config, now_millis: i64, zone: impl FnOnce() -> TimeZone) -> Self {
        let scheme = match config.path_manager {
            PathManager::Default => Scheme::Started(now_millis),
            PathManager::RollTime => Scheme::Rolled { zone: zone(), last: String::new() },
        };
        Names { scheme, prefix: config.prefix.clone(), suffix: config.suffix(), number: 0 }
    }

    /// The name after the last one.
    pub(super) fn next(&mut self, now_millis: i64) -> String {
        let time = match &mut self.scheme {
            Scheme::Started(millis) => millis.to_string(),
            Scheme::Rolled { zone, last } => {
                let now = Timestamp::from_millisecond(now_millis).unwrap_or(Timestamp::UNIX_EPOCH);
                let second = now.to_zoned(zone.clone()).strftime("%Y%m%d%H%M%S").to_string();
                if second != *last {
                    self.number = 0;
                    last.clone_from(&second);
                }
                second
            }
        };
        self.number += 1;
        format!("{}{time}-{}{}", self.prefix, self.number, self.suffix)
    }

    /// The last name was not used: its number is the next again.
    pub(super) fn give_back(&mut self) {
        self.number = self.number.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use splashdam_config::Section;

    #[test]
    fn names_are_those_of_flume() {
        let check = |keys: &str, millis: &[i64], want: &[&str]| {
            let keys = format!("sink.directory = /x\n{keys}");
            let config = Section::parse(&keys).read::<Config>().into_result().unwrap();
            let zone = || TimeZone::get("Europe/Berlin").unwrap();
            let mut names = Names::new(&config, 1_700_000_000_123, zone);
            let got: Vec<_> = millis.iter().map(|now| names.next(*now)).collect();
            assert_eq!(got, want);
        };
        check("", &[5, 6], &["1700000000123-1", "1700000000123-2"]);
        check(
            "sink.pathManager = default\nsink.pathManager.prefix = web-\n\
             sink.pathManager.extension = log",
            &[5, 6],
            &["web-1700000000123-1.log", "web-1700000000123-2.log"],
        );
        check(
            "sink.pathManager = rollTime\nsink.pathManager.prefix = a",
            &[1_700_000_000_123, 1_700_000_000_999, 1_700_000_001_000],
            &["a20231114231320-1", "a20231114231320-2", "a20231114231321-1"],
        );
        check("sink.compression = Gzip", &[5], &["1700000000123-1.gz"]);
        check(
            "sink.compression = zstd\nsink.pathManager.extension = log",
            &[5],
            &["1700000000123-1.log.zst"],
        );
        // The hour that comes twice in autumn: a new second, so the numbers begin anew.
        check(
            "sink.pathManager=org.apache.flume.formatter.output.RollTimePathManager$Builder",
            &[1_729_990_800_000, 1_729_990_800_000 - 3_600_000],
            &["20241027020000-1", "20241027020000-2"],
        );
    }
}
