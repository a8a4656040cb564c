//! DARTS and P-DARTS: every operation of an edge by its share of a softmax.
//!
//! Source: DARTS (arXiv:1806.09055), equation 2; P-DARTS (arXiv:1904.12760), section 3.1.

use tch::Tensor;

use super::Strategy;
use super::perturbation::Perturbation;
use crate::genotype::{Alphas, NUM_EDGES};
use crate::model::NamedTensor;
use crate::search::cell_parameters::{ArchitectureOptions, CellParameters};
use crate::search::mixing::Mixing;
use crate::search::supernet::ForwardMode;
use crate::torch::TorchError;

/// Alphas `[14, K]` of each kind of cell, mixed by a softmax over the live operations of each edge.
#[derive(Debug)]
pub struct Softmax {
    alphas: CellParameters,
}

impl Softmax {
    /// With alphas drawn by libtorch's generator.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn random(options: ArchitectureOptions) -> Result<Self, TorchError> {
        let size = [NUM_EDGES as i64, options.num_operations as i64];
        Ok(Self { alphas: CellParameters::random("alphas", &size, options)? })
    }
}

impl Strategy for Softmax {
    fn parameters(&self) -> Vec<NamedTensor> {
        self.alphas.named().into()
    }

    fn mixing(&self, mode: ForwardMode) -> Result<Mixing, TorchError> {
        let mut perturbation = Perturbation::new(mode.sampling);
        let mut shares = |alphas: &Tensor| perturbation.of(alphas.f_softmax(-1, alphas.kind())?);
        Ok(Mixing::of_operations(shares(&self.alphas.normal)?, shares(&self.alphas.reduction)?))
    }

    fn values(&self) -> Result<Alphas, tch::TchError> {
        let [normal, reduction] = self.alphas.values()?;
        Ok(Alphas { normal, reduction, betas: None })
    }
}
