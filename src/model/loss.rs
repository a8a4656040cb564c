//! The loss of classification.

use tch::{Reduction, Tensor};

/// libtorch's default: no class has this number.
const IGNORED_LABEL: i64 = -100;

/// Mean cross-entropy of `logits` `[N, classes]` in their own precision (tch's `cross_entropy_for_logits` computes in
/// float32); `label_smoothing` of the target goes to all classes alike (arXiv:1512.00567, section 7).
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, label_smoothing: f64) -> Tensor {
    logits.cross_entropy_loss(labels, None::<&Tensor>, Reduction::Mean, IGNORED_LABEL, label_smoothing)
}
