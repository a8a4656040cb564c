//! LARS: SGD in which each tensor's step is in proportion to the tensor's own norm, for batches of thousands of images.
//!
//! Source: You, Gitman and Ginsburg, *Large Batch Training of Convolutional Networks* (arXiv:1708.03888), algorithm 1,
//! in the form of timm's `Lars`: the learning rate is outside of the momentum, and a tensor without norm or gradient
//! steps as in SGD.

use tch::{Tensor, no_grad};

use super::segments::{Segments, trust_where};
use super::{FlatParameters, Optimizer, ParameterGroups, WeightDecay};

/// What does not change over a run.
#[derive(Copy, Clone, Debug)]
pub struct LarsOptions {
    /// Factor of the momentum buffer.
    pub momentum: f64,
    /// Whether a step looks ahead along the momentum.
    pub nesterov: bool,
    /// Length of a tensor's step, at a learning rate of 1, in proportion to the tensor's norm.
    pub trust_coefficient: f64,
    /// Guards the division by the gradient's norm.
    pub epsilon: f64,
}

/// The optimizer of one set of flat parameters.
#[derive(Debug)]
pub struct Lars {
    options: LarsOptions,
    decay: WeightDecay,
    /// `[tensors]`.
    decay_of_tensors: Tensor,
    /// `[tensors]`.
    adapts: Tensor,
    segments: Segments,
    momentum: Tensor,
}

impl Lars {
    /// With zero momentum for `parameters`, whose tensors decay and adapt as `groups` say.
    pub fn new(parameters: &FlatParameters, groups: &ParameterGroups, options: LarsOptions) -> Self {
        Self {
            options,
            decay: groups.weight_decay(parameters),
            decay_of_tensors: groups.decay_of_tensors(parameters),
            adapts: groups.adapting_tensors(parameters),
            segments: Segments::of(parameters),
            momentum: parameters.values().zeros_like(),
        }
    }

    /// The factor of each tensor's gradient, `[tensors]`.
    fn trust_ratios(&self, parameters: &FlatParameters) -> Tensor {
        let LarsOptions { trust_coefficient, epsilon, .. } = self.options;
        let [values, gradients] = [parameters.values(), parameters.gradients()].map(|all| self.segments.norms(all));
        let ratios = &values * trust_coefficient / (&gradients + &values * &self.decay_of_tensors + epsilon);
        trust_where(&ratios, &self.adapts, [&values, &gradients])
    }
}

impl Optimizer for Lars {
    fn step(&mut self, parameters: &FlatParameters, learning_rate: f64) {
        let LarsOptions { momentum, nesterov, .. } = self.options;
        no_grad(|| {
            let mut values = parameters.values().shallow_clone();
            let gradient = parameters.gradients() + self.decay.of(&values);
            self.segments.scale(&gradient, &self.trust_ratios(parameters));
            let _ = self.momentum.g_mul_scalar_(momentum);
            self.momentum += &gradient;
            match nesterov {
                true => values -= (gradient + &self.momentum * momentum) * learning_rate,
                false => values -= &self.momentum * learning_rate,
            }
        });
    }

    fn state(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("momentum", &self.momentum)]
    }
}
