//! The architecture parameters of one stage.

use tch::{Device, Kind, Tensor, no_grad};

use crate::genotype::{Alphas, CellAlphas, NUM_EDGES};
use crate::model::NamedTensor;
use crate::torch::TorchError;

/// Alphas of normal and of reduction cells, each `[14, K]` and shared by all cells of its kind.
#[derive(Debug)]
pub struct ArchitectureParameters {
    /// `[14, K]`.
    pub normal: Tensor,
    /// `[14, K]`.
    pub reduction: Tensor,
}

impl ArchitectureParameters {
    /// `scale * N(0, 1)` by libtorch's generator, for `num_operations` live operations an edge.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn random(num_operations: usize, scale: f64, device: Device, kind: Kind) -> Result<Self, TorchError> {
        let draw = || {
            let shape = [NUM_EDGES as i64, num_operations as i64];
            let values = Tensor::f_randn(shape, (Kind::Float, device))?.f_mul_scalar(scale)?.f_to_kind(kind)?;
            values.f_set_requires_grad(true)
        };
        Ok(Self { normal: draw()?, reduction: draw()? })
    }

    /// Both tensors under their names, for the optimizer and for checkpoints.
    pub fn named(&self) -> [NamedTensor; 2] {
        [("alphas_normal", &self.normal), ("alphas_reduce", &self.reduction)]
            .map(|(name, tensor)| NamedTensor { name: name.into(), tensor: tensor.shallow_clone() })
    }

    /// The values on the host, for derivation and records.
    ///
    /// # Errors
    /// When libtorch cannot copy them.
    pub fn values(&self) -> Result<Alphas, tch::TchError> {
        Ok(Alphas { normal: rows(&self.normal)?, reduction: rows(&self.reduction)? })
    }
}

fn rows(alphas: &Tensor) -> Result<CellAlphas, tch::TchError> {
    no_grad(|| CellAlphas::try_from(alphas.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?))
}
