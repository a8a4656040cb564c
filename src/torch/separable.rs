//! Depthwise separable convolution of one input for several edges: what sep_conv and dil_conv are made of, and where
//! supernets and evaluation networks spend their time.
//!
//! In libtorch's operations this is a BatchNorm, a ReLU, a copy for each edge and two convolutions, each with its own
//! passes over memory and its own saved tensors. Here every image passes through all of them in a core's own cache, and
//! only the input and the weights are kept for backward: the rest is computed again. The kernels are in the folders
//! `depthwise` and `separable`.

use std::ffi::c_char;
use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

use super::layout::note_copies;
use super::norm::{CBatchNorm, Norm};
use super::{DepthwiseGeometry, TorchError, take_message};

unsafe extern "C" {
    fn pdarts_separable(
        x: *const C_tensor,
        depthwise_weight: *const C_tensor,
        pointwise_weight: *const C_tensor,
        stride: i64,
        dilation: i64,
        norm: *const CBatchNorm,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// The weights of `E` edges.
#[derive(Copy, Clone, Debug)]
pub struct SeparableWeights<'a> {
    /// `[E * C, 1, k, k]` with `k` 3, 5 or 7.
    pub depthwise: &'a Tensor,
    /// `[G * out, E * C / G, 1, 1]` for `G` groups of channels.
    pub pointwise: &'a Tensor,
}

/// Pointwise convolution of the depthwise convolution of the ReLU of `x`, which is normalised first if `norm` is given.
///
/// `x`: `[N, C, H, W]`, best in channels-last memory (anything else is copied). Channel `e * C + c` between the two
/// convolutions is channel `c` of the input under edge `e`'s kernel. Returns `[N, G * out, H / stride, W / stride]`
/// (rounded up, channels last).
///
/// On the CPU a bfloat16 `x` is computed with in single precision, and the result is rounded once; its weights may be in
/// either type, and BatchNorm's values are in single precision.
///
/// Sums over the batch are taken in an order that depends on the sizes alone, so results do not depend on the number of
/// threads. On the CPU the gradients cannot be differentiated again.
///
/// # Errors
/// When shapes, types or devices do not fit, when there is but one value per channel to take statistics of, or when the
/// other ranks cannot be reached.
pub fn separable_conv(
    x: &Tensor,
    weights: SeparableWeights<'_>,
    geometry: DepthwiseGeometry,
    norm: Option<Norm<'_>>,
) -> Result<Tensor, TorchError> {
    let norm = norm.map(CBatchNorm::from);
    let mut output = ptr::null_mut();
    // SAFETY: the inputs are live tensors or null where the shim allows it; on success it stores a new tensor in
    // `output`.
    take_message(unsafe {
        pdarts_separable(
            x.as_ptr(),
            weights.depthwise.as_ptr(),
            weights.pointwise.as_ptr(),
            geometry.stride,
            geometry.dilation,
            norm.as_ref().map_or(ptr::null(), ptr::from_ref),
            &mut output,
        )
    })?;
    note_copies();
    // SAFETY: the shim succeeded, so `output` is a tensor that nobody else owns.
    Ok(unsafe { Tensor::from_ptr(output) })
}
