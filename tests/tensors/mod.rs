//! What tests of operations on tensors share.

use tch::{Kind, Tensor};

/// Largest difference, relative to the largest value (or 1 if that is smaller).
pub fn error(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!(ours.size(), theirs.size());
    let theirs = theirs.to_kind(Kind::Double);
    let scale = theirs.abs().max().double_value(&[]).max(1.0);
    (ours.to_kind(Kind::Double) - theirs).abs().max().double_value(&[]) / scale
}

/// The values as a tensor of their own, of which gradients are wanted.
pub fn leaf(values: &Tensor) -> Tensor {
    values.detach().set_requires_grad(true)
}
