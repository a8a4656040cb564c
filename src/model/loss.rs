//! The loss of classification.

use tch::{Reduction, Tensor};

use crate::torch::TorchError;

/// libtorch's default: no class has this number.
const IGNORED_LABEL: i64 = -100;

/// Mean cross-entropy of `logits` `[N, classes]` in their own precision (tch's `cross_entropy_for_logits` computes in
/// float32); `label_smoothing` of the target goes to all classes alike (arXiv:1512.00567, section 7).
///
/// # Errors
/// When labels do not fit the logits, or for want of memory.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, label_smoothing: f64) -> Result<Tensor, TorchError> {
    let weights = None::<&Tensor>;
    Ok(logits.f_cross_entropy_loss(labels, weights, Reduction::Mean, IGNORED_LABEL, label_smoothing)?)
}
