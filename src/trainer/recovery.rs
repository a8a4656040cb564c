//! What a run does about a step that is not finite (`run.on_divergence`).

use std::path::Path;

use super::TrainError;
use super::checkpoint::{Checkpoint, Resumable};
use super::divergence::Divergence;
use super::observer::Incident;
use super::progress::{Progress, Records};
use crate::config::{DivergencePolicy, RunSection};
use crate::world::Ranks;

/// Where the run goes on after a step that is not finite.
pub(super) enum GoesOn {
    /// At the next step.
    AfterStep,
    /// At an earlier moment.
    Earlier,
}

/// The policy, and the moment to go back to. The same on all ranks.
pub(super) struct Recovery<R> {
    policy: DivergencePolicy,
    limit: usize,
    /// The last checkpoint, in memory: only where the policy goes back to it.
    last: Option<Checkpoint<Progress<R>>>,
}

impl<R: Records> Recovery<R> {
    /// Of `run.on_divergence` and `run.divergence_limit`.
    pub fn new(run: &RunSection) -> Self {
        Self { policy: run.on_divergence, limit: run.divergence_limit, last: None }
    }

    /// Whether a moment to go back to is wanted and there is none yet.
    pub fn needs_checkpoint(&self) -> bool {
        self.policy == DivergencePolicy::Rewind && self.last.is_none()
    }

    /// Goes back to `checkpoint`, if it has to.
    pub fn keep(&mut self, checkpoint: &Checkpoint<Progress<R>>) {
        if self.policy == DivergencePolicy::Rewind {
            self.last = Some(checkpoint.clone());
        }
    }

    /// Decides where the run goes on, and puts `state` and `progress` there.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] where the policy stops, or has been tried too often.
    pub fn recover(
        &self,
        divergence: Divergence,
        state: &mut impl Resumable,
        progress: &mut Progress<R>,
        ranks: &Ranks,
    ) -> Result<(GoesOn, Incident), TrainError> {
        let what = divergence.fact();
        let step = progress.global_step + 1;
        match (self.policy, &self.last) {
            (DivergencePolicy::Skip, _) if progress.dropped_in_a_row < self.limit => {
                progress.dropped_in_a_row += 1;
                progress.dropped_steps += 1;
                Ok((GoesOn::AfterStep, Incident::Dropped { step, what }))
            }
            (DivergencePolicy::Rewind, Some(last)) if progress.rewinds < self.limit => {
                let rewinds = progress.rewinds + 1;
                last.restore(state, Path::new("the last checkpoint"), ranks)?;
                *progress = Progress { rewinds, ..last.header.progress.clone() };
                Ok((GoesOn::Earlier, Incident::Rewound { step, to_step: progress.global_step, what }))
            }
            _ => Err(TrainError::Diverged(Box::new(divergence))),
        }
    }
}
