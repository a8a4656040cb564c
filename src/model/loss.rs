//! The loss of classification.

use tch::{Reduction, Tensor};

use crate::torch::TorchError;

/// libtorch's default: no class has this number.
const IGNORED_LABEL: i64 = -100;

/// Mean cross-entropy of `logits` `[N, classes]` in their own precision (tch's `cross_entropy_for_logits` computes in
/// float32). `targets`: a class for each, `[N]`, or how much of each class there is, `[N, classes]` in the type of the
/// logits. `label_smoothing` of the target goes to all classes alike (arXiv:1512.00567, section 7).
///
/// # Errors
/// When targets do not fit the logits, or for want of memory.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor, label_smoothing: f64) -> Result<Tensor, TorchError> {
    let weights = None::<&Tensor>;
    Ok(logits.f_cross_entropy_loss(targets, weights, Reduction::Mean, IGNORED_LABEL, label_smoothing)?)
}
