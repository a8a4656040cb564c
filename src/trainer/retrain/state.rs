//! All that a retraining trains: the network, its optimizer, the running average of its weights.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use super::recipe::{self, StepSettings};
use crate::config::TrainConfig;
use crate::model::{
    EvaluationNetwork, NamedTensor, NetworkDescription, NetworkError, NetworkMode, NetworkOutput, cross_entropy,
};
use crate::optim::{Ema, FlatParameters, FlatStatistics, Optimizer, gradient_norm, limit_gradient_norm};
use crate::torch::{TorchError, values_to_device};
use crate::trainer::accumulate::{Pass, PassInputs, forward_backward};
use crate::trainer::checkpoint::{Counters, Resumable};
use crate::trainer::divergence::StepGuard;
use crate::trainer::evaluate::Evaluated;
use crate::trainer::open::dataset_kind;
use crate::trainer::parallel::{RankAverages, ReducerOptions};
use crate::trainer::precision::Computing;
use crate::trainer::replay::Replays;
use crate::trainer::tally::StepSums;
use crate::trainer::views::centre_view;
use crate::trainer::{ForwardResult, ImageBatch, StepImages, StepKind, StepResult, TrainError, optimizer_state};
use crate::weights::{COLOURS_KEY, IMAGES_KEY, NETWORK_KEY, StateDict, TrainedOn, to_safetensors};
use crate::world::{World, activity};

/// Before the names of what checkpoints keep of the optimizer.
const OF_OPTIMIZER: &str = "optimizer.";
/// The counter of the running average.
const EMA_UPDATES: &str = "ema.updates";

/// A network with its flat parameters and optimizer.
pub struct TrainState {
    description: NetworkDescription,
    trained_on: TrainedOn,
    network: EvaluationNetwork,
    /// The network's weights.
    pub weights: FlatParameters,
    /// Running means and variances.
    pub statistics: FlatStatistics,
    /// Steps the weights.
    optimizer: Box<dyn Optimizer>,
    ema: Option<Ema>,
    options: StepOptions,
    /// Whether every step waits for the device to see that its gradient is finite; on the CPU it does anyway.
    pub checks_steps: bool,
    /// Averages over ranks; absent on a single one.
    ranks: Option<RankAverages>,
    /// What the passes of a step add to.
    sums: StepSums,
    replays: Replays<Work>,
}

/// What decides which kernels are queued.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    /// Forward and backward on one of so many parts of a step; whether gradients leave meanwhile.
    Pass { drops_paths: bool, num_parts: usize, sends: bool },
    /// The gradient is clipped and followed, and the running average follows the weights.
    Move,
}

/// What does not change from step to step.
#[derive(Copy, Clone, Debug)]
struct StepOptions {
    gradient_clip: f64,
    auxiliary_weight: f64,
    label_smoothing: f64,
    computing: Computing,
}

impl TrainState {
    /// Fresh weights from libtorch's generator (seed it first), or those of `initial`.
    ///
    /// # Errors
    /// When `initial` is of another network, no network has this shape, or libtorch refuses, for example for want of memory.
    pub fn new(
        description: NetworkDescription,
        config: &TrainConfig,
        device: Device,
        initial: Option<&StateDict>,
    ) -> Result<Self, TrainError> {
        let mut network = description.build(device, Kind::Float)?;
        if let Some(initial) = initial {
            initial.load_into(&network)?;
        }
        network.checkpoint_cells(config.model.checkpoint_cells);
        let weights = FlatParameters::flatten(network.parameters().trainable())?;
        let statistics = FlatStatistics::flatten(network.parameters().statistics())?;
        let (train, optimizer) = (&config.train, &config.optimizer);
        let averages = train.ema_decay > 0.0;
        Ok(Self {
            optimizer: recipe::optimizer(optimizer, &weights)?,
            ema: averages.then(|| Ema::new(train.ema_decay, &[weights.values(), statistics.values()])).transpose()?,
            options: StepOptions {
                gradient_clip: optimizer.gradient_clip,
                auxiliary_weight: train.auxiliary_weight,
                label_smoothing: train.label_smoothing,
                computing: Computing { precision: train.precision, device },
            },
            checks_steps: false,
            ranks: None,
            sums: StepSums::new(device).map_err(TorchError::from)?,
            replays: Replays::default(),
            trained_on: TrainedOn::new(dataset_kind(config.data.dataset), centre_view(&config.data.images)),
            description,
            network,
            weights,
            statistics,
        })
    }

    /// Makes this state one replica among those of all ranks: gives all of them the values of rank 0, and from now on
    /// averages gradients over them. All ranks call this together, as everything that follows.
    ///
    /// # Errors
    /// When the ranks cannot be reached.
    pub fn replicate(&mut self, world: &World, options: ReducerOptions) -> Result<(), TrainError> {
        let state = self.optimizer.state().into_iter().map(|(_, buffer)| buffer);
        let mut buffers: Vec<&Tensor> = std::iter::once(self.weights.values()).chain(state).collect();
        if let Some([weights, _]) = self.ema.as_ref().map(Ema::averages) {
            buffers.push(weights);
        }
        self.ranks = RankAverages::join(world, &self.weights, options, &buffers)?;
        Ok(())
    }

    /// From now on work on a GPU is recorded and replayed, but for an `obstacle` (see [`TrainConfig::obstacle_to_graphs`]).
    pub fn replay(&mut self, obstacle: Option<&'static str>) {
        self.replays = Replays::on(self.weights.values().device(), obstacle);
    }

    /// Kernels and copies of all work that was replayed so far.
    pub fn replayed_launches(&self) -> u64 {
        self.replays.launches()
    }

    /// One step on `images`, this rank's share of the global batch; the gradients of their parts add up. The loss is the
    /// sum that was differentiated, the auxiliary head's share included.
    ///
    /// # Errors
    /// When the images do not fit, or libtorch or the exchange of gradients fails; [`TrainError::NotFinite`] where the
    /// step was not taken.
    pub fn weight_step(
        &mut self,
        images: &mut StepImages<'_>,
        settings: &StepSettings,
    ) -> Result<StepResult, TrainError> {
        self.weights.zero_gradients()?;
        let guard = StepGuard::begin(&self.statistics, self.checks_steps)?;
        let drop_path = settings.drop_path;
        let (drops_paths, num_parts) = (drop_path > 0.0, images.num_parts());
        // Taken out, so that the pass can see the rest.
        let mut replays = std::mem::take(&mut self.replays);
        let result = forward_backward(
            images,
            Pass {
                replays: &mut replays,
                kinds: [false, self.ranks.is_some()].map(|sends| Work::Pass { drops_paths, num_parts, sends }),
                probability: drop_path,
                trained: &[&self.weights],
                sums: &self.sums,
                ranks: self.ranks.as_ref(),
            },
            |part| Ok(self.mixed(part, settings)?),
            |images, targets| Ok(self.training_loss(images, targets, drop_path)?),
        );
        self.replays = replays;
        let result = result.inspect_err(|_| self.ranks.iter().for_each(RankAverages::give_up))?;
        if let Some(ranks) = &mut self.ranks {
            ranks.finish()?;
        }
        let _span = activity::phase("optimizer");
        let norm = gradient_norm(self.weights.gradients())?;
        guard.check(StepKind::Weights, &self.weights, &norm, &result)?;
        self.move_weights(&norm, settings.learning_rate)?;
        Ok(result)
    }

    /// Clips the gradient, whose norm this is, and follows it.
    fn move_weights(&mut self, norm: &Tensor, learning_rate: f64) -> Result<(), TrainError> {
        let mut numbers = self.optimizer.begin_step(learning_rate);
        let num_of_optimizer = numbers.len() as i64;
        numbers.extend(self.ema.as_mut().map(Ema::begin_update));
        let numbers = values_to_device(&numbers, norm.device())?;
        self.replays.run(Work::Move, &[norm, &numbers], 0.0, |inputs| {
            let (norm, numbers) = (inputs[0], inputs[1]);
            if self.options.gradient_clip > 0.0 {
                limit_gradient_norm(self.weights.gradients(), norm, self.options.gradient_clip)?;
            }
            self.optimizer.move_parameters(&self.weights, &numbers.f_narrow(0, 0, num_of_optimizer)?)?;
            if let Some(ema) = &self.ema {
                let share = numbers.f_select(0, num_of_optimizer)?;
                ema.move_averages(&[self.weights.values(), self.statistics.values()], &share)?;
            }
            Ok(())
        })
    }

    /// What a part of a step passes through the network.
    fn mixed(&self, batch: &ImageBatch, settings: &StepSettings) -> Result<PassInputs, TorchError> {
        let num_classes = self.description.shape.num_classes as i64;
        let inputs = PassInputs::from(batch);
        Ok(match settings.mixing.map(|mixing| mixing.apply(batch, num_classes)).transpose()? {
            Some(mixed) => PassInputs { images: mixed.images, targets: Some(mixed.targets), ..inputs },
            None => inputs,
        })
    }

    fn training_loss(&self, images: &Tensor, targets: &Tensor, drop_path: f64) -> Result<ForwardResult, NetworkError> {
        let output = self.forward(images, NetworkMode::Training { drop_path })?;
        let loss_of = |logits: &Tensor| cross_entropy(logits, targets, self.options.label_smoothing);
        let mut loss = loss_of(&output.logits)?;
        if let Some(logits) = &output.auxiliary_logits {
            let auxiliary = loss_of(logits)?.f_mul_scalar(self.options.auxiliary_weight).map_err(TorchError::from)?;
            loss = loss.f_add(&auxiliary).map_err(TorchError::from)?;
        }
        Ok(ForwardResult { loss, logits: output.logits })
    }

    /// Logits in 32 bits, whatever the network computes in.
    fn forward(&self, images: &Tensor, mode: NetworkMode) -> Result<NetworkOutput, NetworkError> {
        let output = {
            let _precision = self.options.computing.forward_pass()?;
            self.network.forward(images, mode)?
        };
        let in_32_bits = |logits: &Tensor| logits.f_to_kind(Kind::Float).map_err(TorchError::from);
        Ok(NetworkOutput {
            logits: in_32_bits(&output.logits)?,
            auxiliary_logits: output.auxiliary_logits.as_ref().map(in_32_bits).transpose()?,
        })
    }

    /// What `work` makes of the network with the averages of weights and statistics in place of their values; `None`
    /// when there are no averages.
    ///
    /// # Errors
    /// Those of `work`, and when libtorch refuses the exchange.
    pub fn with_average<R>(
        &mut self,
        work: impl FnOnce(&Self) -> Result<R, TrainError>,
    ) -> Result<Option<R>, TrainError> {
        // Taken out, so that `work` can see the rest.
        let Some(mut ema) = self.ema.take() else { return Ok(None) };
        ema.exchange(&[self.weights.values(), self.statistics.values()])?;
        let result = work(self);
        ema.exchange(&[self.weights.values(), self.statistics.values()])?;
        self.ema = Some(ema);
        result.map(Some)
    }

    /// The network's tensors under the authors' names.
    pub fn state_dict(&self) -> Vec<NamedTensor> {
        self.named(self.weights.values(), self.statistics.values(), "")
    }

    /// The bytes of a file with [`TrainState::state_dict`] that says of which network it is and what its images were
    /// normalised with.
    ///
    /// # Errors
    /// When a tensor cannot be copied from the device.
    pub fn weights_file(&self) -> Result<Vec<u8>, TrainError> {
        let tensors = self.state_dict().into_iter().map(|NamedTensor { name, tensor }| (name, tensor)).collect();
        Ok(to_safetensors(&tensors, self.metadata())?)
    }

    /// What is needed to build the network.
    pub fn description(&self) -> &NetworkDescription {
        &self.description
    }

    /// The tensors of the network within buffers of `weights` and `statistics`.
    fn named(&self, weights: &Tensor, statistics: &Tensor, prefix: &str) -> Vec<NamedTensor> {
        let parameters = self.network.parameters();
        let names = parameters.trainable().iter().chain(parameters.statistics());
        let tensors = self.weights.split(weights).into_iter().chain(self.statistics.split(statistics));
        names
            .zip(tensors)
            .map(|(named, tensor)| NamedTensor { name: format!("{prefix}{}", named.name), tensor })
            .collect()
    }
}

impl Evaluated for TrainState {
    fn evaluate(&self, batch: &ImageBatch) -> Result<StepResult, TrainError> {
        let logits = self.forward(&batch.images, NetworkMode::Evaluation)?.logits;
        let loss = cross_entropy(&logits, &batch.labels, 0.0)?;
        Ok(ForwardResult { loss, logits }.counted(&batch.labels)?)
    }
}

impl Resumable for TrainState {
    /// Weights and statistics under the authors' names, and what only a continuation needs as `optimizer.*` and `ema.*`.
    fn tensors(&self) -> Vec<NamedTensor> {
        let mut tensors = self.state_dict();
        tensors.extend(optimizer_state::buffers(OF_OPTIMIZER, self.optimizer.as_ref()));
        if let Some([weights, statistics]) = self.ema.as_ref().map(Ema::averages) {
            tensors.extend(self.named(weights, statistics, "ema."));
        }
        tensors
    }

    fn common_buffers(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("the weights", self.weights.values())]
    }

    fn local_buffers(&self) -> Vec<&Tensor> {
        let averages = self.ema.as_ref().and_then(|ema| ema.averages().last());
        std::iter::once(self.statistics.values()).chain(averages).collect()
    }

    fn counters(&self) -> Counters {
        let mut counters = optimizer_state::counters(OF_OPTIMIZER, self.optimizer.as_ref());
        counters.extend(self.ema.iter().map(|ema| (EMA_UPDATES.to_owned(), ema.num_updates())));
        counters
    }

    fn set_counters(&mut self, counters: &Counters) {
        optimizer_state::set_counters(OF_OPTIMIZER, self.optimizer.as_mut(), counters);
        if let (Some(ema), Some(&updates)) = (&mut self.ema, counters.get(EMA_UPDATES)) {
            ema.set_num_updates(updates);
        }
    }

    fn metadata(&self) -> HashMap<String, String> {
        // A genotype and numbers always have a JSON form.
        let entries = [
            (NETWORK_KEY, serde_json::to_string(&self.description)),
            (COLOURS_KEY, serde_json::to_string(&self.trained_on.dataset.colours())),
            (IMAGES_KEY, serde_json::to_string(&self.trained_on)),
        ];
        entries.into_iter().filter_map(|(key, json)| Some((key.to_owned(), json.ok()?))).collect()
    }
}
