//! The gradients of flat parameters: where backward leaves them, and the buffer that sums them up.
//!
//! Before a backward pass no parameter has a gradient, so autograd leaves each where it was computed. [`accumulate`] is the only
//! way from there into the buffer.
//!
//! [`accumulate`]: FlatGradients::accumulate

use std::ops::Range;

use tch::Tensor;

use crate::torch::{TorchError, accumulate_gradients, drop_gradients};

/// One buffer for the gradients of several parameters.
#[derive(Debug)]
pub struct FlatGradients {
    buffer: Tensor,
    parameters: Vec<Tensor>,
    /// The part of the buffer of each parameter, in one dimension.
    sums: Vec<Tensor>,
}

impl FlatGradients {
    /// Zeros, `[buffer length]` like `values`, in whose `ranges` the values of `parameters` lie.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    pub fn zeros(
        values: &Tensor,
        parameters: Vec<Tensor>,
        ranges: impl Iterator<Item = Range<i64>>,
    ) -> Result<Self, TorchError> {
        let buffer = values.f_zeros_like()?;
        let sums = ranges.map(|range| buffer.f_narrow(0, range.start, range.end - range.start));
        let sums = sums.collect::<Result<_, _>>()?;
        Ok(Self { buffer, parameters, sums })
    }

    /// The buffer. It holds what was accumulated since it was zeroed.
    pub fn buffer(&self) -> &Tensor {
        &self.buffer
    }

    /// The same buffer and the same parameters.
    pub fn shallow_clone(&self) -> Self {
        let clones = |tensors: &[Tensor]| tensors.iter().map(Tensor::shallow_clone).collect();
        Self { buffer: self.buffer.shallow_clone(), parameters: clones(&self.parameters), sums: clones(&self.sums) }
    }

    /// Adds what backward has left at the parameters of these places in the order of the buffer.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn accumulate(&self, places: Range<usize>) -> Result<(), TorchError> {
        accumulate_gradients(&self.parameters[places.clone()], &self.sums[places])
    }

    /// Sets the buffer to zero and drops what a backward pass that failed has left.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn zero(&self) -> Result<(), TorchError> {
        drop_gradients(&self.parameters);
        let _ = self.buffer.shallow_clone().f_zero_()?;
        Ok(())
    }
}
