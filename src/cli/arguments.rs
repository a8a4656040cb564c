//! From the process's arguments to a command: `~` behind `=` is expanded as a shell expands it elsewhere, and a call that
//! cannot be parsed is told in one line, by one rank.

use std::ffi::OsString;

use anyhow::anyhow;
use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, Parser};

use super::error::UsageError;
use super::ranks::{is_first_of_launch, told_once};
use super::{Cli, output};
use crate::config::{NoHome, expand_home};

/// The command of this call; `None` when it asked for a help text or the version, which this prints.
///
/// # Errors
/// [`UsageError`] for a call that cannot be parsed; on the other ranks of a launch [`ReportedElsewhere`](super::ranks::ReportedElsewhere).
pub(super) fn parse(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<Option<Cli>> {
    let refuse = |error: anyhow::Error| told_once(Err(UsageError::new(error).into()));
    let arguments: Vec<OsString> = arguments.collect();
    if let Some(problem) = not_utf8(&arguments) {
        return refuse(anyhow!(problem));
    }
    let arguments: Vec<OsString> = match arguments.into_iter().map(expand).collect() {
        Ok(arguments) => arguments,
        Err(no_home) => return refuse(NoHome::into(no_home)),
    };
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => Ok(Some(cli)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            if is_first_of_launch() {
                output::print(error.render())?;
            }
            Ok(None)
        }
        Err(error) => refuse(anyhow!(one_line(&error))),
    }
}

/// What is wrong with the first argument that is not UTF-8. Paths are kept in files that are, so no option takes others.
fn not_utf8(arguments: &[OsString]) -> Option<String> {
    let place = arguments.iter().skip(1).position(|argument| argument.to_str().is_none())? + 1;
    let option = arguments[place - 1].to_str().filter(|before| takes_value(before, &arguments[1..place]));
    let named = option.map_or(String::new(), |option| format!("{option} "));
    let shown = arguments[place].as_encoded_bytes().escape_ascii();
    Some(format!("{named}{shown} is not UTF-8: choose a name that is, or name a link to it"))
}

/// Whether `option` is one, of the command that `before` names, and is followed by its value.
fn takes_value(option: &str, before: &[OsString]) -> bool {
    let whole = Cli::command();
    let names = before.iter().filter_map(|argument| argument.to_str());
    let command = names.fold(&whole, |command, name| command.find_subcommand(name).unwrap_or(command));
    let is_option = |known: &&clap::Arg| option.strip_prefix("--").is_some_and(|name| known.get_long() == Some(name));
    let mut known = whole.get_arguments().chain(command.get_arguments());
    known.find(is_option).is_some_and(|option| option.get_action().takes_values())
}

/// `~/x` and `--option=~/x` with the home folder in the place of `~`.
fn expand(argument: OsString) -> Result<OsString, NoHome> {
    let Some(text) = argument.to_str() else { return Ok(argument) };
    let value = match text.split_once('=') {
        Some((option, value)) if option.starts_with('-') && value.starts_with('~') => value,
        _ if text.starts_with('~') => text,
        _ => return Ok(argument),
    };
    let option = &text[..text.len() - value.len()];
    Ok(format!("{option}{}", expand_home(value)?).into())
}

/// What the parser says in paragraphs, without the usage, which `--help` has.
fn one_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let help = match error.get(ContextKind::Usage) {
        Some(usage) => format!("; {} --help explains it", command_of(&usage.to_string())),
        None => String::new(),
    };
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let usage = rendered.lines().find_map(|line| line.trim().strip_prefix("Usage: ")).unwrap_or("pdarts <COMMAND>");
        let command = command_of(usage);
        let known = subcommands(&command);
        return format!("a command is missing behind `{command}`: {known}; {command} --help explains them");
    }
    let mut message = String::new();
    for line in
        rendered.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
    {
        let line = line.strip_prefix("error: ").or(line.strip_prefix("tip: ")).unwrap_or(line);
        let separator = match () {
            () if message.is_empty() || line.is_empty() => "",
            () if message.ends_with(':') || line.starts_with('[') => " ",
            // Further arguments that are missing.
            () if line.starts_with(['-', '<']) => ", ",
            () => "; ",
        };
        message += separator;
        message += line;
    }
    message + &help
}

/// `pdarts genotype show` of `Usage: pdarts genotype show [OPTIONS] <GENOTYPE>`.
fn command_of(usage: &str) -> String {
    let words = usage.split_whitespace().skip_while(|word| *word == "Usage:");
    words.take_while(|word| !word.starts_with(['[', '<', '-'])).collect::<Vec<_>>().join(" ")
}

/// The commands behind `command`, for messages.
fn subcommands(command: &str) -> String {
    let whole = Cli::command();
    let found = command.split(' ').skip(1).try_fold(&whole, |command, name| command.find_subcommand(name));
    let names = found.unwrap_or(&whole).get_subcommands().map(clap::Command::get_name);
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn parsed(arguments: &[&str]) -> anyhow::Result<Option<Cli>> {
        parse(["pdarts"].iter().chain(arguments).map(OsString::from))
    }

    #[test]
    fn tilde_is_expanded_where_no_shell_did() {
        let home = expand_home("~").unwrap();
        for (argument, expected) in [
            ("--out=~/x", format!("--out={home}/x")),
            ("~/x", format!("{home}/x")),
            ("--out=~root", "--out=/root".to_owned()),
            ("--set=data.dir=~/x", "--set=data.dir=~/x".to_owned()),
            ("data/~", "data/~".to_owned()),
        ] {
            assert_eq!(expand(argument.into()).unwrap(), OsString::from(expected));
        }
        assert!(parsed(&["search", "--config=~no-such-user-here/x.toml"]).is_err());
    }

    #[test]
    fn argument_that_is_not_utf8_is_told_with_its_option() {
        let latin1 =
            |text: &str| OsString::from_vec(text.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect());
        for (arguments, expected) in [
            (&["search", "--config", "x.toml", "--out", "caf?"][..], "--out caf\\xff is not UTF-8: "),
            (&["search", "--config", "x.toml", "--out=caf?"], "--out=caf\\xff is not UTF-8: "),
            (&["search", "--config=caf?"], "--config=caf\\xff is not UTF-8: "),
            (&["search", "--trace", "caf?"], "--trace caf\\xff is not UTF-8: "),
            (&["report", "caf?"], "caf\\xff is not UTF-8: "),
            (&["--log", "caf?"], "--log caf\\xff is not UTF-8: "),
            (&["eval", "--log", "caf?"], "--log caf\\xff is not UTF-8: "),
            (&["genotype", "show", "--json", "caf?"], "caf\\xff is not UTF-8: "),
            (&["eval", "--nothing", "caf?"], "caf\\xff is not UTF-8: "),
            (&["genotype", "show", "caf?"], "caf\\xff is not UTF-8: "),
        ] {
            let arguments = ["pdarts"].iter().chain(arguments).map(|argument| latin1(argument));
            let message = parse(arguments).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn calls_that_cannot_be_parsed_are_one_line() {
        for (arguments, expected) in [
            (
                &["genotype", "list", "--yaml"][..],
                "unexpected argument '--yaml' found; pdarts genotype list --help explains it",
            ),
            (
                &["export"],
                "the following required arguments were not provided: --checkpoint <FILE>, --out <FILE>; pdarts export \
                 --help explains it",
            ),
            (
                &["doctor", "--require", "gpu"],
                "invalid value 'gpu' for '--require <WHAT>' [possible values: cuda, nccl, mpi]",
            ),
            (&["bench", "pool", "--threads=-3"], "invalid value '-3' for '--threads <THREADS>': -3 is not in 0..=1024"),
            (&["bench", "loader", "--data", ".", "--workers=2000"], "invalid value '2000' for '--workers <WORKERS>'"),
            (
                &["serch"],
                "unrecognized subcommand 'serch'; some similar subcommands exist: 'bench', 'search'; pdarts --help explains it",
            ),
            (
                &["genotype"],
                "a command is missing behind `pdarts genotype`: list, show, draw, derive; pdarts genotype --help \
                 explains them",
            ),
        ] {
            let message = parsed(arguments).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
            assert_eq!(message.lines().count(), 1);
        }
    }
}
