//! `pdarts data`: data sets before a run needs them.

mod check;
mod fetch;
mod pack;

use std::num::NonZeroUsize;
use std::thread;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use super::logging::Logging;
use crate::world::Ranks;

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Download CIFAR-10 or CIFAR-100 and check it
    Fetch(fetch::FetchArguments),
    /// Make shards (tar files with an index) of images in folders or in ImageNet's tar files
    Pack(pack::PackArguments),
    /// Read every image of folders or shards and list those that are bad
    Check(check::CheckArguments),
}

impl DataCommand {
    /// Whether all ranks of a launch work on it together.
    pub fn is_of_all_ranks(&self) -> bool {
        matches!(self, Self::Pack(_))
    }
}

pub fn run(command: DataCommand, logging: &Logging) -> anyhow::Result<()> {
    match command {
        DataCommand::Fetch(arguments) => fetch::run(&arguments, logging),
        DataCommand::Pack(arguments) => pack::run(&arguments, logging),
        DataCommand::Check(arguments) => check::run(&arguments, logging),
    }
}

/// As many threads as asked for; 0 = this rank's share of the cores.
fn num_threads(asked: usize, ranks: &Ranks) -> NonZeroUsize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let number = if asked == 0 { cores / ranks.local_size.max(1) } else { asked };
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}

fn progress_bar(logging: &Logging, images: usize) -> anyhow::Result<ProgressBar> {
    let bar = logging.bars().add(ProgressBar::new(images as u64));
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} images, {per_sec}, {eta} left")?);
    Ok(bar)
}
