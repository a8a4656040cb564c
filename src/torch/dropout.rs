//! Dropout that a recorded step can draw anew at each replay.

use std::ffi::c_char;
use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

use super::{TorchError, take_message};

unsafe extern "C" {
    fn pdarts_dropout(x: *const C_tensor, probability: f64, output: *mut *mut C_tensor) -> *mut c_char;
}

/// `x` with each element 0 with `probability` (less than 1), else divided by `1 - probability`.
///
/// On the CPU libtorch's generator draws it. Where the GPU kernels serve, a seed of libtorch's CPU generator decides all elements
/// by their place in memory, and backward draws them again instead of keeping a mask.
///
/// # Errors
/// When libtorch refuses, for example for want of memory.
pub fn dropout(x: &Tensor, probability: f64) -> Result<Tensor, TorchError> {
    let mut output = ptr::null_mut();
    // SAFETY: the input is a live tensor; on success the shim stores a new tensor in `output`.
    take_message(unsafe { pdarts_dropout(x.as_ptr(), probability, &mut output) })?;
    // SAFETY: the shim succeeded, so `output` is a tensor that nobody else owns.
    Ok(unsafe { Tensor::from_ptr(output) })
}
