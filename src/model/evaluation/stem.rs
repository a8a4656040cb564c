//! What stands before the cells: it turns an image into the two inputs of the first cell.

use tch::Tensor;

use crate::genotype::NetworkKind;
use crate::model::{BatchNorm, Conv2d, ParameterStore};
use crate::torch::TorchError;

/// Channels of CIFAR's stem, for each channel of the first cell's states.
const CIFAR_MULTIPLIER: i64 = 3;

/// The stem of either network.
#[derive(Debug)]
pub(super) enum Stem {
    /// One 3x3 convolution to `3 * C` channels.
    Cifar(ConvBn),
    /// Three 3x3 convolutions of stride 2, to `C / 2`, `C` and `C` channels.
    ImageNet { half: ConvBn, quarter: ConvBn, eighth: ConvBn },
}

/// A 3x3 convolution with BatchNorm.
#[derive(Debug)]
pub(super) struct ConvBn {
    conv: Conv2d,
    bn: BatchNorm,
}

/// The inputs of the first cell, through their ReLU.
pub(super) struct StemOutput {
    pub older: Tensor,
    pub newer: Tensor,
}

impl ConvBn {
    fn new(store: &mut ParameterStore, names: [&str; 2], channels: (i64, i64), stride: i64) -> Self {
        let [conv, bn] = names;
        Self { conv: Conv2d::dense(store, conv, channels, 3, stride), bn: BatchNorm::affine(store, bn, channels.1) }
    }

    /// With the ReLU that everything after it begins with.
    fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor, TorchError> {
        Ok(self.bn.forward(&self.conv.forward(x)?, training)?.f_relu()?)
    }
}

impl Stem {
    pub fn new(store: &mut ParameterStore, kind: NetworkKind, channels: i64) -> Self {
        match kind {
            NetworkKind::Cifar => {
                Self::Cifar(ConvBn::new(store, ["stem.0", "stem.1"], (3, CIFAR_MULTIPLIER * channels), 1))
            }
            NetworkKind::ImageNet => Self::ImageNet {
                half: ConvBn::new(store, ["stem0.0", "stem0.1"], (3, channels / 2), 2),
                quarter: ConvBn::new(store, ["stem0.3", "stem0.4"], (channels / 2, channels), 2),
                eighth: ConvBn::new(store, ["stem1.1", "stem1.2"], (channels, channels), 2),
            },
        }
    }

    /// Channels of the stem's outputs.
    pub fn channels(kind: NetworkKind, channels: i64) -> i64 {
        match kind {
            NetworkKind::Cifar => CIFAR_MULTIPLIER * channels,
            NetworkKind::ImageNet => channels,
        }
    }

    /// `images`: `[N, 3, H, W]`, channels last.
    ///
    /// # Errors
    /// Those of [`BatchNorm::forward`].
    pub fn forward(&self, images: &Tensor, training: bool) -> Result<StemOutput, TorchError> {
        Ok(match self {
            Self::Cifar(layer) => {
                let newer = layer.forward(images, training)?;
                StemOutput { older: newer.shallow_clone(), newer }
            }
            Self::ImageNet { half, quarter, eighth } => {
                let older = quarter.forward(&half.forward(images, training)?, training)?;
                StemOutput { newer: eighth.forward(&older, training)?, older }
            }
        })
    }
}
