//! The auxiliary head: a small classifier behind the second reduction that helps training and is not used after it.
//!
//! Source: Szegedy et al. (arXiv:1409.4842), section 5, in the form of the authors' code.

use tch::Tensor;

use crate::genotype::NetworkKind;
use crate::model::{BatchNorm, Conv2d, Linear, ParameterStore};
use crate::torch::TorchError;

const NAME: &str = "auxiliary_head";
const POOL: i64 = 5;
/// Height and width after the pooling, which the 2x2 convolution takes to 1.
const POOLED_SIZE: i64 = 2;
const BOTTLENECK: i64 = 128;
const FEATURES: i64 = 768;

/// 5x5 average pooling to 2x2, a 1x1 and a 2x2 convolution with BatchNorm, a linear layer.
#[derive(Debug)]
pub(super) struct AuxiliaryHead {
    stride: i64,
    bottleneck: Conv2d,
    bottleneck_bn: BatchNorm,
    features: Conv2d,
    features_bn: BatchNorm,
    classifier: Linear,
}

impl AuxiliaryHead {
    pub fn new(store: &mut ParameterStore, kind: NetworkKind, channels: i64, num_classes: i64) -> Self {
        let module = |index: usize| format!("{NAME}.features.{index}");
        Self {
            stride: stride(kind),
            bottleneck: Conv2d::pointwise(store, &module(2), (channels, BOTTLENECK), 1, 1),
            bottleneck_bn: BatchNorm::affine(store, &module(3), BOTTLENECK),
            features: Conv2d::unpadded(store, &module(5), (BOTTLENECK, FEATURES), [2, 2]),
            features_bn: BatchNorm::affine(store, &module(6), FEATURES),
            classifier: Linear::new(store, &format!("{NAME}.classifier"), (FEATURES, num_classes)),
        }
    }

    /// Whether it can read states of `size` pixels on a side.
    pub fn fits(kind: NetworkKind, size: i64) -> bool {
        size >= POOL && (size - POOL) / stride(kind) + 1 == POOLED_SIZE
    }

    /// Logits `[N, classes]` of a cell's output `[N, C, H, W]`, which has been through its ReLU; in training only.
    ///
    /// # Errors
    /// Those of [`BatchNorm::forward`].
    pub fn forward(&self, relu: &Tensor) -> Result<Tensor, TorchError> {
        let pooled = relu.f_avg_pool2d([POOL; 2], [self.stride; 2], [0, 0], false, false, None)?;
        let x = self.bottleneck_bn.forward(&self.bottleneck.forward(&pooled)?, true)?.f_relu()?;
        let x = self.features_bn.forward(&self.features.forward(&x)?, true)?.f_relu()?; // [N, 768, 1, 1]
        self.classifier.forward(&x.f_flatten(1, -1)?)
    }
}

fn stride(kind: NetworkKind) -> i64 {
    match kind {
        NetworkKind::Cifar => 3,
        NetworkKind::ImageNet => 2,
    }
}
