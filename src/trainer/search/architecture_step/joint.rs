//! Alphas and weights by one loss on the same images.
//!
//! Source: SNAS (arXiv:1812.09926), section 2.3, and its authors' code: one forward and one backward pass for both.

use super::{ArchitectureStep, StepInputs, Stepped};
use crate::trainer::TrainError;
use crate::trainer::search::SearchState;

/// Steps both on the images that train the weights; those of the alphas only validate.
#[derive(Copy, Clone, Debug, Default)]
pub struct Joint;

impl ArchitectureStep for Joint {
    fn step(&mut self, state: &mut SearchState, inputs: StepInputs<'_, '_>) -> Result<Stepped, TrainError> {
        let StepInputs { weight_images, learning_rate, mode, .. } = inputs;
        Ok(Stepped::Both(state.joint_step(weight_images, learning_rate, mode)?))
    }
}
