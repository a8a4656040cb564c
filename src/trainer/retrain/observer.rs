//! What a retraining tells whoever records it, beside what every run tells.

use super::progress::{TrainProgress, TrainRecords};
use crate::run::RunError;
use crate::trainer::{Observer, Silent};

/// Receives the course of a retraining; rank 0 records it in the run directory, other ranks ignore it.
pub trait TrainObserver: Observer<TrainRecords> {
    /// The training begins or goes on; `steps_done` of `steps` are behind.
    fn begins(&mut self, steps_done: u64, steps: u64);

    /// All epochs are complete; what is left is the test.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn ends(&mut self, progress: &TrainProgress) -> Result<(), RunError>;
}

impl TrainObserver for Silent {
    fn begins(&mut self, _: u64, _: u64) {}

    fn ends(&mut self, _: &TrainProgress) -> Result<(), RunError> {
        Ok(())
    }
}
