//! `pdarts data`: data sets before a run needs them.

mod fetch;

use clap::Subcommand;

use super::logging::Logging;

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Download CIFAR-10 or CIFAR-100 and check it
    Fetch(fetch::FetchArguments),
}

pub fn run(command: DataCommand, logging: &Logging) -> anyhow::Result<()> {
    match command {
        DataCommand::Fetch(arguments) => fetch::run(&arguments, logging),
    }
}
