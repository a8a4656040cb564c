//! A state of a cell with what several of the edges that leave it have in common.

use std::cell::OnceCell;

use tch::Tensor;

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

    pub fn relu(&self) -> &Tensor {
        self.relu.get_or_init(|| self.value.relu())
    }

    /// 3x3 maximum.
    pub fn max_pool(&self, stride: i64) -> &Tensor {
        self.max_pool.get_or_init(|| self.value.max_pool2d([3, 3], [stride; 2], [1, 1], [1, 1], false))
    }

    /// 3x3 average, in which padding does not count.
    pub fn avg_pool(&self, stride: i64) -> &Tensor {
        self.avg_pool.get_or_init(|| self.value.avg_pool2d([3, 3], [stride; 2], [1, 1], false, false, None))
    }
}
