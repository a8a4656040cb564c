//! What a rank was started with, compared among ranks: another command, or another option, would have it take other steps,
//! and the others wait for it in vain.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory};
use serde::{Deserialize, Serialize};

use super::Cli;

/// Options that a rank may have or not: what they say is compared where it is read, or only rank 0 heeds it.
const OF_EACH_RANK: [&str; 9] =
    ["config", "data", "device", "json", "log", "out", "overrides", "save_logits", "threads"];

/// A command with those of its options that all ranks must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Call {
    /// As in `pdarts bench supernet`.
    command: String,
    /// As in `--seeds`, with their values; without those of paths, which may differ from node to node.
    options: BTreeMap<String, String>,
}

impl Call {
    /// That of this process.
    pub fn of_process() -> Self {
        Self::of(std::env::args_os())
    }

    /// That of a command line that can be parsed, as that of a process which has come to compare it.
    fn of(arguments: impl Iterator<Item = OsString>) -> Self {
        let known = Cli::command();
        let Ok(given) = known.clone().try_get_matches_from(arguments) else { return Self::default() };
        let mut call = Self { command: known.get_name().to_owned(), options: BTreeMap::new() };
        let (mut known, mut given) = (&known, &given);
        loop {
            call.add_options(known, given);
            let Some((name, of_subcommand)) = given.subcommand() else { return call };
            let Some(subcommand) = known.find_subcommand(name) else { return call };
            (known, given) = (subcommand, of_subcommand);
            call.command = format!("{} {name}", call.command);
        }
    }

    fn add_options(&mut self, known: &Command, given: &ArgMatches) {
        let is_given = |arg: &&Arg| {
            let id = arg.get_id().as_str();
            let source = given.try_contains_id(id).unwrap_or(false).then(|| given.value_source(id)).flatten();
            source == Some(ValueSource::CommandLine) && !OF_EACH_RANK.contains(&id)
        };
        for arg in known.get_arguments().filter(is_given) {
            let name = arg.get_long().map_or_else(|| format!("{arg}"), |long| format!("--{long}"));
            let is_path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
            let has_values = arg.get_action().takes_values() && !is_path;
            let values = given.get_raw(arg.get_id().as_str()).filter(|_| has_values).into_iter().flatten();
            let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
            self.options.insert(name, values.join(","));
        }
    }

    /// How this one was started and how `first`, where they were not alike: as in `with --dry-run` and `without it`.
    pub fn difference(&self, first: &Self) -> Option<[String; 2]> {
        if self.command != first.command {
            return Some([self, first].map(|call| format!("as `{}`", call.command)));
        }
        let with = |name: &str, value: &str| format!("with {name} {value}").trim_end().to_owned();
        let names = self.options.keys().chain(first.options.keys());
        names.map(|name| (name, self.options.get(name), first.options.get(name))).find_map(
            |(name, own, theirs)| match (own, theirs) {
                (Some(own), Some(theirs)) if own == theirs => None,
                (Some(own), Some(theirs)) => Some([with(name, own), with(name, theirs)]),
                (Some(own), None) => Some([with(name, own), "without it".to_owned()]),
                (None, Some(theirs)) => Some([format!("without {name}"), with(name, theirs)]),
                (None, None) => None,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_take_other_steps_are_told_apart() {
        let call = |line: &str| Call::of(format!("pdarts {line}").split(' ').map(OsString::from));
        let difference = |own: &str, first: &str| call(own).difference(&call(first)).map(|parts| parts.join(", "));
        for (own, first, expected) in [
            ("train --config a --genotype A", "search --config a", "as `pdarts train`, as `pdarts search`"),
            ("bench pool", "bench allreduce", "as `pdarts bench pool`, as `pdarts bench allreduce`"),
            ("search --config a --dry-run", "search --config a", "with --dry-run, without it"),
            ("search --config a", "search --config a --dry-run", "without --dry-run, with --dry-run"),
            ("search --resume a", "search --config a", "with --resume, without it"),
            ("search --config a --trace t", "search --config a", "with --trace, without it"),
            (
                "train --config a --genotype A --seeds=0,1,2",
                "train --config a --genotype A --seeds 0,1",
                "with --seeds 0,1,2, with --seeds 0,1",
            ),
            ("genotype show A", "genotype show B", "with <GENOTYPE> A, with <GENOTYPE> B"),
        ] {
            assert_eq!(difference(own, first).as_deref(), Some(expected), "{own}; {first}");
        }
        for (own, first) in [
            // Compared where they are read, or of one rank.
            ("search --config a --set run.seed=1", "search --config b"),
            ("--log debug search --config a --json --out x --data y", "search --config a"),
            ("eval --checkpoint a --threads 2 --save-logits l", "eval --checkpoint b"),
            // One call.
            ("train --seeds 0,1 --config a --genotype A", "train --config=a --genotype A --seeds=0 --seeds=1"),
            ("search --resume /a/run --trace /a/t", "search --trace /b/t --resume /b/run"),
        ] {
            assert_eq!(difference(own, first), None, "{own}; {first}");
        }
    }
}
