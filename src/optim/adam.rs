//! Adam with L2 weight decay in the gradient, as `torch.optim.Adam` defines it.
//!
//! Source: Kingma and Ba (arXiv:1412.6980), algorithm 1.

use tch::{Tensor, no_grad};

use super::FlatParameters;

const EPSILON: f64 = 1e-8;

/// What does not change over a run.
#[derive(Copy, Clone, Debug)]
pub struct AdamOptions {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the gradient as `weight_decay * value`.
    pub weight_decay: f64,
}

/// The optimizer of one group of flat parameters.
#[derive(Debug)]
pub struct Adam {
    options: AdamOptions,
    first_moment: Tensor,
    second_moment: Tensor,
    num_steps: u64,
}

impl Adam {
    /// With zero moments for `parameters`.
    pub fn new(parameters: &FlatParameters, options: AdamOptions) -> Self {
        let zeros = || parameters.values().zeros_like();
        Self { options, first_moment: zeros(), second_moment: zeros(), num_steps: 0 }
    }

    /// One step along the gradients of `parameters`.
    pub fn step(&mut self, parameters: &FlatParameters) {
        let AdamOptions { learning_rate, beta1, beta2, weight_decay } = self.options;
        self.num_steps += 1;
        let correction = |beta: f64| 1.0 - beta.powf(self.num_steps as f64);
        no_grad(|| {
            let mut values = parameters.values().shallow_clone();
            let gradient = parameters.gradients() + &values * weight_decay;
            self.first_moment = &self.first_moment * beta1 + &gradient * (1.0 - beta1);
            self.second_moment = &self.second_moment * beta2 + gradient.square() * (1.0 - beta2);
            let denominator = self.second_moment.sqrt() / correction(beta2).sqrt() + EPSILON;
            values -= &self.first_moment / denominator * (learning_rate / correction(beta1));
        });
    }

    /// First and second moments, `[buffer length]` each, and the number of steps, for checkpoints.
    pub fn state(&self) -> (&Tensor, &Tensor, u64) {
        (&self.first_moment, &self.second_moment, self.num_steps)
    }

    /// Sets the number of steps already made, when moments are restored from a checkpoint.
    pub fn set_num_steps(&mut self, num_steps: u64) {
        self.num_steps = num_steps;
    }
}
