//! What every run tells whoever records it; searches and retrainings tell more beside it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::progress::{Progress, Records};
use crate::run::RunError;

/// Something that is not part of a run's plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Incident {
    /// A step was dropped.
    Dropped {
        /// Its number in the whole run, from 1.
        step: u64,
        /// Why.
        what: String,
    },
    /// The run went back.
    Rewound {
        /// The step that was not finite, from 1.
        step: u64,
        /// The last step before the moment that it went back to.
        to_step: u64,
        /// Why.
        what: String,
    },
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped { what, .. } => write!(f, "{what}: the step is dropped"),
            Self::Rewound { what, to_step, .. } => write!(f, "{what}: back to the checkpoint after step {to_step}"),
        }
    }
}

/// Receives the course of a run; rank 0 records it in the run directory, other ranks ignore it.
pub trait Observer<R: Records> {
    /// One more step is done.
    fn step(&mut self);

    /// An interval of steps is complete.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn steps(&mut self, record: &R::Steps) -> Result<(), RunError>;

    /// An epoch is complete.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn epoch(&mut self, record: &R::Epoch) -> Result<(), RunError>;

    /// Something happened that was not planned.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn incident(&mut self, incident: &Incident) -> Result<(), RunError>;

    /// The state to continue from is to be saved.
    ///
    /// # Errors
    /// When it, or the one before, cannot be written and the run may not go on without; earlier checkpoints are intact.
    fn checkpoint(&mut self, checkpoint: Checkpoint<Progress<R>>) -> Result<(), RunError>;

    /// The run ends here for now: the last checkpoint has to be on the disk.
    ///
    /// # Errors
    /// When it is not.
    fn settle(&mut self) -> Result<(), RunError>;
}

/// The observer of ranks that leave recording to rank 0.
#[derive(Copy, Clone, Debug, Default)]
pub struct Silent;

impl<R: Records> Observer<R> for Silent {
    fn step(&mut self) {}

    fn steps(&mut self, _: &R::Steps) -> Result<(), RunError> {
        Ok(())
    }

    fn epoch(&mut self, _: &R::Epoch) -> Result<(), RunError> {
        Ok(())
    }

    fn incident(&mut self, _: &Incident) -> Result<(), RunError> {
        Ok(())
    }

    fn checkpoint(&mut self, _: Checkpoint<Progress<R>>) -> Result<(), RunError> {
        Ok(())
    }

    fn settle(&mut self) -> Result<(), RunError> {
        Ok(())
    }
}
