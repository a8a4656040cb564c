//! ReLU and depthwise convolution of one input for several edges: the operation a supernet spends its time in.
//!
//! libtorch wants the input repeated once for each edge and runs a ReLU, a copy and a convolution, each with its own
//! pass over memory and its own saved tensors. Here the input is read once for all edges, and only the input and the
//! weights are kept for backward. The kernels are in the folder `depthwise`.

use std::ffi::c_char;
use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

use super::layout::note_copies;
use super::{TorchError, take_message};

unsafe extern "C" {
    fn pdarts_relu_depthwise(
        x: *const C_tensor,
        weight: *const C_tensor,
        stride: i64,
        dilation: i64,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// How a depthwise convolution walks over its input; its padding is `dilation * (kernel - 1) / 2`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct DepthwiseGeometry {
    /// 1 or 2.
    pub stride: i64,
    /// 1 or 2.
    pub dilation: i64,
}

/// Depthwise convolution of the ReLU of `x` for `E` edges.
///
/// `x`: `[N, C, H, W]`, best in channels-last memory (anything else is copied); `weight`: `[E * C, 1, k, k]` with `k`
/// 3, 5 or 7. Channel `e * C + c` of the result `[N, E * C, H / stride, W / stride]` (rounded up, channels last) is
/// channel `c` of the input under edge `e`'s kernel.
///
/// On the CPU a bfloat16 `x` is computed with in single precision, and the result is rounded once; `weight` may be in
/// either type.
///
/// The gradients are summed in an order that depends on the sizes alone, so results do not depend on the number of
/// threads. On the CPU they cannot be differentiated again.
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn relu_depthwise(x: &Tensor, weight: &Tensor, geometry: DepthwiseGeometry) -> Result<Tensor, TorchError> {
    let mut output = ptr::null_mut();
    let DepthwiseGeometry { stride, dilation } = geometry;
    // SAFETY: the inputs are live tensors; on success the shim stores a new tensor in `output`.
    take_message(unsafe { pdarts_relu_depthwise(x.as_ptr(), weight.as_ptr(), stride, dilation, &mut output) })?;
    note_copies();
    // SAFETY: the shim succeeded, so `output` is a tensor that nobody else owns.
    Ok(unsafe { Tensor::from_ptr(output) })
}
