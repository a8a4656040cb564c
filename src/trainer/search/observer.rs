//! What a search tells whoever records it, beside what every run tells.

use super::progress::{SearchProgress, SearchRecords};
use crate::genotype::{Alphas, Switches};
use crate::run::{AlphasFile, RunError};
use crate::search::Stage;
use crate::trainer::{Observer, Silent};

/// Receives the course of a search; rank 0 records it in the run directory, other ranks ignore it.
pub trait SearchObserver: Observer<SearchRecords> {
    /// A stage begins or goes on; `steps_done` of `steps` are behind.
    fn stage_begins(&mut self, stage: &Stage, steps_done: u64, steps: u64);

    /// The alphas after an epoch, whose record follows.
    ///
    /// # Errors
    /// When they cannot be recorded.
    fn alphas(&mut self, alphas: &AlphasFile) -> Result<(), RunError>;

    /// A stage is complete, that of the last record in `progress`; `switches` were live in it, `alphas` are its result.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn stage_ends(&mut self, progress: &SearchProgress, switches: &Switches, alphas: &Alphas) -> Result<(), RunError>;
}

impl SearchObserver for Silent {
    fn stage_begins(&mut self, _: &Stage, _: u64, _: u64) {}

    fn alphas(&mut self, _: &AlphasFile) -> Result<(), RunError> {
        Ok(())
    }

    fn stage_ends(&mut self, _: &SearchProgress, _: &Switches, _: &Alphas) -> Result<(), RunError> {
        Ok(())
    }
}
