//! Which answers are right: the rule of top-1 and top-5 accuracy.

use tch::{TchError, Tensor};

/// The k of top-5 accuracy.
const TOP: i64 = 5;

/// Which images have their right answers where, `[N, 5]`, bool: column `k` says whether the class with the `k`-th largest
/// of the image's `logits` (`[N, classes]`) is that of its label (`labels`: `[N]`). Narrower with fewer than 5 classes.
pub(super) fn hits(logits: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
    let num_classes = logits.size().last().copied().unwrap_or(1);
    let (_, ranked) = logits.f_topk(num_classes.min(TOP), -1, true, true)?;
    ranked.f_eq_tensor(&labels.f_unsqueeze(1)?)
}
