//! ReLU and depthwise convolution as a layer.

use tch::{Kind, Tensor};

use super::ParameterStore;
use crate::torch::{DepthwiseGeometry, TorchError, relu_depthwise};

/// ReLU, then one depthwise kernel per channel for each of `E` edges that read the same input. Keeps the size at
/// stride 1.
#[derive(Debug)]
pub struct ReluDepthwise {
    /// `[E * C, 1, k, k]`.
    pub weight: Tensor,
    geometry: DepthwiseGeometry,
}

impl ReluDepthwise {
    /// To `channels = E * C` channels, with a `kernel` x `kernel` kernel each.
    pub fn new(
        store: &mut ParameterStore,
        name: &str,
        channels: i64,
        kernel: i64,
        geometry: DepthwiseGeometry,
    ) -> Self {
        let weight = store.uniform(format!("{name}.weight"), &[channels, 1, kernel, kernel], kernel * kernel);
        Self { weight, geometry }
    }

    /// `[N, C, H, W]` to `[N, E * C, H / stride, W / stride]`.
    ///
    /// # Errors
    /// When the input does not fit the weights.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, TorchError> {
        if x.kind() == self.weight.kind() {
            return relu_depthwise(x, &self.weight, self.geometry);
        }
        // Under autocast: on the CPU our kernels in 32 bits are faster than libtorch's in bfloat16.
        let kind = if x.device().is_cuda() { x.kind() } else { Kind::Float };
        relu_depthwise(&x.f_to_kind(kind)?, &self.weight.f_to_kind(kind)?, self.geometry)
    }
}
