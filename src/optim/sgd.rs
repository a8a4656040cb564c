//! Stochastic gradient descent with momentum and L2 weight decay, as `torch.optim.SGD` defines it.
//!
//! Source of Nesterov's form: Sutskever et al., *On the importance of initialization and momentum in deep learning*
//! (2013), in the variables of `torch.optim.SGD`.

use tch::{Tensor, no_grad};

use super::{FlatParameters, Optimizer, ParameterGroups, WeightDecay};

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
    pub fn new(parameters: &FlatParameters, groups: &ParameterGroups, options: SgdOptions) -> Self {
        Self { options, decay: groups.weight_decay(parameters), momentum: parameters.values().zeros_like() }
    }

    /// The momentum, `[buffer length]`.
    pub fn momentum(&self) -> &Tensor {
        &self.momentum
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, parameters: &FlatParameters, learning_rate: f64) {
        let SgdOptions { momentum, nesterov } = self.options;
        no_grad(|| {
            let mut values = parameters.values().shallow_clone();
            let _ = self.momentum.g_mul_scalar_(momentum);
            if nesterov {
                let gradient = parameters.gradients() + self.decay.of(&values);
                self.momentum += &gradient;
                values -= (gradient + &self.momentum * momentum) * learning_rate;
            } else {
                self.momentum += parameters.gradients();
                self.momentum += self.decay.of(&values);
                values -= &self.momentum * learning_rate;
            }
        });
    }

    fn state(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("momentum", &self.momentum)]
    }
}
