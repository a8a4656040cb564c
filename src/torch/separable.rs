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

/// As the shim takes a call.
#[repr(C)]
struct CSeparableCall {
    x: *const C_tensor,
    depthwise_weight: *const C_tensor,
    pointwise_weight: *const C_tensor,
    stride: i64,
    dilation: i64,
    norm: *const CBatchNorm,
}

unsafe extern "C" {
    fn pdarts_separable(calls: *const CSeparableCall, num_calls: usize, outputs: *mut *mut C_tensor) -> *mut c_char;
}

/// The weights of `E` edges.
#[derive(Copy, Clone, Debug)]
pub struct SeparableWeights<'a> {
    /// `[E * C, 1, k, k]` with `k` 3, 5 or 7.
    pub depthwise: &'a Tensor,
    /// `[G * out, E * C / G, 1, 1]` for `G` groups of channels.
    pub pointwise: &'a Tensor,
}

/// What [`separable_convs`] computes: pointwise convolution of the depthwise convolution of the ReLU of `x`.
#[derive(Copy, Clone, Debug)]
pub struct SeparableCall<'a> {
    /// `[N, C, H, W]`, best in channels-last memory (anything else is copied). Channel `e * C + c` between the two convolutions
    /// is channel `c` of it under edge `e`'s kernel.
    pub x: &'a Tensor,
    /// Of both convolutions.
    pub weights: SeparableWeights<'a>,
    /// Of the depthwise convolution.
    pub geometry: DepthwiseGeometry,
    /// What `x` is normalised by first.
    pub norm: Option<Norm<'a>>,
}

/// Computes `calls`, none of which reads what another gives; each gives `[N, G * out, H / stride, W / stride]` (rounded up,
/// channels last). On a GPU they are computed together, in as many kernels as a single one, and the gradients of an input that
/// several read are added up on the way; on a CPU one after the other.
///
/// On the CPU a bfloat16 `x` is computed with in single precision, and the result is rounded once; its weights may be in
/// either type, and BatchNorm's values are in single precision.
///
/// Sums over the batch are taken in an order that depends on the sizes alone, so results do not depend on the number of
/// threads. The gradients of own kernels cannot be differentiated again.
///
/// # Errors
/// When shapes, types or devices do not fit, when there is but one value per channel to take statistics of, or when the
/// other ranks cannot be reached.
pub fn separable_convs(calls: &[SeparableCall<'_>]) -> Result<Vec<Tensor>, TorchError> {
    let norms: Vec<_> = calls.iter().map(|call| call.norm.map(CBatchNorm::from)).collect();
    let as_c = |(call, norm): (&SeparableCall<'_>, &Option<CBatchNorm>)| CSeparableCall {
        x: call.x.as_ptr(),
        depthwise_weight: call.weights.depthwise.as_ptr(),
        pointwise_weight: call.weights.pointwise.as_ptr(),
        stride: call.geometry.stride,
        dilation: call.geometry.dilation,
        norm: norm.as_ref().map_or(ptr::null(), ptr::from_ref),
    };
    let c_calls: Vec<_> = calls.iter().zip(&norms).map(as_c).collect();
    let mut outputs = vec![ptr::null_mut(); calls.len()];
    // SAFETY: the inputs are live tensors or null where the shim allows it; on success it stores as many new tensors in `outputs`
    // as there are calls.
    take_message(unsafe { pdarts_separable(c_calls.as_ptr(), c_calls.len(), outputs.as_mut_ptr()) })?;
    note_copies();
    // SAFETY: the shim succeeded, so these are tensors that nobody else owns.
    Ok(outputs.into_iter().map(|output| unsafe { Tensor::from_ptr(output) }).collect())
}

/// A single call of [`separable_convs`].
///
/// # Errors
/// Those of [`separable_convs`].
pub fn separable_conv(call: SeparableCall<'_>) -> Result<Tensor, TorchError> {
    Ok(separable_convs(&[call])?.remove(0))
}
