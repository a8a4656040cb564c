//! LAMB: Adam in which each tensor's step is as long as the tensor itself, for batches of thousands of images.
//!
//! Source: You et al., *Large Batch Optimization for Deep Learning: Training BERT in 76 minutes* (arXiv:1904.00962),
//! algorithm 2, in the form of timm's `Lamb` and apex's `FusedLAMB`: moments are corrected for their start, weight decay
//! is in the step, and a tensor without norm or step moves as in Adam.

use tch::{Tensor, no_grad};

use super::moments::{MomentCorrections, Moments};
use super::segments::{Segments, trust_where};
use super::{FlatParameters, MomentOptions, Optimizer, ParameterGroups, StepNumbers, WeightDecay};
use crate::torch::TorchError;

/// The optimizer of one set of flat parameters.
#[derive(Debug)]
pub struct Lamb {
    decay: WeightDecay,
    /// `[tensors]`.
    adapts: Tensor,
    segments: Segments,
    moments: Moments,
}

impl Lamb {
    /// With zero moments for `parameters`, whose tensors decay and adapt as `groups` say.
    ///
    /// # Errors
    /// When libtorch has no memory for its state.
    pub fn new(
        parameters: &FlatParameters,
        groups: &ParameterGroups,
        options: MomentOptions,
    ) -> Result<Self, TorchError> {
        Ok(Self {
            decay: groups.weight_decay(parameters)?,
            adapts: groups.adapting_tensors(parameters)?,
            segments: Segments::of(parameters)?,
            moments: Moments::new(parameters, options)?,
        })
    }
}

impl Optimizer for Lamb {
    fn begin_step(&mut self, learning_rate: f64) -> StepNumbers {
        let MomentCorrections { first, root_of_second } = self.moments.begin_step();
        vec![learning_rate, first, root_of_second]
    }

    fn move_parameters(&self, parameters: &FlatParameters, numbers: &Tensor) -> Result<(), TorchError> {
        no_grad(|| {
            let [learning_rate, first_correction, root_correction] =
                [0, 1, 2].map(|number| numbers.f_select(0, number));
            let mut values = parameters.values().shallow_clone();
            self.moments.update(parameters.gradients())?;
            let direction = self.moments.direction(&root_correction?)?.f_div(&first_correction?)?;
            let step = direction.f_add(&self.decay.of(&values)?)?;
            let norms = [self.segments.norms(&values)?, self.segments.norms(&step)?];
            let ratios = trust_where(&norms[0].f_div(&norms[1])?, &self.adapts, [&norms[0], &norms[1]])?;
            self.segments.scale(&step, &ratios)?;
            let _ = values.f_sub_(&step.f_mul(&learning_rate?)?)?;
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
