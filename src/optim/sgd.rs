//! Stochastic gradient descent with momentum and L2 weight decay, as `torch.optim.SGD` defines it.

use tch::{Tensor, no_grad};

use super::FlatParameters;

/// What does not change over a run.
#[derive(Copy, Clone, Debug)]
pub struct SgdOptions {
    /// Factor of the momentum buffer.
    pub momentum: f64,
    /// Added to the gradient as `weight_decay * value`.
    pub weight_decay: f64,
}

/// The optimizer of one group of flat parameters.
#[derive(Debug)]
pub struct Sgd {
    options: SgdOptions,
    momentum: Tensor,
}

impl Sgd {
    /// With zero momentum for `parameters`.
    pub fn new(parameters: &FlatParameters, options: SgdOptions) -> Self {
        Self { options, momentum: parameters.values().zeros_like() }
    }

    /// One step at `learning_rate` along the gradients of `parameters`.
    pub fn step(&mut self, parameters: &FlatParameters, learning_rate: f64) {
        no_grad(|| {
            let mut values = parameters.values().shallow_clone();
            let _ = self.momentum.g_mul_scalar_(self.options.momentum);
            self.momentum += parameters.gradients();
            self.momentum += &values * self.options.weight_decay;
            values -= &self.momentum * learning_rate;
        });
    }

    /// The momentum, `[buffer length]`, for checkpoints.
    pub fn momentum(&self) -> &Tensor {
        &self.momentum
    }
}
