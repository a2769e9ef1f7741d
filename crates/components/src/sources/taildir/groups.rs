//! File groups: a literal directory and a pattern for the names in it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error};
use splashdam_config::Section;
use splashdam_core::Headers;

use crate::name_pattern::NamePattern;

/// `filegroups` and the keys below it, in the order of the list.
#[derive(Clone, Debug, Default)]
pub struct FileGroups(pub(super) Vec<Group>);

/// One group: files of one directory whose whole name matches.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) directory: PathBuf,
    pattern: NamePattern,
    pub(super) headers: Headers,
}

/// A name in a directory.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) path: PathBuf,
    pub(super) inode: u64,
    /// Whether the inode is that of a link rather than of the file.
    pub(super) is_link: bool,
    /// The last group that it matches, as in Flume; `None` for a name that matches none.
    pub(super) group: Option<usize>,
}

impl Group {
    fn parse(name: &str, path: &str) -> Result<Self, String> {
        let (directory, pattern) = path
            .trim_end_matches('/')
            .rsplit_once('/')
            .ok_or_else(|| format!("`{path}` has no directory; write an absolute path"))?;
        let directory = if directory.is_empty() { "/" } else { directory };
        let directory = std::path::absolute(directory).map_err(|error| error.to_string())?;
        Ok(Group {
            name: name.to_owned(),
            directory,
            pattern: NamePattern::new(pattern).map_err(|error| error.to_string())?,
            headers: Headers::default(),
        })
    }
}

impl FileGroups {
    /// What is followed, for people.
    pub(super) fn place(&self) -> String {
        let paths: Vec<_> = self
            .0
            .iter()
            .map(|g| format!("{}/{}", g.directory.display(), g.pattern.as_str()))
            .collect();
        format!("follows {}", paths.join(" and "))
    }

    /// The directories of all groups, each once.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        directories(&self.0)
    }

    /// Gives each group its headers, whose keys are `<group>.<header>`.
    pub(super) fn with_headers(mut self, headers: &BTreeMap<String, String>) -> Vec<Group> {
        for group in &mut self.0 {
            let below = headers.iter().filter_map(|(key, value)| {
                let header = key.strip_prefix(&group.name)?.strip_prefix('.')?;
                Some((header, value.as_str()))
            });
            group.headers = below.collect();
        }
        self.0
    }
}

impl<'de> Deserialize<'de> for FileGroups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let section = Section::deserialize(deserializer)?;
        let names = section.value().unwrap_or_default();
        let mut groups = Vec::new();
        for name in names.split_whitespace() {
            let path = section.get(name).ok_or_else(|| {
                D::Error::custom(format!("group `{name}` has no path: set filegroups.{name}"))
            })?;
            groups.push(Group::parse(name, path).map_err(D::Error::custom)?);
        }
        if groups.is_empty() {
            return Err(D::Error::custom("no file group is listed: name at least one"));
        }
        Ok(FileGroups(groups))
    }
}

/// The directories of `groups`, each once.
pub(super) fn directories(groups: &[Group]) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = groups.iter().map(|g| g.directory.clone()).collect();
    directories.sort_unstable();
    directories.dedup();
    directories
}

/// The names in `directory` that match a group, and those whose inode is `wanted`.
pub(super) fn list(
    directory: &Path,
    groups: &[Group],
    wanted: impl Fn(u64) -> bool,
) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let (name, inode) = (entry.file_name(), entry.ino());
        let group = matching(directory, groups, &name);
        if group.is_none() && !wanted(inode) {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            continue;
        }
        names.push(Name { path: entry.path(), inode, is_link: kind.is_symlink(), group });
    }
    Ok(names)
}

/// The last group that a name in a directory matches.
pub(super) fn matching(directory: &Path, groups: &[Group], name: &OsStr) -> Option<usize> {
    // A pattern that gives up on a name does not match it.
    let matches = |g: &Group| g.directory == directory && g.pattern.matches(name.as_bytes(), false);
    groups.iter().rposition(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(keys: &str) -> Result<FileGroups, String> {
        #[derive(serde::Deserialize)]
        struct Keys {
            filegroups: FileGroups,
        }
        let read = Section::parse(keys).read::<Keys>().into_result();
        read.map(|keys| keys.filegroups)
            .map_err(|findings| findings.iter().map(|f| f.message.clone()).collect())
    }

    #[test]
    fn the_last_segment_is_a_pattern_for_whole_names() {
        let keys = "filegroups = a b\nfilegroups.a = /l/.*\\\\.log\nfilegroups.b = /l/x.*\n";
        let groups = groups(keys).unwrap().0;
        let check = |directory: &str, name: &str, want: Option<usize>| {
            assert_eq!(matching(Path::new(directory), &groups, OsStr::new(name)), want, "{name}");
        };
        check("/l", "a.log", Some(0));
        check("/l", "a.log.1", None);
        check("/l", "xa.log", Some(1));
        check("/m", "a.log", None);
        assert_eq!(directories(&groups), [Path::new("/l")]);
    }

    #[test]
    fn headers_go_to_their_group() {
        let groups = groups("filegroups = a\nfilegroups.a = /l/x").unwrap();
        let headers = [("a.k.l", "1"), ("ab.k", "2")].map(|(k, v)| (k.into(), v.into())).into();
        let groups = groups.with_headers(&headers);
        assert_eq!(groups[0].headers, [("k.l", "1")].into_iter().collect());
    }

    #[test]
    fn mistakes_are_named() {
        let check = |keys: &str, want: &str| {
            let message = groups(keys).unwrap_err();
            assert!(message.contains(want), "{keys}: {message}");
        };
        check("filegroups = a", "set filegroups.a");
        check("filegroups.a = /x/y", "at least one");
        check("filegroups = a\nfilegroups.a = x", "no directory");
        check("filegroups = a\nfilegroups.a = /x/(", "the pattern `(` cannot be used");
    }
}
