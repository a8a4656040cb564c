//! PC-DARTS: operations by a softmax as in DARTS, on a part of the channels, and edges by a softmax of their own.
//!
//! Source: PC-DARTS (arXiv:1907.05737), section 3.2 (edge normalisation) and its authors' code. The part of the channels
//! is the supernet's (`search/partial`).

use tch::Tensor;

use super::Strategy;
use super::perturbation::Perturbation;
use crate::genotype::{Alphas, Betas, NUM_EDGES, NUM_INPUTS, NUM_NODES};
use crate::model::NamedTensor;
use crate::search::cell_parameters::{ArchitectureOptions, CellParameters};
use crate::search::mixing::{CellMixing, Mixing};
use crate::search::supernet::ForwardMode;
use crate::torch::TorchError;

/// Alphas `[14, K]` and betas `[14]` of each kind of cell.
#[derive(Debug)]
pub struct PcDarts {
    alphas: CellParameters,
    betas: CellParameters,
}

impl PcDarts {
    /// With parameters drawn by libtorch's generator.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn random(options: ArchitectureOptions) -> Result<Self, TorchError> {
        let num_edges = NUM_EDGES as i64;
        let alphas = CellParameters::random("alphas", &[num_edges, options.num_operations as i64], options)?;
        Ok(Self { alphas, betas: CellParameters::random("betas", &[num_edges], options)? })
    }
}

impl Strategy for PcDarts {
    fn parameters(&self) -> Vec<NamedTensor> {
        self.alphas.named().into_iter().chain(self.betas.named()).collect()
    }

    fn mixing(&self, mode: ForwardMode) -> Result<Mixing, TorchError> {
        let Self { alphas, betas } = self;
        let mut perturbation = Perturbation::new(mode.sampling);
        Ok(Mixing {
            normal: cell_mixing(&alphas.normal, &betas.normal, &mut perturbation)?,
            reduction: cell_mixing(&alphas.reduction, &betas.reduction, &mut perturbation)?,
        })
    }

    fn values(&self) -> Result<Alphas, tch::TchError> {
        let [normal, reduction] = self.alphas.values()?;
        let betas = self.betas.values()?;
        let [of_normal, of_reduction] = betas;
        Ok(Alphas { normal, reduction, betas: Some(Betas { normal: of_normal, reduction: of_reduction }) })
    }
}

fn cell_mixing(alphas: &Tensor, betas: &Tensor, perturbation: &mut Perturbation) -> Result<CellMixing, TorchError> {
    let edges = softmax_by_node(betas)?;
    let shares = perturbation.of(alphas.f_softmax(-1, alphas.kind())?)?;
    let operations = shares.f_mul(&edges.f_unsqueeze(1)?)?;
    Ok(CellMixing { operations, edges: Some(edges), chosen: None })
}

/// `[14]`: a softmax over the edges that lead to one node.
fn softmax_by_node(betas: &Tensor) -> Result<Tensor, TorchError> {
    let num_edges: Vec<i64> = (0..NUM_NODES).map(|node| (NUM_INPUTS + node) as i64).collect();
    let by_node = betas.f_split_with_sizes(&num_edges, 0)?;
    let softmax = by_node.iter().map(|betas| betas.f_softmax(0, betas.kind())).collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::f_cat(&softmax, 0)?)
}
