//! Steps of a run that is to be, tried out: what they take, and what the run will.

use std::time::Instant;

use serde::Serialize;

use super::TrainError;
use super::checkpoint::Checkpoint;
use super::epoch::{StepPlace, Task};
use super::progress::Progress;
use super::tally::{EpochSums, EpochTally};
use crate::world::{Label, World, forget_peak_memory, peak_memory_mib};

/// A forward pass as a part of a step, for batches that are only scored.
const SHARE_OF_FORWARD: f64 = 1.0 / 3.0;

/// A part of a run whose steps are alike, after some of them were taken.
#[derive(Clone, Debug, Serialize)]
pub struct Rehearsal {
    /// As in `stage 2`.
    pub part: String,
    /// The network in words.
    pub network: String,
    /// Of the slowest rank, with loading and exchange.
    pub weight_step_seconds: f64,
    /// Of a step of the alphas, where they are trained.
    pub alpha_step_seconds: Option<f64>,
    /// Most host memory of a rank so far, where the system tells it.
    pub peak_memory_mib: Option<f64>,
    /// Of one file.
    pub checkpoint_bytes: u64,
    /// Estimate of the whole part.
    pub seconds: f64,
}

/// How often a part does what.
#[derive(Copy, Clone, Debug)]
pub(super) struct Amount {
    /// Epochs whose steps take `weight_step_seconds`.
    pub weight_epochs: usize,
    /// Epochs whose steps also take `alpha_step_seconds`.
    pub both_epochs: usize,
    pub steps_per_epoch: usize,
    /// Batches that are scored.
    pub scored_batches: usize,
}

impl Amount {
    pub fn seconds(&self, weight_step: f64, alpha_step: f64) -> f64 {
        let Self { weight_epochs, both_epochs, steps_per_epoch, scored_batches } = *self;
        let weight_steps = ((weight_epochs + both_epochs) * steps_per_epoch) as f64;
        let alpha_steps = (both_epochs * steps_per_epoch) as f64;
        weight_steps * weight_step + alpha_steps * alpha_step + scored_batches as f64 * SHARE_OF_FORWARD * weight_step
    }
}

/// Seconds of the first step of `epoch` (from 0), of the slowest rank: of two, after one to warm up, the faster, for other
/// programs make a step slower now and then. All ranks call this together.
pub(super) fn time_step<T: Task>(task: &mut T, epoch: usize, world: &World) -> Result<f64, TrainError> {
    let mut seconds = [f64::INFINITY; 3];
    for seconds in &mut seconds {
        let mut batches = task.batches(epoch, 0..1, 0)?;
        let mut tally = EpochTally::from_sums(EpochSums::default(), world.device)?;
        let start = Instant::now();
        let step = task.step(StepPlace { epoch, step: 0 }, &mut batches, &mut tally);
        step.map_err(|error| error.explained(|| task.demand(epoch)))?;
        // Waits for the device.
        tally.sums()?;
        *seconds = start.elapsed().as_secs_f64();
    }
    largest(seconds[1].min(seconds[2]), world)
}

/// Begins to measure the memory of a part.
pub(super) fn begin() {
    forget_peak_memory();
}

/// The most memory of a rank since [`begin`]. All ranks call this together.
pub(super) fn peak_memory(world: &World) -> Result<Option<f64>, TrainError> {
    let peak = largest(peak_memory_mib().unwrap_or(f64::NAN), world)?;
    Ok(peak.is_finite().then_some(peak))
}

/// Bytes of a checkpoint of `task`. All ranks call this together.
pub(super) fn checkpoint_bytes<T: Task>(
    task: &T,
    progress: &Progress<T::Records>,
    world: &World,
) -> Result<u64, TrainError> {
    let checkpoint = Checkpoint::take(task.state(), progress, "", world)?;
    Ok(checkpoint.into_bytes().map_or(0, |bytes| bytes.len() as u64))
}

fn largest(value: f64, world: &World) -> Result<f64, TrainError> {
    let values = world.gather(&value, Label::new("exchange of what steps take"))?;
    Ok(values.into_iter().fold(f64::NEG_INFINITY, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimate_counts_every_step_and_every_scored_batch() {
        let amount = Amount { weight_epochs: 10, both_epochs: 15, steps_per_epoch: 100, scored_batches: 300 };
        let expected = 2500.0 * 0.2 + 1500.0 * 0.1 + 300.0 * 0.2 / 3.0;
        assert!((amount.seconds(0.2, 0.1) - expected).abs() < 1e-9);
    }
}
