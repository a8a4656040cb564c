//! What can end a training loop early.

use std::fmt;
use std::path::PathBuf;

use super::divergence::{Divergence, NotFinite};
use crate::data::DataError;
use crate::genotype::GenotypeError;
use crate::model::NetworkError;
use crate::run::RunError;
use crate::torch::{MemoryRefusal, TorchError};
use crate::weights::WeightsProblem;
use crate::world::CommunicatorError;

/// What a search of single cells says of limits that hardly any cell is within, at its start or later.
pub(super) const NO_CELLS: &str = "search: of 100000 random cells none was within search.max_parameters, \
     search.max_multiply_adds and search.max_skip_connects; raise them, or choose a strategy that trains a supernet";

/// A failure of a training loop; its text is one line.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A loss or a gradient is infinite or not a number.
    #[error(transparent)]
    Diverged(Box<Divergence>),
    /// A step was not taken because its gradient is not finite.
    #[error("{0}")]
    NotFinite(NotFinite),
    /// An epoch of which no step could be taken.
    #[error(
        "every step of {place} was dropped because its numbers were not finite: start a new run with a lower learning rate"
    )]
    NothingTrained {
        /// As in `stage 2, epoch 1`.
        place: String,
    },
    /// The device or the machine has not enough memory.
    #[error("{refusal} in {demand}")]
    OutOfMemory {
        /// What was asked for.
        refusal: MemoryRefusal,
        /// What it was for.
        demand: MemoryDemand,
    },
    /// A checkpoint that cannot be read or is not one.
    #[error("{}: {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A checkpoint of a run with another configuration.
    #[error(
        "{} was written under another configuration (digest {found}, this run has {expected}): restore config.toml or \
         start a new run",
        path.display()
    )]
    OtherConfig {
        /// The file.
        path: PathBuf,
        /// First digits of the run's digest.
        expected: String,
        /// First digits of the checkpoint's.
        found: String,
    },
    /// A step without images; a defect of the program.
    #[error("a step asked for images that it was not given")]
    NoImages,
    /// A step of the search outside of its stages; the checkpoint is of another version.
    #[error("stage {0} is not in the configuration")]
    NoStage(usize),
    /// A search of single cells that finds no further one.
    #[error("{NO_CELLS}")]
    NoCells,
    /// Ranks that should be equal are not.
    #[error(
        "{what} of {} differ from those of rank {reference} after step {step}: a rank computes wrongly (its memory or \
         its GPU may be faulty)",
        list(ranks)
    )]
    RanksDiffer {
        /// Weights or alphas.
        what: &'static str,
        /// The lowest rank of the majority.
        reference: usize,
        /// Those outside of the majority.
        ranks: Vec<usize>,
        /// Steps of the whole run.
        step: u64,
    },
    /// The ranks could not work together.
    #[error(transparent)]
    Communicator(#[from] CommunicatorError),
    /// Loading images failed.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Alphas from which no cell can be derived.
    #[error(transparent)]
    Genotype(#[from] GenotypeError),
    /// Writing the run's files failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A network that cannot be built or cannot read the images.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Tensors that cannot be copied to the host or back, as checkpoints and hashes need it.
    #[error(transparent)]
    Tensors(#[from] WeightsProblem),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// libtorch failed in a call through tch.
    #[error(transparent)]
    Tch(TorchError),
}

impl From<tch::TchError> for TrainError {
    fn from(error: tch::TchError) -> Self {
        Self::Tch(error.into())
    }
}

/// What a run needs memory for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryDemand {
    /// As in `stage 2, epoch 1`.
    pub place: String,
    /// Of the network, in words.
    pub network: String,
    /// Images of one rank's step, and the parts in which they are computed.
    pub batch: String,
    /// The section of the configuration with the batch.
    pub section: BatchSection,
}

/// The section of the configuration that states the batch of a step.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum BatchSection {
    /// `[search]`
    Search,
    /// `[train]`
    Train,
    /// `[evaluation]`, whose batches are not computed in parts.
    Evaluation,
}

impl fmt::Display for MemoryDemand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, network, batch, section } = self;
        let (section, less) = match section {
            BatchSection::Search => ("search", " or more search.accumulate_steps need less"),
            BatchSection::Train => ("train", " or more train.accumulate_steps need less"),
            BatchSection::Evaluation => ("evaluation", " needs less"),
        };
        write!(
            f,
            "{place}: {network}, {batch}; model.checkpoint_cells = true{less}, in a new run also a smaller \
             {section}.global_batch"
        )
    }
}

impl TrainError {
    /// This error; if it is a lack of memory, with what the memory was for.
    pub(super) fn explained(self, demand: impl FnOnce() -> MemoryDemand) -> Self {
        match &self {
            Self::Torch(_) | Self::Tch(_) | Self::Network(_) | Self::Tensors(_) => {
                match MemoryRefusal::find(&self.to_string()) {
                    Some(refusal) => Self::OutOfMemory { refusal, demand: demand() },
                    None => self,
                }
            }
            _ => self,
        }
    }

    /// Whether a checkpoint from before is of use: the run can go on from it.
    pub fn can_be_resumed(&self) -> bool {
        matches!(
            self,
            Self::RanksDiffer { .. }
                | Self::Diverged(_)
                | Self::Data(_)
                | Self::OutOfMemory { .. }
                | Self::Torch(_)
                | Self::Tch(_)
                | Self::Network(_)
        )
    }
}

/// `rank 3`, or `ranks 3, 5`.
fn list(ranks: &[usize]) -> String {
    let plural = if ranks.len() == 1 { "" } else { "s" };
    let numbers: Vec<String> = ranks.iter().map(ToString::to_string).collect();
    format!("rank{plural} {}", numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_names_keys_that_there_are() {
        let advice = |section| {
            let (place, network, batch) = ("epoch 1".to_owned(), "a network".to_owned(), "9 images a step".to_owned());
            let text = MemoryDemand { place, network, batch, section }.to_string();
            text.split("; ").last().unwrap().to_owned()
        };
        assert_eq!(
            advice(BatchSection::Search),
            "model.checkpoint_cells = true or more search.accumulate_steps need less, in a new run also a smaller \
             search.global_batch"
        );
        assert_eq!(
            advice(BatchSection::Evaluation),
            "model.checkpoint_cells = true needs less, in a new run also a smaller evaluation.global_batch"
        );
    }
}
