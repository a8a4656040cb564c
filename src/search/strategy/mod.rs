//! Search strategies: what they own, how it becomes the weights of mixed edges, and which cells it means.
//!
//! The supernet takes weights and does not know where they come from; the trainer steps named tensors and does not know
//! what they say. How they are stepped stands in `trainer/search/architecture_step`, what a strategy refuses in
//! `config/validate/strategy`.

mod gdas;
mod pc_darts;
mod perturbation;
mod snas;
mod softmax;

use std::fmt::Debug;

pub use gdas::{Gdas, hard_sample};
pub use pc_darts::PcDarts;
pub use perturbation::perturbation;
pub use snas::{Snas, concrete_sample};
pub use softmax::Softmax;

use super::cell_parameters::ArchitectureOptions;
use super::mixing::Mixing;
use super::supernet::ForwardMode;
use crate::config::StrategyName;
use crate::genotype::{Alphas, GenotypeError, Switches, Variant, restrict};
use crate::model::NamedTensor;
use crate::torch::TorchError;

/// One stage's architecture parameters and their meaning.
pub trait Strategy: Debug {
    /// All parameters under their names, in the order in which they are stepped and saved.
    fn parameters(&self) -> Vec<NamedTensor>;

    /// The weights of a forward pass; gradients flow back through them. In evaluation they are the strategy's
    /// deterministic choice, never a sample.
    ///
    /// # Errors
    /// When libtorch refuses.
    fn mixing(&self, mode: ForwardMode) -> Result<Mixing, TorchError>;

    /// The parameters on the host, for derivation and records.
    ///
    /// # Errors
    /// When libtorch cannot copy them.
    fn values(&self) -> Result<Alphas, tch::TchError>;

    /// The cell that `alphas` mean, and its variants under limits on skip connections.
    ///
    /// # Errors
    /// Those of [`restrict`].
    fn derive(&self, switches: &Switches, alphas: &Alphas) -> Result<Vec<Variant>, GenotypeError> {
        restrict(switches, alphas)
    }
}

/// The strategy of this name with fresh parameters from libtorch's generator: seed it first.
///
/// # Errors
/// When libtorch refuses.
pub fn new_strategy(name: StrategyName, options: ArchitectureOptions) -> Result<Box<dyn Strategy>, TorchError> {
    Ok(match name {
        // They differ in stages and steps alone.
        StrategyName::PDarts | StrategyName::Darts => Box::new(Softmax::random(options)?),
        StrategyName::PcDarts => Box::new(PcDarts::random(options)?),
        StrategyName::Gdas => Box::new(Gdas::random(options)?),
        StrategyName::Snas => Box::new(Snas::random(options)?),
        StrategyName::Random | StrategyName::Evolution => {
            return Err(TorchError::Shim(format!("{name} has no supernet whose operations it could weigh")));
        }
    })
}
