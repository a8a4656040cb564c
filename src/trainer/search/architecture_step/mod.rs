//! How the architecture parameters are stepped: the seam for other bilevel optimizers.

mod joint;
mod second_order;

pub use joint::Joint;
pub use second_order::SecondOrder;

use super::SearchState;
use crate::config::{SearchSection, StrategyName};
use crate::search::ForwardMode;
use crate::trainer::{StepImages, StepResult, TrainError};

/// What an architecture step may use.
pub struct StepInputs<'s, 'a> {
    /// Images of the half that trains the alphas.
    pub alpha_images: &'s mut StepImages<'a>,
    /// Images of the half that trains the weights, those of the weight step that follows: a step that looks at them calls
    /// [`StepImages::keep`] first.
    pub weight_images: &'s mut StepImages<'a>,
    /// Learning rate of that weight step.
    pub learning_rate: f64,
    /// Training, with this step's dropout.
    pub mode: ForwardMode,
}

/// What an architecture step has stepped, and what it came to.
#[derive(Debug)]
pub enum Stepped {
    /// The alphas, on their images.
    Alphas(StepResult),
    /// Alphas and weights, on the images of the weights: no weight step follows.
    Both(StepResult),
}

impl Stepped {
    /// What it came to.
    pub fn result(&self) -> &StepResult {
        match self {
            Self::Alphas(result) | Self::Both(result) => result,
        }
    }
}

/// Steps the alphas of a search.
pub trait ArchitectureStep {
    /// One step.
    ///
    /// # Errors
    /// When libtorch fails.
    fn step(&mut self, state: &mut SearchState, inputs: StepInputs<'_, '_>) -> Result<Stepped, TrainError>;
}

/// How a search with these settings steps its alphas.
pub fn architecture_step(search: &SearchSection) -> Box<dyn ArchitectureStep> {
    match search.order {
        _ if search.strategy == StrategyName::Snas => Box::new(Joint),
        2 => Box::new(SecondOrder),
        _ => Box::new(FirstOrder),
    }
}

/// The gradient of the alphas at the current weights, as P-DARTS uses it.
///
/// Source: DARTS (arXiv:1806.09055), section 2.3, first-order approximation.
#[derive(Copy, Clone, Debug, Default)]
pub struct FirstOrder;

impl ArchitectureStep for FirstOrder {
    fn step(&mut self, state: &mut SearchState, inputs: StepInputs<'_, '_>) -> Result<Stepped, TrainError> {
        Ok(Stepped::Alphas(state.alpha_step(inputs.alpha_images, inputs.mode)?))
    }
}
