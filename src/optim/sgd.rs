//! Stochastic gradient descent with momentum and L2 weight decay, as `torch.optim.SGD` defines it.
//!
//! Source of Nesterov's form: Sutskever et al., *On the importance of initialization and momentum in deep learning*
//! (2013), in the variables of `torch.optim.SGD`.

use tch::{Tensor, no_grad};

use super::{FlatParameters, Optimizer, ParameterGroups, WeightDecay};
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
    fn step(&mut self, parameters: &FlatParameters, learning_rate: f64) -> Result<(), TorchError> {
        let SgdOptions { momentum, nesterov } = self.options;
        no_grad(|| {
            let mut values = parameters.values().shallow_clone();
            let _ = self.momentum.f_mul_scalar_(momentum)?;
            let step = if nesterov {
                let gradient = parameters.gradients().f_add(&self.decay.of(&values)?)?;
                let _ = self.momentum.f_add_(&gradient)?;
                gradient.f_add(&self.momentum.f_mul_scalar(momentum)?)?.f_mul_scalar(learning_rate)?
            } else {
                let _ = self.momentum.f_add_(parameters.gradients())?;
                let _ = self.momentum.f_add_(&self.decay.of(&values)?)?;
                self.momentum.f_mul_scalar(learning_rate)?
            };
            let _ = values.f_sub_(&step)?;
            Ok(())
        })
    }

    fn state(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("momentum", &self.momentum)]
    }
}
