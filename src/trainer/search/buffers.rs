//! What a computation that tries other values puts back afterwards.

use tch::{Tensor, no_grad};

use crate::trainer::TrainError;

/// The values of `buffer` now.
///
/// # Errors
/// When libtorch has no memory for them.
pub(super) fn copy(buffer: &Tensor) -> Result<Tensor, TrainError> {
    Ok(no_grad(|| buffer.f_detach_copy())?)
}

/// Gives `buffer` these values.
///
/// # Errors
/// When libtorch refuses.
pub(super) fn put_back(buffer: &Tensor, values: &Tensor) -> Result<(), TrainError> {
    Ok(no_grad(|| buffer.shallow_clone().f_copy_(values))?)
}
