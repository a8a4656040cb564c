//! SNAS: every operation of an edge by a sample from the concrete distribution.
//!
//! Source: SNAS (arXiv:1812.09926), equation 6 of section 2.2, and its authors' code: one draw for all normal and one for all
//! reduction cells in a forward pass.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use super::Strategy;
use crate::genotype::{Alphas, NUM_EDGES};
use crate::model::NamedTensor;
use crate::search::cell_parameters::{ArchitectureOptions, CellParameters};
use crate::search::mixing::Mixing;
use crate::search::supernet::ForwardMode;
use crate::torch::TorchError;

/// Alphas `[14, K]` of each kind of cell: logarithms of unnormalised probabilities.
#[derive(Debug)]
pub struct Snas {
    alphas: CellParameters,
}

impl Snas {
    /// With alphas drawn by libtorch's generator.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn random(options: ArchitectureOptions) -> Result<Self, TorchError> {
        let size = [NUM_EDGES as i64, options.num_operations as i64];
        Ok(Self { alphas: CellParameters::random("alphas", &size, options)? })
    }
}

impl Strategy for Snas {
    fn parameters(&self) -> Vec<NamedTensor> {
        self.alphas.named().into()
    }

    fn mixing(&self, mode: ForwardMode) -> Result<Mixing, TorchError> {
        let CellParameters { normal, reduction, .. } = &self.alphas;
        if !mode.training {
            return Ok(Mixing::of_operations(strongest(normal)?, strongest(reduction)?));
        }
        let mut generator = ChaCha8Rng::seed_from_u64(mode.sampling.seed);
        let mut sample = |alphas| concrete_sample(alphas, &uniform(alphas, &mut generator)?, mode.sampling.temperature);
        Ok(Mixing::of_operations(sample(normal)?, sample(reduction)?))
    }

    fn values(&self) -> Result<Alphas, tch::TchError> {
        let [normal, reduction] = self.alphas.values()?;
        Ok(Alphas { normal, reduction, betas: None })
    }
}

/// Weights of the size of `alphas` `[14, K]` from `uniform` noise above 0 and below 1: a softmax over each edge, the closer
/// to one operation the lower `temperature` is.
///
/// # Errors
/// When libtorch refuses.
pub fn concrete_sample(alphas: &Tensor, uniform: &Tensor, temperature: f64) -> Result<Tensor, TorchError> {
    let gumbel = uniform.f_log()?.f_neg()?.f_log()?.f_neg()?;
    Ok(alphas.f_add(&gumbel)?.f_div_scalar(temperature)?.f_softmax(-1, alphas.kind())?)
}

/// Noise of the size, type and place of `alphas`.
pub(super) fn uniform(alphas: &Tensor, generator: &mut impl Rng) -> Result<Tensor, TorchError> {
    // Between two multiples of 2^-24: neither 0 nor 1 in single precision.
    let mut draw = || (f64::from(generator.random::<u32>() >> 9) + 0.5) / f64::from(1u32 << 23);
    let values: Vec<f64> = (0..alphas.numel()).map(|_| draw()).collect();
    let noise = Tensor::f_from_slice(&values)?.f_view(alphas.size().as_slice())?;
    Ok(noise.f_to_kind(alphas.kind())?.f_to_device(alphas.device())?)
}

/// 1 for the strongest operation of each edge, 0 for the others.
pub(super) fn strongest(alphas: &Tensor) -> Result<Tensor, TorchError> {
    let num_operations = alphas.size2()?.1;
    Ok(alphas.f_argmax(-1, false)?.f_one_hot(num_operations)?.f_to_kind(alphas.kind())?)
}
