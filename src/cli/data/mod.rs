//! `pdarts data`: data sets before a run needs them.

mod check;
mod fetch;
mod pack;

use std::num::NonZeroUsize;

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

/// As many threads as asked for; 0 = as many as a run would take. All ranks call this together.
fn num_threads(asked: usize, ranks: &Ranks) -> anyhow::Result<NonZeroUsize> {
    let of_run = ranks.default_threads()?;
    let number = if asked == 0 { of_run } else { asked };
    Ok(NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN))
}

fn progress_bar(logging: &Logging, images: usize) -> anyhow::Result<ProgressBar> {
    let bar = logging.bars().add(ProgressBar::new(images as u64));
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} images, {per_sec}, {eta} left")?);
    Ok(bar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DeviceChoice;
    use crate::world::World;

    #[test]
    fn threads_are_those_of_a_run_unless_stated() {
        let of_run = World::single(DeviceChoice::Cpu, 0).unwrap().threads;
        assert_eq!(num_threads(0, &Ranks::alone()).unwrap().get(), of_run);
        assert_eq!(num_threads(7, &Ranks::alone()).unwrap().get(), 7);
    }
}
