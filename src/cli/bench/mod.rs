//! `pdarts bench`: figures that anyone can repeat.

mod allreduce;
mod checkpoint;
mod depthwise;
mod gpu;
mod loader;
mod machine;
mod pool;
mod profile;
mod supernet;
mod train_step;

use clap::Subcommand;

pub use self::machine::machine_peaks;
use crate::cli::error::advise_on_memory;

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time the two steps of the search on the supernet of a stage, at the paper's sizes.
    Supernet(supernet::SupernetArguments),
    /// Time a step of a retraining on a network of the paper.
    TrainStep(train_step::TrainStepArguments),
    /// Time the depthwise convolutions of the search against libtorch's.
    Depthwise(depthwise::DepthwiseArguments),
    /// Time the poolings of the search against libtorch's.
    Pool(pool::PoolArguments),
    /// Time sums over ranks; started with mpirun or srun.
    #[command(name = "allreduce")]
    AllReduce(allreduce::AllReduceArguments),
    /// Time the loading of photos: decoding, crops, resizing.
    Loader(loader::LoaderArguments),
    /// Time a checkpoint: what the steps wait for, and what is written beside them.
    Checkpoint(checkpoint::CheckpointArguments),
    /// Measure the memory bandwidth and arithmetic of the machine or its GPU, which bound everything else.
    Machine(machine::MachineArguments),
    /// Show where the time of a step goes, by kind of operation or, on a GPU, by kernel.
    Profile(profile::ProfileArguments),
}

impl BenchCommand {
    /// Whether ranks measure together what they do together.
    pub fn is_of_all_ranks(&self) -> bool {
        matches!(self, Self::Supernet(_) | Self::TrainStep(_) | Self::AllReduce(_))
    }
}

pub fn run(command: BenchCommand) -> anyhow::Result<()> {
    match command {
        BenchCommand::Supernet(arguments) => supernet::run(&arguments).map_err(advise_on_memory),
        BenchCommand::TrainStep(arguments) => train_step::run(&arguments).map_err(advise_on_memory),
        BenchCommand::Depthwise(arguments) => depthwise::run(&arguments),
        BenchCommand::Pool(arguments) => pool::run(&arguments),
        BenchCommand::AllReduce(arguments) => allreduce::run(&arguments),
        BenchCommand::Loader(arguments) => loader::run(&arguments),
        BenchCommand::Checkpoint(arguments) => checkpoint::run(&arguments).map_err(advise_on_memory),
        BenchCommand::Machine(arguments) => machine::run(&arguments),
        BenchCommand::Profile(arguments) => profile::run(&arguments).map_err(advise_on_memory),
    }
}
