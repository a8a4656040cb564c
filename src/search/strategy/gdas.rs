//! GDAS: one operation of every edge, drawn anew in every forward pass; only that one is computed.
//!
//! Source: GDAS (arXiv:1910.04465), equations 3 to 7, and its authors' code: one draw for all normal and one for all
//! reduction cells in a forward pass.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Tensor, no_grad};

use super::Strategy;
use super::snas::{strongest, uniform};
use crate::genotype::{Alphas, NUM_EDGES};
use crate::model::NamedTensor;
use crate::search::cell_parameters::{ArchitectureOptions, CellParameters};
use crate::search::layout::Chosen;
use crate::search::mixing::{CellMixing, Mixing};
use crate::search::supernet::ForwardMode;
use crate::torch::TorchError;

/// Alphas `[14, K]` of each kind of cell: logarithms of unnormalised probabilities.
#[derive(Debug)]
pub struct Gdas {
    alphas: CellParameters,
}

impl Gdas {
    /// With alphas drawn by libtorch's generator.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn random(options: ArchitectureOptions) -> Result<Self, TorchError> {
        let size = [NUM_EDGES as i64, options.num_operations as i64];
        Ok(Self { alphas: CellParameters::random("alphas", &size, options)? })
    }
}

impl Strategy for Gdas {
    fn parameters(&self) -> Vec<NamedTensor> {
        self.alphas.named().into()
    }

    fn mixing(&self, mode: ForwardMode) -> Result<Mixing, TorchError> {
        let CellParameters { normal, reduction, .. } = &self.alphas;
        let mut generator = ChaCha8Rng::seed_from_u64(mode.sampling.seed);
        let mut cell = |alphas: &Tensor| {
            if !mode.training {
                return of_choice(strongest(alphas)?);
            }
            let exponential = uniform(alphas, &mut generator)?.f_log()?.f_neg()?;
            of_choice(hard_sample(alphas, &exponential, mode.sampling.temperature)?)
        };
        Ok(Mixing { normal: cell(normal)?, reduction: cell(reduction)? })
    }

    fn values(&self) -> Result<Alphas, tch::TchError> {
        let [normal, reduction] = self.alphas.values()?;
        Ok(Alphas { normal, reduction, betas: None })
    }
}

/// Weights of the size of `alphas` `[14, K]` from exponential noise above 0: 1 for the operation of each edge whose
/// sample is largest, 0 for the others. The gradient is that of the softmax over the edge's samples at `temperature`.
///
/// # Errors
/// When libtorch refuses.
pub fn hard_sample(alphas: &Tensor, exponential: &Tensor, temperature: f64) -> Result<Tensor, TorchError> {
    let gumbel = exponential.f_log()?.f_neg()?;
    let samples = alphas.f_log_softmax(-1, alphas.kind())?.f_add(&gumbel)?.f_div_scalar(temperature)?;
    let soft = samples.f_softmax(-1, alphas.kind())?;
    let hard = strongest(&soft)?;
    Ok(hard.f_sub(&soft.f_detach()?)?.f_add(&soft)?)
}

/// Computes only the operations that `operations` `[14, K]`, 1 on one operation of each edge, names.
fn of_choice(operations: Tensor) -> Result<CellMixing, TorchError> {
    let indices = no_grad(|| Vec::<i64>::try_from(operations.f_argmax(-1, false)?.f_to_device(Device::Cpu)?))?;
    let mut chosen: Chosen = [0; NUM_EDGES];
    for (chosen, index) in chosen.iter_mut().zip(indices) {
        *chosen = index as usize;
    }
    Ok(CellMixing { operations, edges: None, chosen: Some(chosen) })
}
