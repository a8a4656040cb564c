//! The 3x3 poolings of the search space, with padding 1.
//!
//! libtorch's maximum keeps an index of eight bytes for every value, which is more than the values themselves. Here
//! backward needs one byte a value for a maximum and nothing for an average, and a forward pass without gradients keeps
//! nothing at all. The kernels are in the folder `pool`.

use std::ffi::c_char;
use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

use super::layout::note_copies;
use super::{TorchError, take_message};

unsafe extern "C" {
    fn pdarts_max_pool_3x3(x: *const C_tensor, stride: i64, output: *mut *mut C_tensor) -> *mut c_char;
    fn pdarts_avg_pool_3x3(x: *const C_tensor, stride: i64, output: *mut *mut C_tensor) -> *mut c_char;
}

/// The largest value of each 3x3 window; the first of them in row-major order gets the gradient. NaN is larger than
/// anything.
///
/// `x`: `[N, C, H, W]`, best in channels-last memory (anything without adjacent channels is copied); `stride`: 1 or 2.
/// Returns `[N, C, H / stride, W / stride]` (rounded up, channels last).
///
/// Results do not depend on the number of threads. A bfloat16 `x` is computed with in single precision, and results are
/// rounded once. On the CPU the gradient cannot be differentiated again.
///
/// # Errors
/// When `x` is no batch of images or the stride is another one.
pub fn max_pool_3x3(x: &Tensor, stride: i64) -> Result<Tensor, TorchError> {
    let mut output = ptr::null_mut();
    // SAFETY: the input is a live tensor; on success the shim stores a new tensor in `output`.
    take_message(unsafe { pdarts_max_pool_3x3(x.as_ptr(), stride, &mut output) })?;
    note_copies();
    // SAFETY: the shim succeeded, so `output` is a tensor that nobody else owns.
    Ok(unsafe { Tensor::from_ptr(output) })
}

/// The average of each 3x3 window, in which padding does not count. Otherwise as [`max_pool_3x3`].
///
/// # Errors
/// When `x` is no batch of images or the stride is another one than 1 or 2.
pub fn avg_pool_3x3(x: &Tensor, stride: i64) -> Result<Tensor, TorchError> {
    let mut output = ptr::null_mut();
    // SAFETY: the input is a live tensor; on success the shim stores a new tensor in `output`.
    take_message(unsafe { pdarts_avg_pool_3x3(x.as_ptr(), stride, &mut output) })?;
    note_copies();
    // SAFETY: the shim succeeded, so `output` is a tensor that nobody else owns.
    Ok(unsafe { Tensor::from_ptr(output) })
}
