//! Batch normalisation by the statistics of all ranks' images.
//!
//! Each BatchNorm in training sums over ranks: once forward (number, sum and sum of squares of each channel), once
//! backward (the gradient and its product with the input). Which sums these are and how they are used is in `branch_sum`, in
//! `separable` and, for the operations of a supernet, in `mix`; of libtorch's operations in the folder `sync_batch_norm`.

use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, PoisonError, RwLock};

use tch::Tensor;
use torch_sys::C_tensor;

use super::give_message;

/// Sums a tensor in place over all ranks; see [`synchronise_batch_norm`].
pub type SumOverRanks = Arc<dyn Fn(&Tensor) -> Result<(), String> + Send + Sync>;

/// For the whole process, since the layers, which do not know of ranks, and autograd's threads all come here.
static SUM_OVER_RANKS: RwLock<Option<SumOverRanks>> = RwLock::new(None);

type CReduce = extern "C" fn(*mut C_tensor) -> *mut c_char;

unsafe extern "C" {
    fn pdarts_synchronise_batch_norm(reduce: Option<CReduce>);
}

/// From now on every BatchNorm in training takes the statistics of all ranks' images, until this is called with `None`;
/// not to be called between a forward pass and its backward pass.
///
/// `sum_over_ranks` replaces a contiguous tensor (double precision, on the device of the images) by its sum over ranks
/// and returns when the sum may be used: on a GPU, when the current stream will see it. It is called in forward passes
/// and on autograd's threads, in the same order on every rank as long as all compute the same network.
///
/// With this, all ranks compute the gradient of the sum of their losses with respect to their own activations. The
/// gradients of parameters are each rank's share of it: averaged over ranks, as without this, they are the gradient of
/// the mean loss. Source: Peng et al., MegDet (arXiv:1711.07240), section 3.3, and Zhang et al., Context Encoding
/// (arXiv:1803.08904), section 3.3.
pub fn synchronise_batch_norm(sum_over_ranks: Option<SumOverRanks>) {
    let reduce = sum_over_ranks.is_some().then_some(reduce as CReduce);
    *SUM_OVER_RANKS.write().unwrap_or_else(PoisonError::into_inner) = sum_over_ranks;
    // SAFETY: sets an atomic variable to a function that is never unloaded, or to null.
    unsafe { pdarts_synchronise_batch_norm(reduce) };
}

fn sum_over_ranks() -> Option<SumOverRanks> {
    SUM_OVER_RANKS.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Called by the shim; returns null or a message that it frees.
extern "C" fn reduce(tensor: *mut C_tensor) -> *mut c_char {
    // SAFETY: the shim passes a live tensor; this is a second handle on it.
    let tensor = unsafe { Tensor::clone_from_ptr(tensor) };
    let call = || sum_over_ranks().map_or(Ok(()), |sum_over_ranks| sum_over_ranks(&tensor));
    // Unwinding through libtorch is not possible; the panic hook has reported the panic itself.
    let result = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err("the reduction panicked".into()));
    result.map_or_else(|message| give_message(&message), |()| ptr::null_mut())
}
