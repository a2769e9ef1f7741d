//! "Did you mean": the name somebody probably wanted.

/// The one of `known` that `written` was most likely meant to be, if any is close enough.
///
/// In this order: the same but for case, blanks, dots, dashes and underscores; the same last part
/// (`rollInterval` for `hdfs.rollInterval`); few typing errors.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const COMPARED_CHARS: usize = 128;
    const COMPARED_NAMES: usize = 1000;
    if written.is_empty() || written.chars().count() > COMPARED_CHARS {
        return None;
    }
    let squeezed = squeeze(written);
    let last = squeeze(last_part(written));
    let mut best: Option<(f64, &str)> = None;
    for name in known.into_iter().take(COMPARED_NAMES) {
        if name == written {
            continue;
        }
        let score = if squeeze(name) == squeezed {
            3.0
        } else if last.len() > 2 && squeeze(last_part(name)) == last {
            2.0
        } else if name.len() > COMPARED_CHARS {
            continue;
        } else {
            likeness(
                strsim::damerau_levenshtein(&name.to_lowercase(), &written.to_lowercase()),
                written.chars().count(),
            )
        };
        if score > 0.0 && best.is_none_or(|(top, _)| score > top) {
            best = Some((score, name));
        }
    }
    best.map(|(_, name)| name)
}

/// Between 0 (too far) and 1 (the same), for a word of that many characters.
fn likeness(errors: usize, chars: usize) -> f64 {
    let allowed = match chars {
        0..=2 => 0,
        3..=5 => 1,
        6..=9 => 2,
        _ => 3,
    };
    if errors > allowed {
        0.0
    } else {
        1.0 - f64::from(u32::try_from(errors).unwrap_or(u32::MAX)) / 128.0
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn squeeze(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["batchSize", "hdfs.path", "hdfs.rollInterval", "keep-alive", "port"];
        for (written, meant) in [
            ("batchsize", Some("batchSize")),
            ("batch-size", Some("batchSize")),
            ("batchSzie", Some("batchSize")),
            ("rollInterval", Some("hdfs.rollInterval")),
            ("hdfs.rollIntervl", Some("hdfs.rollInterval")),
            ("keepAlive", Some("keep-alive")),
            ("prot", Some("port")),
            ("colour", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }
}
