//! `pdarts bench`: figures that anyone can repeat.

mod depthwise;
mod supernet;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time the two steps of the search on the supernet of a stage, at the paper's sizes.
    Supernet(supernet::SupernetArguments),
    /// Time the depthwise convolutions of the search against libtorch's.
    Depthwise(depthwise::DepthwiseArguments),
}

pub fn run(command: BenchCommand) -> anyhow::Result<()> {
    match command {
        BenchCommand::Supernet(arguments) => supernet::run(&arguments),
        BenchCommand::Depthwise(arguments) => depthwise::run(&arguments),
    }
}
