//! Stochastic gradient descent with momentum and L2 weight decay, as `torch.optim.SGD` defines it.
//!
//! Source of Nesterov's form: Sutskever et al., *On the importance of initialization and momentum in deep learning*
//! (2013), in the variables of `torch.optim.SGD`.

use tch::{Tensor, no_grad};

use super::{FlatParameters, Optimizer, ParameterGroups, StepNumbers, WeightDecay};
use crate::torch::TorchError;

/// What does not change over a run.
#[derive(Copy, Clone, Debug)]
pub struct SgdOptions {
    /// Factor of the momentum buffer.
    pub momentum: f64,
    /// Whether a step looks ahead along the momentum.
    pub nesterov: bool,
}

/// The optimizer of one set of flat parameters.
#[derive(Debug)]
pub struct Sgd {
    options: SgdOptions,
    decay: WeightDecay,
    momentum: Tensor,
}

impl Sgd {
    /// With zero momentum for `parameters`, whose values decay as `groups` say: added to the gradient.
    ///
    /// # Errors
    /// When libtorch has no memory for its state.
    pub fn new(parameters: &FlatParameters, groups: &ParameterGroups, options: SgdOptions) -> Result<Self, TorchError> {
        let momentum = parameters.values().f_zeros_like()?;
        Ok(Self { options, decay: groups.weight_decay(parameters)?, momentum })
    }

    /// The momentum, `[buffer length]`.
    pub fn momentum(&self) -> &Tensor {
        &self.momentum
    }
}

impl Optimizer for Sgd {
    fn begin_step(&mut self, learning_rate: f64) -> StepNumbers {
        vec![learning_rate]
    }

    fn move_parameters(&self, parameters: &FlatParameters, numbers: &Tensor) -> Result<(), TorchError> {
        let SgdOptions { momentum, nesterov } = self.options;
        no_grad(|| {
            let learning_rate = numbers.f_select(0, 0)?;
            let (mut values, mut average) = (parameters.values().shallow_clone(), self.momentum.shallow_clone());
            let _ = average.f_mul_scalar_(momentum)?;
            let step = if nesterov {
                let gradient = parameters.gradients().f_add(&self.decay.of(&values)?)?;
                let _ = average.f_add_(&gradient)?;
                gradient.f_add(&average.f_mul_scalar(momentum)?)?.f_mul(&learning_rate)?
            } else {
                let _ = average.f_add_(parameters.gradients())?;
                let _ = average.f_add_(&self.decay.of(&values)?)?;
                average.f_mul(&learning_rate)?
            };
            let _ = values.f_sub_(&step)?;
            Ok(())
        })
    }

    fn state(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("momentum", &self.momentum)]
    }
}
