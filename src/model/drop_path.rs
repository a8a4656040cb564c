//! The draws of drop path.
//!
//! Source: Larsson, Maire and Shakhnarovich, *FractalNet* (arXiv:1605.07648), section 3.1, in the form of the authors'
//! code: one Bernoulli draw for each image and branch, what stays scaled by `1 / keep`.

use tch::Tensor;

use crate::torch::{TorchError, dropout};

/// Draws, by libtorch's generator, which images of a branch `value` `[N, C, H, W]` keep it: `[N, 1, 1, 1]`, 0 with
/// `probability` (less than 1), else `1 / keep`.
///
/// # Errors
/// When libtorch refuses, for example for want of memory.
pub fn drop_path_mask(value: &Tensor, probability: f64) -> Result<Tensor, TorchError> {
    let keep = 1.0 - probability;
    let options = (value.kind(), value.device());
    let num_images = value.size().first().copied().unwrap_or(0);
    if value.device().is_cuda() {
        // By draws that a recorded step repeats.
        return dropout(&Tensor::f_ones([num_images, 1, 1, 1], options)?, probability);
    }
    let kept = Tensor::f_empty([num_images, 1, 1, 1], options)?.f_bernoulli_float_(keep)?;
    Ok(kept.f_div_scalar(keep)?)
}
