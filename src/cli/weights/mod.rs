//! Trained networks in files: `pdarts eval` measures one, `pdarts export` hands one on.

mod eval;
mod export;
mod test_set;

pub use eval::{EvalArguments, run as run_eval};
pub use export::{ExportArguments, run as run_export};

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::error::UsageError;
use super::genotype::read_genotype;
use super::run_weights::{check_weights, non_finite_values, read_weights, weights_file};
use crate::model::NetworkDescription;
use crate::weights::{StateDict, WeightsError, WeightsProblem};

/// Which weights, for both commands.
#[derive(Debug, Args)]
struct CheckpointArguments {
    /// Weights: the run of a training, a checkpoint of this program, or a state dict in safetensors or written by
    /// torch.save
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// The cell that they are of, where the file does not say: a run, a file, the name of a published cell, the text
    #[arg(long, value_name = "GENOTYPE")]
    genotype: Option<String>,
    /// Take the running averages that the training kept, not the weights of its last step
    #[arg(long)]
    ema: bool,
}

impl CheckpointArguments {
    /// The weights, without what only a training needs.
    fn read(&self) -> anyhow::Result<StateDict> {
        if self.checkpoint.is_dir() {
            check_weights(&self.checkpoint, self.ema)?;
        }
        let file = self.file();
        let mut state = read_weights(&file)?;
        if self.ema && !self.checkpoint.is_dir() && !state.take_averages() {
            return Err(UsageError::new(anyhow!("{}: it has no averages; leave out --ema", file.display())).into());
        }
        state.keep_weights();
        if let Some(problem) = non_finite_values(&state) {
            tracing::warn!("{}: {problem}", file.display());
        }
        tracing::info!("{}: {state}", file.display());
        Ok(state)
    }

    /// A run has a file for the weights and one for their averages.
    fn file(&self) -> PathBuf {
        match self.checkpoint.is_dir() {
            true => weights_file(&self.checkpoint, self.ema),
            false => self.checkpoint.clone(),
        }
    }

    /// Everything that is read, where it is a file.
    fn inputs(&self) -> Vec<PathBuf> {
        let genotype = self.genotype.as_ref().map(PathBuf::from);
        genotype.into_iter().chain([self.file()]).collect()
    }

    /// The run of a training that the weights are of: the run itself or a file in it.
    fn run(&self) -> Option<&Path> {
        let mut folders = self.checkpoint.ancestors().take(3);
        folders.find(|folder| folder.join("config.toml").is_file() && folder.join("genotype.json").is_file())
    }

    fn describe(&self, state: &StateDict) -> anyhow::Result<NetworkDescription> {
        let genotype = self.genotype.as_deref().map(read_genotype).transpose()?.map(|cell| cell.genotype);
        Ok(state.description(genotype.as_ref()).map_err(|problem| self.error(problem))?)
    }

    fn error(&self, problem: WeightsProblem) -> UsageError {
        UsageError::new(WeightsError { path: self.file(), problem })
    }
}
