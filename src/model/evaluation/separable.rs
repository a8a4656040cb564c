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

    /// `[N, C, H, W]` to `[N, C, H / stride, W / stride]`, and the BatchNorm that is still to come.
    ///
    /// # Errors
    /// When `x` does not fit the weights, or as [`BatchNorm::forward`].
    pub fn forward(&self, x: &Tensor, training: bool) -> Result<(Tensor, Option<&BatchNorm>), TorchError> {
        let (mut y, mut before) = (x.shallow_clone(), None);
        for Layer { conv, bn } in &self.layers {
            y = match before {
                Some(norm) => conv.forward_normalised(&y, norm, training)?,
                None => conv.forward(&y)?,
            };
            before = Some(bn);
        }
        Ok((y, before))
    }
}
