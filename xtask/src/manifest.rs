//! Which of our crates a manifest leans on. Reads the plain form of TOML that the manifests here
//! are written in.

/// What a manifest says of our own crates, by their short names.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<String>,
    pub(crate) dev_dependencies: Vec<String>,
}

const PREFIX: &str = "splashdam-";

/// The name that the design uses: without the prefix.
fn short(name: &str) -> String {
    name.strip_prefix(PREFIX).unwrap_or(name).to_owned()
}

impl Manifest {
    pub(crate) fn parse(text: &str) -> Self {
        let mut manifest = Manifest::default();
        let mut section = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(head) = line.strip_prefix('[') {
                section = head.trim_matches(['[', ']']).to_owned();
                // `[dependencies.splashdam-core]` names a dependency in its head.
                if let Some((kind, name)) = section.clone().rsplit_once('.') {
                    manifest.note(kind, name.trim_matches('"'));
                }
            } else if let Some((key, value)) = line.split_once('=') {
                let key = key.trim().trim_matches('"');
                if section == "package" && key == "name" {
                    manifest.name = short(value.trim().trim_matches('"'));
                }
                let name = key.split('.').next().unwrap_or(key);
                manifest.note(&section, name);
            }
        }
        manifest
    }

    fn note(&mut self, section: &str, name: &str) {
        if !name.starts_with(PREFIX) && name != "splashdam" {
            return;
        }
        let kind = section.rsplit('.').next().unwrap_or(section);
        let list = match kind {
            "dependencies" | "build-dependencies" => &mut self.dependencies,
            "dev-dependencies" => &mut self.dev_dependencies,
            _ => return,
        };
        list.push(short(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_our_crates_in_every_form() {
        let text = r#"
[package]
name = "splashdam-agent"
[dependencies]
tokio = "1"
splashdam-core.workspace = true
[target.'cfg(unix)'.dependencies]
splashdam-config = { path = "../config" }
[dependencies.splashdam-wal]
path = "../wal"
[dev-dependencies]
"splashdam" = { path = "../splashdam" }
splashdam-testkit.workspace = true
[features]
splashdam-no = []
"#;
        let manifest = Manifest::parse(text);
        assert_eq!(manifest.name, "agent");
        assert_eq!(manifest.dependencies, ["core", "config", "wal"]);
        assert_eq!(manifest.dev_dependencies, ["splashdam", "testkit"]);
    }
}
