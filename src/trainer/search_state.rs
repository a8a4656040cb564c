//! All that a stage of the search trains: the supernet, its alphas and their optimizers.

use tch::{Device, Kind, Tensor};

use super::ImageBatch;
use crate::config::OptimizerConfig;
use crate::optim::{Adam, AdamOptions, FlatParameters, FlatStatistics, Sgd, SgdOptions, clip_gradient_norm};
use crate::search::{ArchitectureParameters, ForwardMode, Relaxation, Supernet, SupernetShape};
use crate::torch::TorchError;

/// One stage's network with its flat parameters and optimizers.
pub struct SearchState {
    network: Supernet,
    alphas: ArchitectureParameters,
    relaxation: Box<dyn Relaxation>,
    /// The network's weights.
    pub weights: FlatParameters,
    /// The alphas of both kinds of cell.
    pub flat_alphas: FlatParameters,
    /// Running means and variances.
    pub statistics: FlatStatistics,
    /// Steps the weights.
    pub sgd: Sgd,
    /// Steps the alphas.
    pub adam: Adam,
    weight_clip: f64,
    alpha_clip: f64,
}

/// What a step computed, on the device.
#[derive(Debug)]
pub struct StepResult {
    /// Mean loss of the batch, a scalar.
    pub loss: Tensor,
    /// `[N, classes]`.
    pub logits: Tensor,
}

impl SearchState {
    /// Fresh weights and alphas from libtorch's generator: seed it first.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    pub fn new(
        shape: &SupernetShape,
        alpha_init_scale: f64,
        optimizer: &OptimizerConfig,
        relaxation: Box<dyn Relaxation>,
        device: Device,
        kind: Kind,
    ) -> Result<Self, TorchError> {
        let network = Supernet::new(shape, device, kind);
        let num_operations = shape.switches.normal.live(0).len();
        let alphas = ArchitectureParameters::random(num_operations, alpha_init_scale, device, kind);
        let weights = FlatParameters::flatten(network.parameters().trainable())?;
        let statistics = FlatStatistics::flatten(network.parameters().statistics())?;
        let flat_alphas = FlatParameters::flatten(&alphas.named())?;
        let sgd_options =
            SgdOptions { momentum: optimizer.weights.momentum, weight_decay: optimizer.weights.weight_decay };
        let adam_options = AdamOptions {
            learning_rate: optimizer.alphas.learning_rate,
            beta1: optimizer.alphas.beta1,
            beta2: optimizer.alphas.beta2,
            weight_decay: optimizer.alphas.weight_decay,
        };
        Ok(Self {
            sgd: Sgd::new(&weights, sgd_options),
            adam: Adam::new(&flat_alphas, adam_options),
            weight_clip: optimizer.weights.gradient_clip,
            alpha_clip: optimizer.alphas.gradient_clip,
            network,
            alphas,
            relaxation,
            weights,
            flat_alphas,
            statistics,
        })
    }

    /// The architecture parameters.
    pub fn alphas(&self) -> &ArchitectureParameters {
        &self.alphas
    }

    /// Mean cross-entropy and logits of a batch.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn forward(&self, batch: &ImageBatch, mode: ForwardMode) -> Result<StepResult, TorchError> {
        let normal = self.relaxation.weights(&self.alphas.normal);
        let reduction = self.relaxation.weights(&self.alphas.reduction);
        let logits = self.network.forward(&batch.images, &normal, &reduction, mode)?;
        Ok(StepResult { loss: logits.cross_entropy_for_logits(&batch.labels), logits })
    }

    /// One SGD step of the weights on `batch`, the alphas being fixed.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn weight_step(
        &mut self,
        batch: &ImageBatch,
        learning_rate: f64,
        mode: ForwardMode,
    ) -> Result<StepResult, TorchError> {
        self.flat_alphas.set_trained(false);
        self.weights.set_trained(true);
        self.weights.zero_gradients();
        let result = self.forward(batch, mode)?;
        result.loss.f_backward()?;
        let _norm = clip_gradient_norm(self.weights.gradients(), self.weight_clip);
        self.sgd.step(&self.weights, learning_rate);
        Ok(result)
    }

    /// One Adam step of the alphas on `batch`, the weights being fixed.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn alpha_step(&mut self, batch: &ImageBatch, mode: ForwardMode) -> Result<StepResult, TorchError> {
        self.weights.set_trained(false);
        self.flat_alphas.set_trained(true);
        self.flat_alphas.zero_gradients();
        let result = self.forward(batch, mode)?;
        result.loss.f_backward()?;
        let _norm = clip_gradient_norm(self.flat_alphas.gradients(), self.alpha_clip);
        self.adam.step(&self.flat_alphas);
        Ok(result)
    }
}
