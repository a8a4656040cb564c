//! Running averages of the gradient and of its square, which Adam and LAMB share.

use tch::{TchError, Tensor};

use super::FlatParameters;

/// Decays of the averages, and what guards the division.
#[derive(Copy, Clone, Debug)]
pub struct MomentOptions {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

/// Both moments, `[buffer length]` each, and the steps averaged over.
#[derive(Debug)]
pub(super) struct Moments {
    options: MomentOptions,
    first: Tensor,
    second: Tensor,
    num_steps: u64,
}

/// What the averages are divided by, for they began with zeros.
pub(super) struct MomentCorrections {
    /// Share of the first moment that is not the zeros it began with.
    pub first: f64,
    /// Root of that share of the second moment.
    pub root_of_second: f64,
}

const STEPS: &str = "steps";

impl Moments {
    pub fn new(parameters: &FlatParameters, options: MomentOptions) -> Result<Self, TchError> {
        let zeros = || parameters.values().f_zeros_like();
        Ok(Self { options, first: zeros()?, second: zeros()?, num_steps: 0 })
    }

    /// Counts one more step, which is that of these corrections.
    pub fn begin_step(&mut self) -> MomentCorrections {
        self.num_steps += 1;
        let share = |beta: f64| 1.0 - beta.powf(self.num_steps as f64);
        MomentCorrections { first: share(self.options.beta1), root_of_second: share(self.options.beta2).sqrt() }
    }

    /// Takes the gradient of the step.
    pub fn update(&self, gradient: &Tensor) -> Result<(), TchError> {
        let MomentOptions { beta1, beta2, .. } = self.options;
        let (mut first, mut second) = (self.first.shallow_clone(), self.second.shallow_clone());
        let _ = first.f_mul_scalar_(beta1)?;
        let _ = first.f_add_(&gradient.f_mul_scalar(1.0 - beta1)?)?;
        let _ = second.f_mul_scalar_(beta2)?;
        let _ = second.f_add_(&gradient.f_square()?.f_mul_scalar(1.0 - beta2)?)?;
        Ok(())
    }

    /// The first moment over the root of the second, which is corrected by `root_of_second`, a scalar. The first is yet to be
    /// divided by its own correction.
    pub fn direction(&self, root_of_second: &Tensor) -> Result<Tensor, TchError> {
        let root = self.second.f_sqrt()?.f_div(root_of_second)?;
        self.first.f_div(&root.f_add_scalar(self.options.epsilon)?)
    }

    /// See [`super::Optimizer::state`].
    pub fn state(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("first_moment", &self.first), ("second_moment", &self.second)]
    }

    /// See [`super::Optimizer::counters`].
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![(STEPS, self.num_steps)]
    }

    /// See [`super::Optimizer::set_counter`].
    pub fn set_counter(&mut self, name: &str, value: u64) {
        if name == STEPS {
            self.num_steps = value;
        }
    }
}
