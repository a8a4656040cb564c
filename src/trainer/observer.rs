//! What a search and a retraining tell whoever records them.

use super::checkpoint::Checkpoint;
use super::retrain::{TrainEpochRecord, TrainProgress, TrainStepRecord};
use super::search::{EpochRecord, SearchProgress, StepRecord};
use crate::genotype::{Alphas, Switches};
use crate::run::RunError;
use crate::search::Stage;

/// Receives the course of a search; rank 0 records it in the run directory, other ranks ignore it.
pub trait SearchObserver {
    /// A stage begins or goes on; `steps_done` of `steps` are behind.
    fn stage_begins(&mut self, stage: &Stage, steps_done: u64, steps: u64);

    /// One more step is done.
    fn step(&mut self);

    /// An interval of steps is complete.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn steps(&mut self, record: &StepRecord) -> Result<(), RunError>;

    /// An epoch is complete; `alphas` are those after it.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn epoch(&mut self, record: &EpochRecord, switches: &Switches, alphas: &Alphas) -> Result<(), RunError>;

    /// A stage is complete, that of the last record in `progress`; `switches` and `alphas` are its last.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn stage_ends(&mut self, progress: &SearchProgress, switches: &Switches, alphas: &Alphas) -> Result<(), RunError>;

    /// The state to continue from is to be saved.
    ///
    /// # Errors
    /// When it cannot be written; earlier checkpoints are intact.
    fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<(), RunError>;
}

/// The observer of ranks that leave recording to rank 0.
#[derive(Copy, Clone, Debug, Default)]
pub struct Silent;

impl SearchObserver for Silent {
    fn stage_begins(&mut self, _: &Stage, _: u64, _: u64) {}

    fn step(&mut self) {}

    fn steps(&mut self, _: &StepRecord) -> Result<(), RunError> {
        Ok(())
    }

    fn epoch(&mut self, _: &EpochRecord, _: &Switches, _: &Alphas) -> Result<(), RunError> {
        Ok(())
    }

    fn stage_ends(&mut self, _: &SearchProgress, _: &Switches, _: &Alphas) -> Result<(), RunError> {
        Ok(())
    }

    fn checkpoint(&mut self, _: Checkpoint) -> Result<(), RunError> {
        Ok(())
    }
}

/// Receives the course of a retraining; rank 0 records it in the run directory, other ranks ignore it.
pub trait TrainObserver {
    /// The training begins or goes on; `steps_done` of `steps` are behind.
    fn begins(&mut self, steps_done: u64, steps: u64);

    /// One more step is done.
    fn step(&mut self);

    /// An interval of steps is complete.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn steps(&mut self, record: &TrainStepRecord) -> Result<(), RunError>;

    /// An epoch is complete.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn epoch(&mut self, record: &TrainEpochRecord) -> Result<(), RunError>;

    /// The state to continue from is to be saved.
    ///
    /// # Errors
    /// When it cannot be written; earlier checkpoints are intact.
    fn checkpoint(&mut self, checkpoint: Checkpoint<TrainProgress>) -> Result<(), RunError>;

    /// All epochs are complete; what is left is the test.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn ends(&mut self, progress: &TrainProgress) -> Result<(), RunError>;
}

impl TrainObserver for Silent {
    fn begins(&mut self, _: u64, _: u64) {}

    fn step(&mut self) {}

    fn steps(&mut self, _: &TrainStepRecord) -> Result<(), RunError> {
        Ok(())
    }

    fn epoch(&mut self, _: &TrainEpochRecord) -> Result<(), RunError> {
        Ok(())
    }

    fn checkpoint(&mut self, _: Checkpoint<TrainProgress>) -> Result<(), RunError> {
        Ok(())
    }

    fn ends(&mut self, _: &TrainProgress) -> Result<(), RunError> {
        Ok(())
    }
}
