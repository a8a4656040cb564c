//! LARS: SGD in which each tensor's step is in proportion to the tensor's own norm, for batches of thousands of images.
//!
//! Source: You, Gitman and Ginsburg, *Large Batch Training of Convolutional Networks* (arXiv:1708.03888), algorithm 1,
//! in the form of timm's `Lars`: the learning rate is outside of the momentum, and a tensor without norm or gradient
//! steps as in SGD.

use tch::{TchError, Tensor, no_grad};

use super::segments::{Segments, trust_where};
use super::{FlatParameters, Optimizer, ParameterGroups, StepNumbers, WeightDecay};
use crate::torch::TorchError;

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
    ///
    /// # Errors
    /// When libtorch has no memory for its state.
    pub fn new(
        parameters: &FlatParameters,
        groups: &ParameterGroups,
        options: LarsOptions,
    ) -> Result<Self, TorchError> {
        Ok(Self {
            options,
            decay: groups.weight_decay(parameters)?,
            decay_of_tensors: groups.decay_of_tensors(parameters)?,
            adapts: groups.adapting_tensors(parameters)?,
            segments: Segments::of(parameters)?,
            momentum: parameters.values().f_zeros_like()?,
        })
    }

    /// The factor of each tensor's gradient, `[tensors]`.
    fn trust_ratios(&self, parameters: &FlatParameters) -> Result<Tensor, TchError> {
        let LarsOptions { trust_coefficient, epsilon, .. } = self.options;
        let values = self.segments.norms(parameters.values())?;
        let gradients = self.segments.norms(parameters.gradients())?;
        let decayed = gradients.f_add(&values.f_mul(&self.decay_of_tensors)?)?;
        let ratios = values.f_mul_scalar(trust_coefficient)?.f_div(&decayed.f_add_scalar(epsilon)?)?;
        trust_where(&ratios, &self.adapts, [&values, &gradients])
    }
}

impl Optimizer for Lars {
    fn begin_step(&mut self, learning_rate: f64) -> StepNumbers {
        vec![learning_rate]
    }

    fn move_parameters(&self, parameters: &FlatParameters, numbers: &Tensor) -> Result<(), TorchError> {
        let LarsOptions { momentum, nesterov, .. } = self.options;
        no_grad(|| {
            let learning_rate = numbers.f_select(0, 0)?;
            let (mut values, mut average) = (parameters.values().shallow_clone(), self.momentum.shallow_clone());
            let gradient = parameters.gradients().f_add(&self.decay.of(&values)?)?;
            self.segments.scale(&gradient, &self.trust_ratios(parameters)?)?;
            let _ = average.f_mul_scalar_(momentum)?;
            let _ = average.f_add_(&gradient)?;
            let step = match nesterov {
                true => gradient.f_add(&average.f_mul_scalar(momentum)?)?.f_mul(&learning_rate)?,
                false => average.f_mul(&learning_rate)?,
            };
            let _ = values.f_sub_(&step)?;
            Ok(())
        })
    }

    fn state(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("momentum", &self.momentum)]
    }
}
