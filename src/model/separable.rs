//! ReLU, depthwise and pointwise convolution as a layer: what sep_conv and dil_conv are made of.

use tch::Tensor;

use super::{BatchNorm, ParameterStore};
use crate::torch::{DepthwiseGeometry, Norm, SeparableWeights, TorchError, separable_conv};

/// For each of `E` edges, ReLU, one depthwise kernel per channel and a dense 1x1 convolution of the edge's channels.
/// Keeps the size at stride 1.
#[derive(Debug)]
pub struct SeparableConv {
    /// `[E * C, 1, k, k]`.
    pub depthwise: Tensor,
    /// `[E * C, C, 1, 1]`.
    pub pointwise: Tensor,
    geometry: DepthwiseGeometry,
}

impl SeparableConv {
    /// For `edges` edges of `channels` channels with `kernel` x `kernel` kernels, under the two names.
    pub fn new(
        store: &mut ParameterStore,
        [depthwise, pointwise]: &[String; 2],
        edges: i64,
        channels: i64,
        kernel: i64,
        geometry: DepthwiseGeometry,
    ) -> Self {
        let all = edges * channels;
        Self {
            depthwise: store.uniform(format!("{depthwise}.weight"), &[all, 1, kernel, kernel], kernel * kernel),
            pointwise: store.uniform(format!("{pointwise}.weight"), &[all, channels, 1, 1], channels),
            geometry,
        }
    }

    /// That of one edge alone; the weights are shared.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn of_edge(&self, edge: i64) -> Result<Self, TorchError> {
        let channels = self.pointwise.size()[1];
        let part = |weights: &Tensor| weights.f_narrow(0, edge * channels, channels);
        Ok(Self { depthwise: part(&self.depthwise)?, pointwise: part(&self.pointwise)?, geometry: self.geometry })
    }

    /// `x`: `[N, C, H, W]` for all edges, or `[N, E * C, H, W]` with the input of each. Returns
    /// `[N, E * C, H / stride, W / stride]`.
    ///
    /// # Errors
    /// When the input does not fit the weights.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, TorchError> {
        self.convolve(x, None)
    }

    /// The same of `x` normalised by `norm`, as in [`BatchNorm::forward`].
    ///
    /// # Errors
    /// As [`SeparableConv::forward`] and [`BatchNorm::forward`].
    pub fn forward_normalised(&self, x: &Tensor, norm: &BatchNorm, training: bool) -> Result<Tensor, TorchError> {
        self.convolve(x, Some(norm.as_norm(training)))
    }

    fn convolve(&self, x: &Tensor, norm: Option<Norm<'_>>) -> Result<Tensor, TorchError> {
        let Self { depthwise, pointwise, geometry } = self;
        // Under autocast `x` is in bfloat16 and so is the result; the weights stay in 32 bits.
        separable_conv(x, SeparableWeights { depthwise, pointwise }, *geometry, norm)
    }
}
