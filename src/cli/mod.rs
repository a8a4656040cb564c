//! The command line: parse, call, report.
//!
//! A file or folder for each subcommand, and what they share:
//! - `arguments`: from what was typed to a command; `call`: whether all ranks were started with the same
//! - `error`: one line and an exit code for all that can go wrong
//! - `logging`: `--log` and `RUST_LOG`
//! - `numbers`: the bounds of numbers that several commands take
//! - `output`, `table`: what goes to standard output
//! - `ranks`: how several ranks start and fail together

mod arguments;
mod bench;
mod call;
mod compare;
mod completions;
mod config;
mod data;
mod doctor;
mod dry_run;
mod error;
mod genotype;
mod kernels;
mod logging;
mod numbers;
mod numerics;
mod output;
mod plan;
mod ranks;
mod report;
mod results;
mod run_arguments;
mod run_weights;
mod search;
mod start;
mod table;
mod train;
mod weights;

use std::sync::LazyLock;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

use self::error::UsageError;
pub use self::error::guard;
use self::logging::Logging;
use crate::run::COMMIT;
use crate::torch::libtorch_version;
use crate::world::{self, WorldError};

const EXAMPLES: &str = "\
Examples:
  pdarts search --config configs/search-quickstart.toml      a cell in minutes, on images that are built in
  pdarts train --config configs/train-quickstart.toml --genotype PDARTS_C10   a network of it, trained and tested
  pdarts eval --checkpoint runs/train --on photodigits   how often a trained network is right
  pdarts compare --config configs/compare-quickstart.toml   strategies beside random cells, with a test of significance
  pdarts plan --config configs/train-imagenet.toml --gpus 8   what it will need, and for how long
  pdarts results runs/search runs/train            the table of both beside the published results
  pdarts report runs/search                        the run as a page for a browser
  pdarts genotype list                             published cells and what they cost
  pdarts genotype draw PDARTS_C10 --out figures    one of them as two drawings
  pdarts config show > my-search.toml              every setting of a search with its meaning
  pdarts doctor                                    what this machine can do; under mpirun, all ranks
  pdarts bench supernet --stage 1                  how fast a search is on this machine

`pdarts help COMMAND` explains a command. Exit codes: 0 success, 1 failure, 2 a call that cannot work as given.";

static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} ({COMMIT}), libtorch {}", env!("CARGO_PKG_VERSION"), libtorch_version()));

/// P-DARTS: progressive differentiable architecture search, from search to ImageNet
#[derive(Debug, Parser)]
#[command(name = "pdarts", version = VERSION.as_str(), after_help = EXAMPLES)]
struct Cli {
    /// What to log on stderr: off, error, warn, info (the default), debug or trace, also by module as in
    /// info,pdarts::data=debug; wins over RUST_LOG
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Search a cell: stage by stage, then the result with figures in a run directory
    Search(search::SearchArguments),
    /// Train a network of a found or published cell and test it
    Train(train::TrainArguments),
    /// Run a whole experiment: searches by several strategies with several seeds, and a training of each cell
    Compare(compare::CompareArguments),
    /// List, show, draw and derive cells
    #[command(subcommand)]
    Genotype(genotype::GenotypeCommand),
    /// Show the settings of a search or a training
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Download data sets, make shards of images and check them
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Measure how often a trained network is right
    Eval(weights::EvalArguments),
    /// Predict memory, time and cores of a search or a training before it runs
    Plan(plan::PlanArguments),
    /// Compare runs with each other and with the published results
    Results(results::ResultsArguments),
    /// Write runs as one HTML page: cell, curves, settings, where they ran, and how they compare
    Report(report::ReportArguments),
    /// Write a trained network's weights as safetensors
    Export(weights::ExportArguments),
    /// Measure parts of the program
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Tell what this machine and this launch can do
    Doctor(doctor::DoctorArguments),
    /// Print a script that completes the command line in a shell
    Completions(completions::CompletionsArguments),
}

impl Command {
    /// Whether all ranks of a launch work on it together; of the others rank 0 does all.
    fn is_of_all_ranks(&self) -> bool {
        match self {
            Self::Search(_) | Self::Train(_) | Self::Compare(_) | Self::Eval(_) | Self::Doctor(_) => true,
            Self::Bench(command) => command.is_of_all_ranks(),
            Self::Data(command) => command.is_of_all_ranks(),
            _ => false,
        }
    }
}

/// The command line as its parser knows it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program on this process's arguments and ends it.
pub fn run() -> ! {
    world::outlive_file_size_limit();
    world::end_process(error::guard(|| arguments::parse(std::env::args_os())?.map_or(Ok(error::SUCCESS), execute)))
}

/// Returns the exit code.
fn execute(cli: Cli) -> anyhow::Result<u8> {
    // libtorch's libraries stop without one, in words of their own.
    let folder = std::env::current_dir().context("the current folder is gone: change to one that is there");
    ranks::told_once(folder.map_err(|error| UsageError::new(error).into()))?;
    let logging = ranks::told_once(Logging::start(cli.log.as_deref()))?;
    if !cli.command.is_of_all_ranks() && !speaks()? {
        return Ok(error::SUCCESS);
    }
    match cli.command {
        Command::Search(arguments) => return search::run(&arguments, &logging).map(code_of),
        Command::Train(arguments) => return train::run(&arguments, &logging).map(code_of),
        Command::Compare(arguments) => return compare::run(&arguments, &logging).map(code_of),
        Command::Genotype(command) => genotype::run(command)?,
        Command::Config(command) => config::run(command)?,
        Command::Data(command) => data::run(command, &logging)?,
        Command::Eval(arguments) => weights::run_eval(&arguments, &logging)?,
        Command::Plan(arguments) => plan::run(&arguments)?,
        Command::Results(arguments) => results::run(&arguments)?,
        Command::Report(arguments) => report::run(&arguments)?,
        Command::Export(arguments) => weights::run_export(&arguments)?,
        Command::Bench(command) => bench::run(command)?,
        Command::Doctor(arguments) => doctor::run(&arguments, &logging)?,
        Command::Completions(arguments) => completions::run(&arguments)?,
    }
    Ok(error::SUCCESS)
}

/// The exit code of a run that a signal may have stopped, as shells have it.
fn code_of(signal: Option<i32>) -> u8 {
    signal.map_or(error::SUCCESS, |signal| u8::try_from(128 + signal).unwrap_or(u8::MAX))
}

/// Whether this process is the one that does the work of a single one. Processes that MPI does not connect (the shell in
/// a task of srun) each do their own.
fn speaks() -> anyhow::Result<bool> {
    match ranks::join() {
        Ok(ranks) => Ok(ranks.is_root()),
        Err(error) if matches!(error.downcast_ref(), Some(WorldError::NotConnected { .. })) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses the examples below a command and all of its subcommands; returns how many there are.
    fn check_examples(command: &clap::Command) -> usize {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        for example in &examples {
            // What it does stands behind a gap, and a pipe or a redirection is the shell's.
            let call = example.split("   ").next().unwrap_or_default().split(['|', '>']).next().unwrap_or_default();
            Cli::try_parse_from(call.split_whitespace()).unwrap();
        }
        examples.len() + command.get_subcommands().map(check_examples).sum::<usize>()
    }

    #[test]
    fn commands_are_consistent_and_their_examples_can_be_called() {
        let command = Cli::command();
        command.clone().debug_assert();
        assert!(check_examples(&command) > 10);
    }
}
