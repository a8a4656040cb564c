//! Loss and accuracy on images that are not trained on.

use tch::{Kind, no_grad};

use super::stop::Signal;
use super::tally::{Tally, TallySums};
use super::{ImageBatch, StepResult, StopSignal, TrainError};
use crate::data::Loader;
use crate::world::{World, activity};

/// A network whose loss and accuracy can be measured.
pub trait Evaluated {
    /// What a batch comes to in evaluation mode.
    ///
    /// # Errors
    /// When the images do not fit the network.
    fn evaluate(&self, batch: &ImageBatch) -> Result<StepResult, TrainError>;
}

/// One pass over `loader` in evaluation mode; every image counts once, on one of the ranks. Returns the sums of all
/// ranks, or the signal that ended the pass early on all of them.
///
/// # Errors
/// When loading, libtorch or the exchange fails.
pub fn evaluate(
    state: &impl Evaluated,
    loader: &Loader,
    world: &World,
    stop: &StopSignal,
) -> Result<Result<TallySums, Signal>, TrainError> {
    no_grad(|| {
        let mut tally = Tally::from_sums(TallySums::default(), world.device)?;
        // Of a last batch that is smaller than the number of ranks, some get nothing: no rank asks the others there.
        let last_question = loader.num_steps().saturating_sub(1);
        for (step, batch) in loader.batches(0, 0..loader.num_steps())?.enumerate() {
            if step < last_question
                && let Some(signal) = stop.agreed(world)?
            {
                return Ok(Err(signal));
            }
            activity::gets_on();
            let batch = ImageBatch::from_host(&batch?, world.device, Kind::Float)?;
            let result = state.evaluate(&batch)?;
            tally.add(&result)?;
        }
        Ok(Ok(TallySums::total(&tally.sums()?.gather(world)?)))
    })
}
