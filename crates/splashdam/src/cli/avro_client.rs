//! Options of `avro-client`, which are Flume's.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, ValueHint, value_parser};

use super::grammar::option;
use super::java::Java;
use super::{Command, USAGE};

/// `avro-client …`.
#[derive(Debug)]
pub(crate) struct AvroClientArgs {
    /// Where to send to.
    pub(crate) target: Target,
    /// What to send.
    pub(crate) input: Input,
    /// `-R`: properties that become every event's headers.
    pub(crate) headers: Option<PathBuf>,
    /// `-D` and options that mean nothing here.
    pub(crate) java: Java,
}

/// Where to send to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `-H` and `-p`.
    Address(String, u16),
    /// `-P`: a file with properties of Flume's RPC client.
    Properties(PathBuf),
}

/// What to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Standard input.
    Standard,
    /// `-F`.
    File(PathBuf),
    /// `--dirname`.
    Directory(PathBuf),
}

pub(super) fn grammar() -> clap::Command {
    clap::Command::new("avro-client")
        .about("Send lines to an Avro source")
        .long_about(
            "Sends each line of standard input, a file or the files of a directory as an event to \
             an Avro source, or with --rpcProps to whatever these name. Exits with 1 when not all \
             of them were taken; Flume's exits with 0.",
        )
        .arg(option("host", "HOST").short('H').help("The source's host name or address"))
        .arg(
            option("port", "PORT")
                .short('p')
                .value_parser(value_parser!(u16))
                .help("The source's port"),
        )
        .arg(path("rpcProps", "FILE").short('P').value_hint(ValueHint::FilePath).help(
            "Properties of Flume's RPC client, instead of --host and --port: client.type, hosts, \
             ssl and so on",
        ))
        .arg(
            path("filename", "FILE")
                .short('F')
                .value_hint(ValueHint::FilePath)
                .help("Send the lines of this file [default: standard input]"),
        )
        .arg(path("dirname", "DIR").value_hint(ValueHint::DirPath).help(
            "Send the lines of all files in this directory, the oldest first; a file that is done \
             is renamed to end in .COMPLETED",
        ))
        .arg(
            path("headerFile", "FILE")
                .short('R')
                .value_hint(ValueHint::FilePath)
                .help("Properties that become the headers of every event"),
        )
        // Flume's script takes it with every command.
        .arg(path("conf", "DIR").short('c').hide(true))
}

fn path(name: &'static str, value: &'static str) -> Arg {
    option(name, value).value_parser(value_parser!(PathBuf))
}

pub(super) fn avro_client(given: &ArgMatches, java: Java) -> Command {
    let path = |name: &str| given.get_one::<PathBuf>(name).cloned();
    let refused = |what: &str| Command::Refuse(format!("error: {what}\n"), USAGE);
    let address = (given.get_one::<String>("host"), given.get_one::<u16>("port"));
    let target = match (path("rpcProps"), address) {
        (Some(file), (None, None)) => Target::Properties(file),
        (Some(_), _) => {
            return refused("--rpcProps says where to send to; leave --host and --port out");
        }
        (None, (Some(host), Some(port))) => Target::Address(host.clone(), *port),
        (None, _) => return refused("either --rpcProps or both --host and --port must be given"),
    };
    let input = match (path("filename"), path("dirname")) {
        (Some(_), Some(_)) => return refused("give --filename or --dirname, not both"),
        (Some(file), None) => Input::File(file),
        (None, Some(directory)) => Input::Directory(directory),
        (None, None) => Input::Standard,
    };
    Command::AvroClient(Box::new(AvroClientArgs {
        target,
        input,
        headers: path("headerFile"),
        java,
    }))
}
