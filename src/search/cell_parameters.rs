//! One kind of architecture parameter for both kinds of cell.

use tch::{Device, Kind, Tensor, no_grad};

use crate::model::NamedTensor;
use crate::torch::TorchError;

/// How architecture parameters begin.
#[derive(Copy, Clone, Debug)]
pub struct ArchitectureOptions {
    /// Live operations of an edge.
    pub num_operations: usize,
    /// Standard deviation of the initial values.
    pub scale: f64,
    /// Where they lie.
    pub device: Device,
    /// Their floating-point type.
    pub kind: Kind,
}

/// A tensor of normal and one of reduction cells, each shared by all cells of its kind.
#[derive(Debug)]
pub struct CellParameters {
    name: &'static str,
    /// Of normal cells.
    pub normal: Tensor,
    /// Of reduction cells.
    pub reduction: Tensor,
}

impl CellParameters {
    /// `scale * N(0, 1)` by libtorch's generator, of this size each.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn random(name: &'static str, size: &[i64], options: ArchitectureOptions) -> Result<Self, TorchError> {
        let ArchitectureOptions { scale, device, kind, .. } = options;
        let draw = || {
            let values = Tensor::f_randn(size, (Kind::Float, device))?.f_mul_scalar(scale)?.f_to_kind(kind)?;
            values.f_set_requires_grad(true)
        };
        Ok(Self { name, normal: draw()?, reduction: draw()? })
    }

    /// Both tensors under their names, for the optimizer and for checkpoints.
    pub fn named(&self) -> [NamedTensor; 2] {
        [("normal", &self.normal), ("reduce", &self.reduction)]
            .map(|(kind, tensor)| NamedTensor { name: format!("{}_{kind}", self.name), tensor: tensor.shallow_clone() })
    }

    /// The values of normal and of reduction cells on the host.
    ///
    /// # Errors
    /// When libtorch cannot copy them.
    pub fn values<T: TryFrom<Tensor, Error = tch::TchError>>(&self) -> Result<[T; 2], tch::TchError> {
        let on_host =
            |tensor: &Tensor| no_grad(|| T::try_from(tensor.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?));
        Ok([on_host(&self.normal)?, on_host(&self.reduction)?])
    }
}
