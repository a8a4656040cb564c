//! Dropout that a recorded step can draw anew at each replay.

use std::ffi::c_char;
use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

use super::{TorchError, take_message};

unsafe extern "C" {
    fn pdarts_dropouts(
        x: *const C_tensor,
        probability: f64,
        num_copies: usize,
        outputs: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// So many copies of `x`, each drawn by itself: each element is 0 with `probability` (less than 1), else divided by
/// `1 - probability`.
///
/// On the CPU libtorch's generator draws. Where the GPU kernels serve, a seed of libtorch's CPU generator decides all elements
/// of up to four copies by their place in memory, and backward draws them again instead of keeping masks; those are one kernel.
///
/// # Errors
/// When libtorch refuses, for example for want of memory.
pub fn dropouts(x: &Tensor, probability: f64, num_copies: usize) -> Result<Vec<Tensor>, TorchError> {
    let mut outputs = vec![ptr::null_mut(); num_copies];
    // SAFETY: the input is a live tensor; on success the shim stores as many new tensors in `outputs` as it has places.
    take_message(unsafe { pdarts_dropouts(x.as_ptr(), probability, num_copies, outputs.as_mut_ptr()) })?;
    // SAFETY: the shim succeeded, so these are tensors that nobody else owns.
    Ok(outputs.into_iter().map(|output| unsafe { Tensor::from_ptr(output) }).collect())
}

/// A single one of [`dropouts`].
///
/// # Errors
/// Those of [`dropouts`].
pub fn dropout(x: &Tensor, probability: f64) -> Result<Tensor, TorchError> {
    Ok(dropouts(x, probability, 1)?.remove(0))
}
