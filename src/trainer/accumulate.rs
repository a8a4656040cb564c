//! The gradient of a step's images, computed in parts that need less memory.

use tch::Tensor;

use super::{ImageBatch, StepImages, StepResult, TrainError};
use crate::world::{World, activity};

/// Adds the gradient of the mean loss of `images`, part by part; calls `before_last` before the last part's backward
/// pass. `forward` gives the mean loss and the logits of a part.
///
/// # Errors
/// Those of loading, of `forward`, and of the backward pass.
pub(super) fn forward_backward(
    images: &mut StepImages<'_>,
    forward: impl Fn(&ImageBatch) -> Result<StepResult, TrainError>,
    before_last: impl Fn(),
) -> Result<StepResult, TrainError> {
    let num_parts = images.num_parts();
    let mut results = Vec::with_capacity(num_parts);
    for index in 0..num_parts {
        let part = images.part(index)?;
        let span = activity::phase("forward");
        let StepResult { loss, logits, labels } = forward(&part)?;
        drop(span);
        if index + 1 == num_parts {
            before_last();
        }
        let _span = activity::phase("backward");
        let loss = if num_parts == 1 { loss } else { loss.f_div_scalar(num_parts as f64)? };
        loss.f_backward()?;
        results.push(StepResult { loss: loss.f_detach()?, logits: logits.f_detach()?, labels });
    }
    if results.len() == 1 {
        return Ok(results.remove(0));
    }
    let all = |field: fn(&StepResult) -> &Tensor| results.iter().map(field).collect::<Vec<_>>();
    Ok(StepResult {
        loss: Tensor::f_stack(&all(|result| &result.loss), 0)?.f_sum(None)?,
        logits: Tensor::f_cat(&all(|result| &result.logits), 0)?,
        labels: Tensor::f_cat(&all(|result| &result.labels), 0)?,
    })
}

/// As in `48 images a step on each of 2 ranks, in 4 parts`.
pub(super) fn describe_batch(global_batch: usize, num_parts: usize, world: &World) -> String {
    let of_rank = global_batch.div_ceil(world.size.max(1));
    let ranks = if world.size > 1 { format!(" on each of {} ranks", world.size) } else { String::new() };
    let parts = if num_parts > 1 { format!(", in {num_parts} parts") } else { String::new() };
    format!("{of_rank} images a step{ranks}{parts}")
}
