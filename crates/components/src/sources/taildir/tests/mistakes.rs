use super::*;
use splashdam_config::Section;
use splashdam_core::Component;

use super::super::{Config, Taildir};

#[test]
fn mistakes_are_found() {
    let check = |keys: &str, want: &str| {
        let section = Section::parse(keys);
        let mut reading = section.read::<Config>();
        if let Some(config) = &reading.value {
            reading.findings.extend(Taildir::check(config, &section));
        }
        let messages: Vec<_> = reading.findings.iter().map(|f| f.message.as_str()).collect();
        assert!(messages.iter().any(|m| m.contains(want)), "{keys}: {messages:?}");
    };
    check("", "needs the key `filegroups`");
    check("filegroups.g = /x/y", "no file group is listed");
    check("filegroups = g\nfilegroups.g = /x/(", "the pattern `(` cannot be used");
    check("filegroups = g\nfilegroups.g = /x/y\nfilegroups.h = /x/z", "`h` is not listed");
    check("filegroups = g\nfilegroups.g = /x/y\nheaders.h.k = v", "`h` is not listed");
    check("filegroups = g\nfilegroups.g = /x/y\nmaxBatchCount = 0", "means no limit");
    check("filegroups = g\nfilegroups.g = /x/y\nlongLines = cut", "longLines");
    check("filegroups = g\nfilegroups.g = /x/y\nbatchSize = 0", "batchSize");
}

#[tokio::test]
async fn two_sources_on_one_position_file() {
    let rig = Rig::started("").await;
    let config = Section::parse(&rig.keys).read::<Config>().into_result().unwrap();
    let second = Taildir::open(config, context(Role::Source)).await;
    let message = second.err().unwrap().to_string();
    assert!(message.contains("is in use by agent a1"), "{message}");
}
