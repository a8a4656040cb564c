//! Where a network under construction registers its tensors, in order, by name.
//!
//! The order of registration is the order of the flat buffers that `optim` lays over them.

use tch::{Device, Kind, Tensor};

use crate::torch::TorchError;

/// A tensor with its dotted name, as `cells.3.source1.sep_conv_3x3.pointwise_1`.
#[derive(Debug)]
pub struct NamedTensor {
    /// Unique within one network.
    pub name: String,
    /// A handle on the tensor that the layer uses.
    pub tensor: Tensor,
}

/// The trainable tensors and the statistics of one network.
#[derive(Debug)]
pub struct ParameterStore {
    device: Device,
    kind: Kind,
    trainable: Vec<NamedTensor>,
    statistics: Vec<NamedTensor>,
    /// The first refusal of libtorch; tensors are empty since.
    failure: Option<TorchError>,
}

impl ParameterStore {
    /// An empty store whose tensors will live on `device` with floating-point type `kind`.
    pub fn new(device: Device, kind: Kind) -> Self {
        Self { device, kind, trainable: Vec::new(), statistics: Vec::new(), failure: None }
    }

    /// A trainable tensor drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default for convolutions and
    /// linear layers, by libtorch's generator.
    pub fn uniform(&mut self, name: String, shape: &[i64], fan_in: i64) -> Tensor {
        let bound = 1.0 / (fan_in as f64).sqrt();
        let (kind, options) = (self.kind, (Kind::Float, self.device));
        let draw = || Tensor::f_empty(shape, options)?.f_uniform_(-bound, bound)?.f_to_kind(kind);
        let values = self.allocated(draw());
        self.register_trainable(name, values)
    }

    /// A trainable tensor filled with `value`.
    pub fn constant(&mut self, name: String, shape: &[i64], value: f64) -> Tensor {
        let values = self.allocated(Tensor::f_full(shape, value, (self.kind, self.device)));
        self.register_trainable(name, values)
    }

    /// A tensor of statistics, updated by forward passes and not by an optimizer, filled with `value`.
    pub fn statistic(&mut self, name: String, shape: &[i64], value: f64) -> Tensor {
        let tensor = self.allocated(Tensor::f_full(shape, value, (self.kind, self.device)));
        self.statistics.push(NamedTensor { name, tensor: tensor.shallow_clone() });
        tensor
    }

    /// This store, if libtorch gave memory for all of its tensors: asked once, when a network is complete, so that its
    /// parts need not ask for each tensor.
    ///
    /// # Errors
    /// libtorch's first refusal.
    pub fn checked(mut self) -> Result<Self, TorchError> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(self),
        }
    }

    /// The trainable tensors, in order of registration.
    pub fn trainable(&self) -> &[NamedTensor] {
        &self.trainable
    }

    /// The statistics (running means and variances), in order of registration.
    pub fn statistics(&self) -> &[NamedTensor] {
        &self.statistics
    }

    fn allocated(&mut self, tensor: Result<Tensor, tch::TchError>) -> Tensor {
        tensor.unwrap_or_else(|error| {
            self.failure.get_or_insert(error.into());
            Tensor::new()
        })
    }

    fn register_trainable(&mut self, name: String, values: Tensor) -> Tensor {
        let tensor = values.set_requires_grad(true);
        self.trainable.push(NamedTensor { name, tensor: tensor.shallow_clone() });
        tensor
    }
}
