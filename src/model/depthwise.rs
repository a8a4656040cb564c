//! ReLU and depthwise convolution as a layer.

use tch::Tensor;

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
        relu_depthwise(x, &self.weight, self.geometry)
    }
}
