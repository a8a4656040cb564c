//! What can end a training loop early.

use std::path::PathBuf;

use crate::data::DataError;
use crate::genotype::GenotypeError;
use crate::model::NetworkError;
use crate::run::RunError;
use crate::torch::TorchError;
use crate::weights::WeightsProblem;
use crate::world::CommunicatorError;

/// A failure of a training loop; its text is one line.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loss is infinite or not a number.
    #[error(
        "the {what} loss became {loss} in stage {stage}, epoch {epoch}, by step {step}: lower {key}.learning_rate, or \
         raise its gradient clipping; the last checkpoint is from before"
    )]
    Diverged {
        /// Which loss.
        what: &'static str,
        /// Its value.
        loss: f64,
        /// From 1.
        stage: usize,
        /// From 1.
        epoch: usize,
        /// Steps of the whole search.
        step: u64,
        /// Section of the config to change.
        key: &'static str,
    },
    /// The loss of a retraining is infinite or not a number.
    #[error(
        "the training loss became {loss} in epoch {epoch}, by step {step}: lower optimizer.learning_rate, or \
         optimizer.gradient_clip; the last checkpoint is from before"
    )]
    TrainingDiverged {
        /// Its value.
        loss: f64,
        /// From 1.
        epoch: usize,
        /// Steps of the whole training.
        step: u64,
    },
    /// A checkpoint that cannot be read or is not one.
    #[error("{}: {problem}; remove the file to go on from the checkpoint before it", path.display())]
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
    /// Ranks that should be equal are not.
    #[error(
        "{what} of {} differ from those of rank {reference} after step {step}: a rank computes wrongly (its memory or \
         its GPU may be faulty); the last checkpoint is from before",
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
    #[error("libtorch: {}", .0.to_string().lines().next().unwrap_or_default())]
    Tch(#[from] tch::TchError),
}

/// `rank 3`, or `ranks 3, 5`.
fn list(ranks: &[usize]) -> String {
    let plural = if ranks.len() == 1 { "" } else { "s" };
    let numbers: Vec<String> = ranks.iter().map(ToString::to_string).collect();
    format!("rank{plural} {}", numbers.join(", "))
}
