//! The command line: parse, call, report.

mod bench;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// P-DARTS: progressive differentiable architecture search, from search to ImageNet.
#[derive(Debug, Parser)]
#[command(name = "pdarts", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure parts of the program.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
}

/// Runs the program on this process's arguments.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Bench(command) => bench::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
