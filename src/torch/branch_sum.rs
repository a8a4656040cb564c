//! The sum of the branches that make up a node of an evaluation network, or a single BatchNorm.
//!
//! In libtorch's operations this is a BatchNorm for each branch, a product with drop path's mask and an addition, each with
//! its own passes over memory in both directions. Here one pass takes the statistics of each branch and one writes the sum;
//! backward likewise sums once and writes once. Only the branches before normalisation are kept for backward. The passes
//! are in `branch_sum/forward.h` and `branch_sum/backward.h`, their kernels in `channelwise`.

use std::ffi::c_char;
use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

use super::layout::note_copies;
use super::norm::{CBatchNorm, Norm};
use super::{TorchError, take_message};

#[repr(C)]
struct CBranch {
    y: *const C_tensor,
    norm: *const CBatchNorm,
    mask: *const C_tensor,
}

unsafe extern "C" {
    fn pdarts_branch_sum(branches: *const CBranch, num_branches: i64, output: *mut *mut C_tensor) -> *mut c_char;
}

/// What an operation adds to a node.
#[derive(Debug)]
pub struct NodeBranch<'a> {
    /// Its output `[N, C, H, W]`, best in channels-last memory.
    pub y: Tensor,
    /// What normalises it.
    pub norm: Option<Norm<'a>>,
    /// What each image's values are multiplied with once they are normalised: `[N, 1, 1, 1]`, of the kind of `y`.
    pub mask: Option<Tensor>,
}

/// The sum of `branches`, of one shape, kind and device: `[N, C, H, W]`, channels last.
///
/// Branches in bfloat16 are computed with in single precision, and the sum is rounded once. Sums over the batch are taken in
/// an order that depends on the sizes alone, so results do not depend on the number of threads. The gradients cannot be
/// differentiated again; masks have none.
///
/// # Errors
/// When shapes, types or devices do not fit, when there is but one value per channel to take statistics of, or when the
/// other ranks cannot be reached.
pub fn branch_sum(branches: &[NodeBranch<'_>]) -> Result<Tensor, TorchError> {
    let norms: Vec<Option<CBatchNorm>> = branches.iter().map(|branch| branch.norm.map(CBatchNorm::from)).collect();
    let c_branches: Vec<CBranch> = branches
        .iter()
        .zip(&norms)
        .map(|(NodeBranch { y, mask, .. }, norm)| CBranch {
            y: y.as_ptr(),
            norm: norm.as_ref().map_or(ptr::null(), ptr::from_ref),
            mask: mask.as_ref().map_or(ptr::null(), |mask| mask.as_ptr()),
        })
        .collect();
    let mut output = ptr::null_mut();
    // SAFETY: all pointers are to live tensors and to arrays of the length given with them, or null where the shim allows
    // it; it keeps none of them. On success it stores a new tensor in `output`.
    take_message(unsafe { pdarts_branch_sum(c_branches.as_ptr(), c_branches.len() as i64, &mut output) })?;
    note_copies();
    // SAFETY: the shim succeeded, so `output` is a tensor that nobody else owns.
    Ok(unsafe { Tensor::from_ptr(output) })
}
