//! ReLU, depthwise convolution, pointwise convolution, BatchNorm, once or twice: sep_conv and dil_conv.

use tch::Tensor;

use crate::model::{BatchNorm, ParameterStore, SeparableConv};
use crate::torch::{DepthwiseGeometry, TorchError};

/// Separable convolutions in turn, each followed by its BatchNorm.
#[derive(Debug)]
pub(super) struct SeparableChain {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    conv: SeparableConv,
    bn: BatchNorm,
}

impl SeparableChain {
    /// One layer for each of `geometries`. Layer `i` is the authors' modules `4 * i + 1` (depthwise), `4 * i + 2` and
    /// `4 * i + 3` of `{name}.op`.
    pub fn new(
        store: &mut ParameterStore,
        name: &str,
        channels: i64,
        kernel: i64,
        geometries: &[DepthwiseGeometry],
    ) -> Self {
        let layers = geometries.iter().enumerate().map(|(index, &geometry)| {
            let module = |offset: usize| format!("{name}.op.{}", 4 * index + offset);
            let names = [module(1), module(2)];
            Layer {
                conv: SeparableConv::new(store, &names, 1, channels, kernel, geometry),
                bn: BatchNorm::affine(store, &module(3), channels),
            }
        });
        Self { layers: layers.collect() }
    }

    /// `[N, C, H, W]` to `[N, C, H / stride, W / stride]`.
    ///
    /// # Errors
    /// When `x` does not fit the weights, or as [`BatchNorm::forward`].
    pub fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor, TorchError> {
        let mut layers = self.layers.iter();
        let Some(mut before) = layers.next() else { return Ok(x.shallow_clone()) };
        let mut y = before.conv.forward(x)?;
        for layer in layers {
            y = layer.conv.forward_normalised(&y, &before.bn, training)?;
            before = layer;
        }
        before.bn.forward(&y, training)
    }
}
