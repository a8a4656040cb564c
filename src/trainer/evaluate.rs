//! Loss and accuracy on images that are not trained on.

use tch::{Kind, no_grad};

use super::tally::{Tally, TallySums};
use super::{ImageBatch, SearchState, StopSignal, TrainError};
use crate::data::Loader;
use crate::search::ForwardMode;
use crate::world::World;

/// One pass over `loader` in evaluation mode; every image counts once. A signal to stop ends the pass early.
///
/// # Errors
/// When loading or libtorch fails.
pub fn evaluate(
    state: &SearchState,
    loader: &Loader,
    world: &World,
    stop: &StopSignal,
) -> Result<TallySums, TrainError> {
    no_grad(|| {
        let mut tally = Tally::from_sums(TallySums::default(), world.device);
        for batch in loader.batches(0, 0..loader.num_steps())? {
            if stop.requested().is_some() {
                break;
            }
            let batch = ImageBatch::from_host(&batch?, world.device, Kind::Float)?;
            let result = state.forward(&batch, ForwardMode::evaluation())?;
            tally.add(&result.loss, &result.logits, &batch.labels);
        }
        Ok(tally.sums())
    })
}
