//! The weighted sum of the operations that leave one state of a supernet cell, added to the nodes it leads to.
//!
//! In libtorch's operations this is a BatchNorm, a product with the architecture weight and a sum for every operation,
//! each with its own passes over memory in both directions. Here one pass takes the statistics of each operation, and
//! one more adds all of them to all nodes; backward likewise sums once and writes once. Only the operations' outputs
//! before normalisation are kept for backward. The passes are in `mix/forward.h` and `mix/backward.h`,
//! their kernels in `channelwise`.

use std::ffi::c_char;
use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

use super::layout::note_copies;
use super::{RunningStatistics, TorchError, take_message};

#[repr(C)]
struct CBranch {
    y: *const C_tensor,
    running_mean: *const C_tensor,
    running_var: *const C_tensor,
    nodes: *const i64,
    num_edges: i64,
    per_edge: bool,
}

unsafe extern "C" {
    fn pdarts_mix(
        sums: *mut *mut C_tensor,
        num_sums: i64,
        branches: *const CBranch,
        num_branches: i64,
        weights: *const C_tensor,
        training: bool,
    ) -> *mut c_char;
}

/// One operation on its edges.
#[derive(Debug)]
pub struct Branch<'a> {
    /// Its output before BatchNorm: `[N, E * C, H, W]` with a block of channels for each of its `E` edges when
    /// `per_edge`, else `[N, C, H, W]` for all of them. Best in channels-last memory. Of the weights' type, or all of
    /// bfloat16 with weights, statistics and sums in single precision.
    pub y: Tensor,
    /// Whether each edge has its own channels.
    pub per_edge: bool,
    /// `None` for an operation that is not normalised.
    pub running: Option<RunningStatistics<'a>>,
    /// The node that each edge leads to.
    pub nodes: Vec<i64>,
}

/// Adds to `sums[n]` every edge to node `n` of every branch: its weight times its operation's output, normalised
/// (momentum 0.1, epsilon 1e-5, without scale and shift) by the batch's statistics when `training`, else by the running
/// ones. A sum that is `None` begins with its first edge; others must come from earlier calls and are changed in place.
///
/// `weights`: `[E]` over the edges of all branches in turn.
///
/// Sums over the batch are taken in an order that depends on the sizes alone, so results do not depend on the number
/// of threads. On the CPU the gradients cannot be differentiated again.
///
/// # Errors
/// When shapes, types or devices do not fit, or when there is but one value per channel to take statistics of.
pub fn mix(
    sums: &mut [Option<Tensor>],
    branches: &[Branch<'_>],
    weights: &Tensor,
    training: bool,
) -> Result<(), TorchError> {
    let pointer = |tensor: Option<&Tensor>| tensor.map_or(ptr::null(), |tensor| tensor.as_ptr());
    let c_branches: Vec<CBranch> = branches
        .iter()
        .map(|Branch { y, per_edge, running, nodes }| CBranch {
            y: y.as_ptr(),
            running_mean: pointer(running.map(|running| running.mean)),
            running_var: pointer(running.map(|running| running.var)),
            nodes: nodes.as_ptr(),
            num_edges: nodes.len() as i64,
            per_edge: *per_edge,
        })
        .collect();
    let mut c_sums: Vec<*mut C_tensor> =
        sums.iter().map(|sum| sum.as_ref().map_or(ptr::null_mut(), |sum| sum.as_ptr().cast_mut())).collect();
    // SAFETY: all pointers are to live tensors and to arrays of the lengths given with them, or null where the shim
    // allows it; it keeps none of them.
    take_message(unsafe {
        pdarts_mix(
            c_sums.as_mut_ptr(),
            c_sums.len() as i64,
            c_branches.as_ptr(),
            c_branches.len() as i64,
            weights.as_ptr(),
            training,
        )
    })?;
    note_copies();
    for (sum, c_sum) in sums.iter_mut().zip(c_sums) {
        if sum.is_none() && !c_sum.is_null() {
            // SAFETY: the shim put a new tensor, which nobody else owns, where there was null.
            *sum = Some(unsafe { Tensor::from_ptr(c_sum) });
        }
    }
    Ok(())
}
