//! The gradient of a step's images, computed in parts that need less memory.

use std::hash::Hash;

use tch::Tensor;

use super::parallel::RankAverages;
use super::replay::{Doing, Replays};
use super::tally::{ForwardResult, StepSums};
use super::{ImageBatch, StepImages, StepResult, TrainError};
use crate::optim::FlatParameters;
use crate::torch::TorchError;
use crate::world::{World, activity};

/// One kind of pass over images.
pub(super) struct Pass<'a, K> {
    /// What was recorded of such passes.
    pub replays: &'a mut Replays<K>,
    /// Passes of one kind queue the same work: those of all parts but the last, and that of the last.
    pub kinds: [K; 2],
    /// What they draw with.
    pub probability: f64,
    /// What they compute gradients of.
    pub trained: &'a [&'a FlatParameters],
    /// What they add to.
    pub sums: &'a StepSums,
    /// Who averages the gradients over ranks, if somebody does.
    pub ranks: Option<&'a RankAverages>,
}

/// Images of a part of a step, and what the loss compares with.
pub(super) struct PassInputs {
    pub images: Tensor,
    /// The right answers.
    pub labels: Tensor,
    /// What the network should say instead, where that is not the labels.
    pub targets: Option<Tensor>,
}

impl From<&ImageBatch> for PassInputs {
    fn from(batch: &ImageBatch) -> Self {
        Self { images: batch.images.shallow_clone(), labels: batch.labels.shallow_clone(), targets: None }
    }
}

/// Adds up the gradients of the mean loss of `images`, part by part, and sends them to the other ranks as the last backward pass
/// completes them. `prepare` gives the inputs of a part's pass, images and targets, of which `forward` gives the mean loss and the
/// logits.
///
/// # Errors
/// Those of loading, of `prepare` and `forward`, and of the backward pass.
pub(super) fn forward_backward<K: Copy + Eq + Hash>(
    images: &mut StepImages<'_>,
    pass: Pass<'_, K>,
    prepare: impl Fn(&ImageBatch) -> Result<PassInputs, TrainError>,
    forward: impl Fn(&Tensor, &Tensor) -> Result<ForwardResult, TrainError>,
) -> Result<StepResult, TrainError> {
    let Pass { replays, kinds, probability, trained, sums, ranks } = pass;
    let num_parts = images.num_parts();
    sums.clear()?;
    let mut num_images = 0;
    for index in 0..num_parts {
        let PassInputs { images, labels, targets } = prepare(&images.part(index)?)?;
        let inputs: Vec<&Tensor> = [&images, &labels].into_iter().chain(&targets).collect();
        let is_last = index + 1 == num_parts;
        let ranks = ranks.filter(|_| is_last);
        let computed = |inputs: &[&Tensor], doing: Doing| {
            let span = activity::phase("forward");
            let (images, labels) = (inputs[0], inputs[1]);
            let result = forward(images, inputs.get(2).unwrap_or(&labels))?;
            drop(span);
            let records = matches!(doing, Doing::Recording(_));
            if let Some(ranks) = ranks {
                match doing {
                    Doing::Now => ranks.arm(),
                    Doing::Recording(cut) => ranks.arm_recording(cut),
                }
            }
            let span = activity::phase("backward");
            let outcome = match num_parts {
                1 => backward(&result.loss, trained),
                _ => backward(&result.loss.f_div_scalar(num_parts as f64)?, trained),
            };
            drop(span);
            // Why it could not be cut says more than that the pass ended there.
            if let Some(ranks) = ranks.filter(|_| records) {
                ranks.end_recording()?;
            }
            outcome?;
            Ok(sums.add(&result, labels)?)
        };
        let send = ranks.map(|ranks| |num_buckets| ranks.send_up_to(num_buckets));
        let between = send.as_ref().map(|send| send as &dyn Fn(usize));
        replays.run_in_parts(kinds[usize::from(is_last)], &inputs, probability, computed, between)?;
        num_images += labels.numel() as u64;
    }
    Ok(sums.result(num_images)?)
}

/// Adds up what the gradient of `loss` is. A pass that fails leaves nothing at the parameters that the next would add to.
fn backward(loss: &Tensor, trained: &[&FlatParameters]) -> Result<(), TrainError> {
    let added = loss.f_backward().map_err(TorchError::from);
    let added = added.and_then(|()| trained.iter().try_for_each(|parameters| parameters.accumulate_gradients()));
    if added.is_err() {
        trained.iter().for_each(|parameters| parameters.drop_gradients());
    }
    Ok(added?)
}

/// As in `48 images a step on each of 2 ranks, in 4 parts`.
pub(super) fn describe_batch(global_batch: usize, num_parts: usize, world: &World) -> String {
    let of_rank = global_batch.div_ceil(world.size.max(1));
    let ranks = if world.size > 1 { format!(" on each of {} ranks", world.size) } else { String::new() };
    let parts = if num_parts > 1 { format!(", in {num_parts} parts") } else { String::new() };
    format!("{of_rank} images a step{ranks}{parts}")
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, no_grad};

    use super::*;
    use crate::model::NamedTensor;

    #[test]
    fn pass_that_failed_adds_nothing_to_the_one_that_takes_its_place() {
        let parameter = || Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let tensors = ["a", "b"].map(|name| NamedTensor { name: name.into(), tensor: parameter() });
        let [a, b] = [0, 1].map(|index: usize| &tensors[index].tensor);
        let flat = FlatParameters::flatten(&tensors).unwrap();
        let mut power = a.exp();
        let fails = (&power + b).sum(Kind::Float);
        // Its gradient needs the value that was there.
        let _ = no_grad(|| power.fill_(0.0));
        assert!(backward(&fails, &[&flat]).is_err());
        backward(&(a * b).sum(Kind::Float), &[&flat]).unwrap();
        assert_eq!(flat.gradients().sum(Kind::Float).double_value(&[]), 4.0);
    }
}
