//! BatchNorm as operations with kernels of their own take it.

use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

/// What BatchNorm keeps for evaluation, for each channel.
#[derive(Copy, Clone, Debug)]
pub struct RunningStatistics<'a> {
    /// Moved in training by the batch's mean.
    pub mean: &'a Tensor,
    /// Moved in training by the batch's unbiased variance.
    pub var: &'a Tensor,
}

/// A BatchNorm (momentum 0.1, epsilon 1e-5).
#[derive(Copy, Clone, Debug)]
pub struct Norm<'a> {
    /// Scale and shift `[C]`.
    pub affine: Option<(&'a Tensor, &'a Tensor)>,
    /// `[C]`, moved in training.
    pub running: RunningStatistics<'a>,
    /// Whether to normalise by the batch's statistics (or those of all ranks' batches, see
    /// [`synchronise_batch_norm`](super::synchronise_batch_norm)), else by the running ones.
    pub training: bool,
}

/// As the shim takes it.
#[repr(C)]
pub(super) struct CBatchNorm {
    weight: *const C_tensor,
    bias: *const C_tensor,
    running_mean: *const C_tensor,
    running_var: *const C_tensor,
    training: bool,
}

impl From<Norm<'_>> for CBatchNorm {
    fn from(Norm { affine, running, training }: Norm<'_>) -> Self {
        let (weight, bias) =
            affine.map_or((ptr::null(), ptr::null()), |(weight, bias)| (weight.as_ptr(), bias.as_ptr()));
        Self { weight, bias, running_mean: running.mean.as_ptr(), running_var: running.var.as_ptr(), training }
    }
}
