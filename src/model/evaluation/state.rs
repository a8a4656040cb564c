//! A state of a cell with what several of the edges that leave it have in common.

use std::cell::OnceCell;

use tch::Tensor;

use crate::torch::{TorchError, avg_pool_3x3, max_pool_3x3};

/// A state `[N, C, H, W]`. All edges that leave a state have one stride, so a pooling of it is the same for all.
pub(super) struct State {
    value: Tensor,
    relu: OnceCell<Tensor>,
    max_pool: OnceCell<Tensor>,
    avg_pool: OnceCell<Tensor>,
}

impl State {
    pub fn new(value: Tensor) -> Self {
        Self { value, relu: OnceCell::new(), max_pool: OnceCell::new(), avg_pool: OnceCell::new() }
    }

    pub fn value(&self) -> &Tensor {
        &self.value
    }

    pub fn relu(&self) -> Result<&Tensor, TorchError> {
        get_or_try_init(&self.relu, || Ok(self.value.f_relu()?))
    }

    pub fn max_pool(&self, stride: i64) -> Result<&Tensor, TorchError> {
        get_or_try_init(&self.max_pool, || max_pool_3x3(&self.value, stride))
    }

    pub fn avg_pool(&self, stride: i64) -> Result<&Tensor, TorchError> {
        get_or_try_init(&self.avg_pool, || avg_pool_3x3(&self.value, stride))
    }
}

/// What the cell holds, computed if it is empty.
fn get_or_try_init(
    cell: &OnceCell<Tensor>,
    compute: impl FnOnce() -> Result<Tensor, TorchError>,
) -> Result<&Tensor, TorchError> {
    match cell.get() {
        Some(value) => Ok(value),
        None => {
            let value = compute()?;
            Ok(cell.get_or_init(|| value))
        }
    }
}
