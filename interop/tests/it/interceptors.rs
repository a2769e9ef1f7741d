//! A chain of interceptors, in the order in which it is written.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::side_by_side::{Case, channel_and_sink, compare, first_sink, only_watch};

const INPUT: &str = "2024-05-01 12:00:01 ERROR user=anna secret=12345 took 17ms
2024-05-01 12:00:02 DEBUG user=bert secret=67890 took 3ms
2024-05-01 12:00:03 WARN no user here
2024-05-01 12:00:04 INFO user=cleo secret=1 secret=2 took 900ms
2024-05-01 12:00:05 INFO user=d\u{e9}d\u{e9} took 5ms
DEBUG
no level at all
";

#[test]
fn chain() {
    let config = channel_and_sink(1, "header_and_text")
        + r"a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = exec
a1.sources.r1.command = cat {dir}/input
a1.sources.r1.batchTimeout = 100
a1.sources.r1.channels = c1
a1.sources.r1.interceptors = zone kept again mask quiet parts named host gone
a1.sources.r1.interceptors.zone.type = static
a1.sources.r1.interceptors.zone.key = zone
a1.sources.r1.interceptors.zone.value = east
a1.sources.r1.interceptors.kept.type = static
a1.sources.r1.interceptors.kept.key = zone
a1.sources.r1.interceptors.kept.value = west
a1.sources.r1.interceptors.again.type = STATIC
a1.sources.r1.interceptors.again.key = tier
a1.sources.r1.interceptors.again.value = back
a1.sources.r1.interceptors.again.preserveExisting = false
a1.sources.r1.interceptors.mask.type = search_replace
a1.sources.r1.interceptors.mask.searchPattern = (secret)=(\\d)\\d*
a1.sources.r1.interceptors.mask.replaceString = $1=<$2…>
a1.sources.r1.interceptors.quiet.type = regex_filter
a1.sources.r1.interceptors.quiet.regex = \\bDEBUG\\b
a1.sources.r1.interceptors.quiet.excludeEvents = true
a1.sources.r1.interceptors.parts.type = regex_extractor
a1.sources.r1.interceptors.parts.regex = (ERROR|WARN|INFO)\\s+user=(\\S+)
a1.sources.r1.interceptors.parts.serializers = level user
a1.sources.r1.interceptors.parts.serializers.level.name = level
a1.sources.r1.interceptors.parts.serializers.user.name = user
a1.sources.r1.interceptors.named.type = regex_extractor
a1.sources.r1.interceptors.named.regex = ^(\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d)
a1.sources.r1.interceptors.named.serializers = at
a1.sources.r1.interceptors.named.serializers.at.type = org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer
a1.sources.r1.interceptors.named.serializers.at.pattern = yyyy-MM-dd HH:mm:ss
a1.sources.r1.interceptors.named.serializers.at.name = timestamp
a1.sources.r1.interceptors.host.type = host
a1.sources.r1.interceptors.host.useIP = false
a1.sources.r1.interceptors.gone.type = remove_header
a1.sources.r1.interceptors.gone.fromList = host, tier ,absent
";
    // The configuration is Latin-1 to both, so the ellipsis in it arrives as three characters; that is compared too.
    let case = Case { config: &config, delivered: &[("k1", 5)] };
    let prepare = |dir: &Path| -> Result<()> { Ok(fs::write(dir.join("input"), INPUT)?) };
    let Some((_, lines)) = compare(&case, prepare, only_watch, first_sink) else {
        return;
    };
    assert!(lines[0].contains("level=ERROR") && lines[0].contains("user=anna"), "{lines:?}");
    assert!(lines[0].contains("secret=<1"), "{lines:?}");
    assert!(lines[4].starts_with("{zone=east} no level"), "{lines:?}");
}
