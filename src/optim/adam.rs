//! Adam, as `torch.optim.Adam` and `torch.optim.AdamW` define it.
//!
//! Source: Kingma and Ba (arXiv:1412.6980), algorithm 1; Loshchilov and Hutter (arXiv:1711.05101), algorithm 2.

use tch::{Tensor, no_grad};

use super::moments::{MomentCorrections, Moments};
use super::{FlatParameters, MomentOptions, Optimizer, ParameterGroups, StepNumbers, WeightDecay};
use crate::torch::TorchError;

/// Where weight decay acts.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum AdamDecay {
    /// In the gradient, which the moments average (Adam).
    Gradient,
    /// On the values, beside the step (AdamW).
    Values,
}

/// The optimizer of one set of flat parameters.
#[derive(Debug)]
pub struct Adam {
    decay: WeightDecay,
    decays: AdamDecay,
    moments: Moments,
}

impl Adam {
    /// With zero moments for `parameters`, whose values decay as `groups` say.
    ///
    /// # Errors
    /// When libtorch has no memory for its state.
    pub fn new(
        parameters: &FlatParameters,
        groups: &ParameterGroups,
        options: MomentOptions,
        decays: AdamDecay,
    ) -> Result<Self, TorchError> {
        Ok(Self { decay: groups.weight_decay(parameters)?, decays, moments: Moments::new(parameters, options)? })
    }
}

impl Optimizer for Adam {
    fn begin_step(&mut self, learning_rate: f64) -> StepNumbers {
        let MomentCorrections { first, root_of_second } = self.moments.begin_step();
        vec![learning_rate, learning_rate / first, root_of_second]
    }

    fn move_parameters(&self, parameters: &FlatParameters, numbers: &Tensor) -> Result<(), TorchError> {
        no_grad(|| {
            let [learning_rate, factor, root_correction] = [0, 1, 2].map(|number| numbers.f_select(0, number));
            let mut values = parameters.values().shallow_clone();
            let decay = self.decay.of(&values)?;
            match self.decays {
                AdamDecay::Gradient => self.moments.update(&parameters.gradients().f_add(&decay)?)?,
                AdamDecay::Values => {
                    let _ = values.f_sub_(&decay.f_mul(&learning_rate?)?)?;
                    self.moments.update(parameters.gradients())?;
                }
            }
            let _ = values.f_sub_(&self.moments.direction(&root_correction?)?.f_mul(&factor?)?)?;
            Ok(())
        })
    }

    fn state(&self) -> Vec<(&'static str, &Tensor)> {
        self.moments.state()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.moments.counters()
    }

    fn set_counter(&mut self, name: &str, value: u64) {
        self.moments.set_counter(name, value);
    }
}
