//! As `flume-ng`, by a link of that name: the arguments of Flume's script.
//!
//! Differs from the script on purpose: values with blanks survive, errors end with a status other
//! than 0, and `-D` reaches every command.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::cli::java::{Java, is_of_machine};
use crate::cli::{Command, FAILED, Surroundings, run};

/// The name under which this program is Flume's script.
const NAME: &str = "flume-ng";

const USAGE: &str = "\
Usage: flume-ng <command> [options]...

commands:
  help                  show this help
  agent                 run an agent
  node                  the same as agent, by its old name
  avro-client           send lines to an Avro source
  tool                  run a tool: FCINTEGRITYTOOL
  version               show the version

options of all commands:
  --conf,-c <dir>       the configuration directory
  --classpath,-C <cp>   left aside: there is no Java
  --plugins-path <dirs> left aside: there is no Java
  --dryrun,-d           show what would be run, and do not run it
  -Dproperty=value      set a property
  -Xjava-opt            left aside: there is no Java

`flume-ng agent --help` shows the options of an agent; --name and one of --conf-file, --conf-uri
and --zkConnString are needed. This is splashdam, which stands in for Flume: `splashdam --help` shows more commands.
";

/// Whether `program`, as the system calls it, is Flume's script.
pub(crate) fn is_name(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(NAME))
}

/// Understands the script's arguments.
pub(crate) fn parse(mut arguments: Vec<OsString>, surroundings: &Surroundings) -> Command {
    let Some(command) = command_at(&arguments).map(|at| arguments.remove(at)) else {
        return Command::Refuse(format!("error: no command\n\n{USAGE}"), FAILED);
    };
    let command = command.to_string_lossy();
    match &*command {
        "version" | "--version" | "-V" => {
            return run(NAME, vec!["version".into()], &Java::default());
        }
        "help" | "--help" | "-h" => return Command::Print(USAGE.to_owned()),
        "agent" | "node" | "avro-client" | "tool" => {}
        _ => {
            let message = format!("error: unknown or unspecified command '{command}'\n\n{USAGE}");
            return Command::Refuse(message, FAILED);
        }
    }
    let dry = |argument: &OsString| argument == "--dryrun" || argument == "-d";
    let is_dry = arguments.iter().any(dry);
    arguments.retain(|argument| !dry(argument));
    let mut java =
        surroundings.flume_java_opts.as_deref().map(Java::from_options).unwrap_or_default();
    if &*command == "node" {
        java.notes.push("the command `node` is called `agent` now".to_owned());
    }
    if let Some(file) = environment_file(&arguments) {
        java.notes.push(format!(
            "{file} is not read: it is for Java; set properties with -D or FLUME_JAVA_OPTS"
        ));
    }
    let word = if &*command == "node" { "agent" } else { &*command };
    arguments.insert(0, OsString::from(word));
    if is_dry {
        return Command::Print(dry_run(arguments, java));
    }
    run(NAME, arguments, &java)
}

/// Where the command stands: options of the script may stand before it.
fn command_at(arguments: &[OsString]) -> Option<usize> {
    let mut at = 0;
    loop {
        let text = arguments.get(at)?.to_str().unwrap_or_default();
        at += match text {
            "--conf" | "-c" | "--classpath" | "-C" | "--plugins-path" | "-D" => 2,
            "--dryrun" | "-d" => 1,
            text if text.starts_with("--conf=") || text.starts_with("-D") => 1,
            text if is_of_machine(text) => 1,
            _ => return Some(at),
        };
    }
}

/// `flume-env.sh` of the configuration directory, if there is one.
fn environment_file(arguments: &[OsString]) -> Option<String> {
    let at = arguments.iter().position(|argument| argument == "-c" || argument == "--conf")?;
    let file = Path::new(arguments.get(at + 1)?).join("flume-env.sh");
    file.exists().then(|| file.display().to_string())
}

/// The command that would be run, for a shell.
fn dry_run(arguments: Vec<OsString>, java: Java) -> String {
    let java = Java::strip(arguments, java);
    let properties = java.properties.iter().map(|(key, value)| format!("-D{key}={value}"));
    let words = java.rest.iter().map(|word| word.to_string_lossy().into_owned());
    let line: Vec<String> = std::iter::once("splashdam".to_owned())
        .chain(words)
        .chain(properties)
        .map(|word| quoted(&word))
        .collect();
    let mut text = line.join(" ") + "\n";
    for note in java.notes {
        text = text + "# " + &note + "\n";
    }
    text
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
