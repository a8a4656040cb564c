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

const STEPS: &str = "steps";

impl Moments {
    pub fn new(parameters: &FlatParameters, options: MomentOptions) -> Result<Self, TchError> {
        let zeros = || parameters.values().f_zeros_like();
        Ok(Self { options, first: zeros()?, second: zeros()?, num_steps: 0 })
    }

    /// Takes the gradient of one more step.
    pub fn update(&mut self, gradient: &Tensor) -> Result<(), TchError> {
        let MomentOptions { beta1, beta2, .. } = self.options;
        self.num_steps += 1;
        let _ = self.first.f_mul_scalar_(beta1)?;
        let _ = self.first.f_add_(&gradient.f_mul_scalar(1.0 - beta1)?)?;
        let _ = self.second.f_mul_scalar_(beta2)?;
        let _ = self.second.f_add_(&gradient.f_square()?.f_mul_scalar(1.0 - beta2)?)?;
        Ok(())
    }

    /// The first moment over the root of the second. Only the second is corrected for the zeros that the averages began
    /// with: the first is yet to be divided by [`Moments::first_correction`].
    pub fn direction(&self) -> Result<Tensor, TchError> {
        let root = self.second.f_sqrt()?.f_div_scalar(self.correction(self.options.beta2).sqrt())?;
        self.first.f_div(&root.f_add_scalar(self.options.epsilon)?)
    }

    /// Share of the first moment that is not the zeros it began with.
    pub fn first_correction(&self) -> f64 {
        self.correction(self.options.beta1)
    }

    fn correction(&self, beta: f64) -> f64 {
        1.0 - beta.powf(self.num_steps as f64)
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
