//! ReLU, depthwise convolution, pointwise convolution, BatchNorm: what sep_conv and dil_conv are made of.

use tch::{Tensor, nn::Module};

use crate::model::{BatchNorm, Conv2d, ParameterStore, ReluDepthwise};
use crate::torch::{DepthwiseGeometry, TorchError};

/// One depthwise separable convolution.
#[derive(Debug)]
pub(super) struct DepthwiseSeparable {
    depthwise: ReluDepthwise,
    pointwise: Conv2d,
    bn: BatchNorm,
}

impl DepthwiseSeparable {
    /// The authors' modules `first` (depthwise), `first + 1` and `first + 2` of `{name}.op`.
    pub fn new(
        store: &mut ParameterStore,
        name: &str,
        first: usize,
        channels: i64,
        kernel: i64,
        geometry: DepthwiseGeometry,
    ) -> Self {
        let module = |offset: usize| format!("{name}.op.{}", first + offset);
        Self {
            depthwise: ReluDepthwise::new(store, &module(0), channels, kernel, geometry),
            pointwise: Conv2d::pointwise(store, &module(1), (channels, channels), 1, 1),
            bn: BatchNorm::affine(store, &module(2), channels),
        }
    }

    /// `[N, C, H, W]` to `[N, C, H / stride, W / stride]`.
    ///
    /// # Errors
    /// When `x` does not fit the weights.
    pub fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor, TorchError> {
        self.bn.forward(&self.pointwise.forward(&self.depthwise.forward(x)?), training)
    }
}
