//! All that a stage of the search trains: the supernet, its alphas and their optimizers.

use std::time::Duration;

use tch::{Device, Kind, Tensor, no_grad};

use crate::config::{Precision, SearchOptimizerSection, StrategyName};
use crate::genotype::Alphas;
use crate::model::NamedTensor;
use crate::model::cross_entropy;
use crate::optim::{
    Adam, AdamDecay, FlatParameters, FlatStatistics, MomentOptions, Optimizer, ParameterGroups, Sgd, SgdOptions,
    gradient_norm, limit_gradient_norm,
};
use crate::search::{ArchitectureOptions, CostPenalty, ForwardMode, Strategy, Supernet, SupernetShape, new_strategy};
use crate::torch::{TorchError, values_to_device};
use crate::trainer::accumulate::{Pass, forward_backward};
use crate::trainer::checkpoint::{Counters, Resumable, hash_values};
use crate::trainer::divergence::StepGuard;
use crate::trainer::evaluate::Evaluated;
use crate::trainer::parallel::{RankAverages, ReducerOptions};
use crate::trainer::precision::Computing;
use crate::trainer::replay::Replays;
use crate::trainer::tally::StepSums;
use crate::trainer::{ForwardResult, ImageBatch, StepImages, StepKind, StepResult, TrainError, optimizer_state};
use crate::world::{Label, World, activity};

/// PyTorch's default, which the authors keep.
const ADAM_EPSILON: f64 = 1e-8;
/// Before the names of what checkpoints keep of the optimizers.
const OF_WEIGHTS: &str = "weights_";
const OF_ALPHAS: &str = "alphas_";

/// One stage's network with its flat parameters and optimizers.
pub struct SearchState {
    network: Supernet,
    strategy: Box<dyn Strategy>,
    /// The network's weights.
    pub weights: FlatParameters,
    /// The strategy's parameters.
    pub flat_alphas: FlatParameters,
    /// Running means and variances.
    pub statistics: FlatStatistics,
    /// Steps the weights.
    pub sgd: Sgd,
    /// Steps the alphas.
    pub adam: Adam,
    alpha_learning_rate: f64,
    weight_clip: f64,
    alpha_clip: f64,
    /// Whether every step waits for the device to see that its gradient is finite; on the CPU it does anyway.
    pub checks_steps: bool,
    /// What passes compute in.
    computing: Computing,
    /// What the alphas' loss holds beside the images.
    penalty: Option<CostPenalty>,
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
    Pass { trained: Trained, drops_skips: bool, num_parts: usize, sends: bool },
    /// The weights' gradient is clipped and followed.
    MoveWeights,
    /// The same of the alphas.
    MoveAlphas,
}

/// What a pass computes gradients of.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Trained {
    weights: bool,
    alphas: bool,
}

impl Trained {
    pub const WEIGHTS: Self = Self { weights: true, alphas: false };
    pub const ALPHAS: Self = Self { weights: false, alphas: true };
    pub const BOTH: Self = Self { weights: true, alphas: true };
}

impl SearchState {
    /// Fresh weights and alphas from libtorch's generator: seed it first.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    pub fn new(
        shape: &SupernetShape,
        alpha_init_scale: f64,
        optimizer: &SearchOptimizerSection,
        strategy: StrategyName,
        device: Device,
        kind: Kind,
    ) -> Result<Self, TorchError> {
        let network = Supernet::new(shape, device, kind)?;
        let num_operations = shape.switches.normal.live(0).len();
        let options = ArchitectureOptions { num_operations, scale: alpha_init_scale, device, kind };
        let strategy = new_strategy(strategy, options)?;
        let weights = FlatParameters::flatten(network.parameters().trainable())?;
        let statistics = FlatStatistics::flatten(network.parameters().statistics())?;
        let flat_alphas = FlatParameters::flatten(&strategy.parameters())?;
        let groups = ParameterGroups::uniform(&weights, optimizer.weights.weight_decay);
        let alpha_groups = ParameterGroups::uniform(&flat_alphas, optimizer.alphas.weight_decay);
        let sgd_options = SgdOptions { momentum: optimizer.weights.momentum, nesterov: false };
        let (beta1, beta2) = (optimizer.alphas.beta1, optimizer.alphas.beta2);
        let adam_options = MomentOptions { beta1, beta2, epsilon: ADAM_EPSILON };
        Ok(Self {
            sgd: Sgd::new(&weights, &groups, sgd_options)?,
            adam: Adam::new(&flat_alphas, &alpha_groups, adam_options, AdamDecay::Gradient)?,
            alpha_learning_rate: optimizer.alphas.learning_rate,
            weight_clip: optimizer.weights.gradient_clip,
            alpha_clip: optimizer.alphas.gradient_clip,
            checks_steps: false,
            computing: Computing { precision: Precision::Float32, device },
            penalty: None,
            ranks: None,
            sums: StepSums::new(device)?,
            replays: Replays::default(),
            network,
            strategy,
            weights,
            flat_alphas,
            statistics,
        })
    }

    /// Takes over weights, statistics and alphas of `other`, a state of the same shape, whatever its floating-point type is.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub(super) fn take_values_of(&self, other: &Self) -> Result<(), TorchError> {
        // One by one, for the gaps in flat buffers follow from the type.
        let tensors = |state: &Self| -> Vec<Tensor> {
            let (network, alphas) = (state.network.parameters(), state.strategy.parameters());
            let all = network.trainable().iter().chain(network.statistics()).chain(&alphas);
            all.map(|named| named.tensor.shallow_clone()).collect()
        };
        no_grad(|| {
            tensors(self).iter_mut().zip(tensors(other)).try_for_each(|(own, theirs)| own.f_copy_(&theirs).map(drop))
        })?;
        Ok(())
    }

    /// See [`Supernet::checkpoint_cells`].
    pub fn checkpoint_cells(&mut self, checkpoint: bool) {
        self.network.checkpoint_cells(checkpoint);
    }

    /// From now on work on a GPU is recorded and replayed, but for an `obstacle`; see
    /// [`obstacle_to_graphs`](crate::config::SearchConfig::obstacle_to_graphs). Passes that train weights have one `of_weights`,
    /// which is told.
    pub fn replay(&mut self, obstacle: Option<&'static str>, of_weights: Option<&'static str>) {
        self.replays = Replays::on(self.weights.values().device(), obstacle);
        self.replays.tell_of("passes that train weights", of_weights);
    }

    /// Kernels and copies of all work that was replayed so far.
    pub fn replayed_launches(&self) -> u64 {
        self.replays.launches()
    }

    /// From now on convolutions compute in `precision`, in a state in single precision.
    pub fn compute_in(&mut self, precision: Precision) {
        self.computing.precision = precision;
    }

    /// From now on the loss of the alphas holds what the network is expected to cost, if anything of it.
    pub fn penalise(&mut self, penalty: Option<CostPenalty>) {
        self.penalty = penalty;
    }

    /// What the penalty adds to the loss of the alphas, by the strategy's deterministic choice; nothing without one.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn penalty(&self) -> Result<Option<f64>, TorchError> {
        let Some(penalty) = &self.penalty else { return Ok(None) };
        no_grad(|| Ok(Some(penalty.expected(&self.strategy.mixing(ForwardMode::evaluation())?)?.f_double_value(&[])?)))
    }

    /// Makes this state one replica among those of all ranks: gives all of them the values of rank 0, and from now on
    /// averages gradients over them. All ranks call this together, as everything that follows.
    ///
    /// # Errors
    /// When the ranks cannot be reached.
    pub fn replicate(&mut self, world: &World, options: ReducerOptions) -> Result<(), TrainError> {
        let state = self.sgd.state().into_iter().chain(self.adam.state()).map(|(_, buffer)| buffer);
        let buffers: Vec<&Tensor> =
            [self.weights.values(), self.flat_alphas.values()].into_iter().chain(state).collect();
        self.ranks = RankAverages::join(world, &self.weights, options, &buffers)?;
        Ok(())
    }

    /// How long steps have waited for sums over ranks that the backward pass did not hide, on the host; zero on a single
    /// rank.
    pub fn exposed_communication(&self) -> Duration {
        self.ranks.as_ref().map_or(Duration::ZERO, RankAverages::exposed)
    }

    /// The supernet.
    pub fn network(&self) -> &Supernet {
        &self.network
    }

    /// What owns the architecture parameters.
    pub fn strategy(&self) -> &dyn Strategy {
        &*self.strategy
    }

    /// The architecture parameters on the host.
    ///
    /// # Errors
    /// When libtorch cannot copy them.
    pub fn alphas(&self) -> Result<Alphas, TrainError> {
        Ok(self.strategy.values()?)
    }

    /// Mean cross-entropy and logits of a batch.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn forward(&self, batch: &ImageBatch, mode: ForwardMode) -> Result<ForwardResult, TorchError> {
        self.loss(&batch.images, &batch.labels, mode)
    }

    fn loss(&self, images: &Tensor, labels: &Tensor, mode: ForwardMode) -> Result<ForwardResult, TorchError> {
        let mixing = self.strategy.mixing(mode)?;
        let logits = {
            let _precision = self.computing.forward_pass()?;
            self.network.forward(images, &mixing, mode)?
        };
        let logits = logits.f_to_kind(self.weights.values().kind())?;
        Ok(ForwardResult { loss: cross_entropy(&logits, labels, 0.0)?, logits })
    }

    /// One SGD step of the weights on `images`, this rank's share of the global batch, the alphas being fixed; the
    /// gradients of their parts add up.
    ///
    /// # Errors
    /// When libtorch or the exchange of gradients fails; [`TrainError::NotFinite`] where the step was not taken.
    pub fn weight_step(
        &mut self,
        images: &mut StepImages<'_>,
        learning_rate: f64,
        mode: ForwardMode,
    ) -> Result<StepResult, TrainError> {
        let guard = self.guard()?;
        let result = self.gradients(images, mode, Trained::WEIGHTS)?;
        let norm = self.weight_norm(guard, &result)?;
        self.move_weights(&norm, learning_rate)?;
        Ok(result)
    }

    /// One step of the weights and one of the alphas along the gradients of one pass over `images`.
    ///
    /// # Errors
    /// Those of [`weight_step`](Self::weight_step); then neither step was taken.
    pub fn joint_step(
        &mut self,
        images: &mut StepImages<'_>,
        learning_rate: f64,
        mode: ForwardMode,
    ) -> Result<StepResult, TrainError> {
        let (of_weights, of_alphas) = (self.guard()?, self.guard()?);
        let result = self.gradients(images, mode, Trained::BOTH)?;
        let (weights, alphas) = (self.weight_norm(of_weights, &result)?, self.alpha_norm(of_alphas, &result, mode)?);
        self.move_weights(&weights, learning_rate)?;
        self.move_alphas(&alphas)?;
        Ok(result)
    }

    /// The norm of the weights' gradient, which is finite.
    fn weight_norm(&self, guard: StepGuard, result: &StepResult) -> Result<Tensor, TrainError> {
        let _span = activity::phase("SGD");
        let norm = gradient_norm(self.weights.gradients())?;
        guard.check(StepKind::Weights, &self.weights, &norm, result)?;
        Ok(norm)
    }

    fn move_weights(&mut self, norm: &Tensor, learning_rate: f64) -> Result<(), TrainError> {
        let _span = activity::phase("SGD");
        let numbers = values_to_device(&self.sgd.begin_step(learning_rate), norm.device())?;
        self.replays.run(Work::MoveWeights, &[norm, &numbers], 0.0, |inputs| {
            limit_gradient_norm(self.weights.gradients(), inputs[0], self.weight_clip)?;
            Ok(self.sgd.move_parameters(&self.weights, inputs[1])?)
        })
    }

    /// One Adam step of the alphas on `images`, this rank's share of the global batch, the weights being fixed; the
    /// gradients of their parts add up.
    ///
    /// # Errors
    /// When libtorch or the exchange of gradients fails; [`TrainError::NotFinite`] where the step was not taken.
    pub fn alpha_step(&mut self, images: &mut StepImages<'_>, mode: ForwardMode) -> Result<StepResult, TrainError> {
        let guard = self.guard()?;
        let result = self.gradients(images, mode, Trained::ALPHAS)?;
        self.step_alphas(guard, &result, mode)?;
        Ok(result)
    }

    /// Looks after the step that begins.
    pub(super) fn guard(&self) -> Result<StepGuard, TorchError> {
        StepGuard::begin(&self.statistics, self.checks_steps)
    }

    /// The gradient of the mean loss of `images`, this rank's share of the global batch: of the weights averaged over
    /// ranks, of the alphas this rank's own.
    ///
    /// # Errors
    /// When libtorch or the exchange of gradients fails.
    pub(super) fn gradients(
        &mut self,
        images: &mut StepImages<'_>,
        mode: ForwardMode,
        trained: Trained,
    ) -> Result<StepResult, TrainError> {
        self.flat_alphas.set_trained(trained.alphas);
        self.weights.set_trained(trained.weights);
        if trained.alphas {
            self.flat_alphas.zero_gradients()?;
        }
        if trained.weights {
            self.weights.zero_gradients()?;
        }
        let groups = [(trained.weights, &self.weights), (trained.alphas, &self.flat_alphas)];
        let groups: Vec<_> = groups.into_iter().filter_map(|(trained, group)| trained.then_some(group)).collect();
        let drops_skips = mode.skip_dropout > 0.0;
        let num_parts = images.num_parts();
        // Taken out, so that the pass can see the rest.
        let mut kept = std::mem::take(&mut self.replays);
        let mut not_replayed = Replays::default();
        let replays = if mode.repeats_its_work() { &mut kept } else { &mut not_replayed };
        let ranks = self.ranks.as_ref().filter(|_| trained.weights);
        let kinds = [false, ranks.is_some()].map(|sends| Work::Pass { trained, drops_skips, num_parts, sends });
        let result = forward_backward(
            images,
            Pass { replays, kinds, probability: mode.skip_dropout, trained: &groups, sums: &self.sums, ranks },
            |part| Ok(part.into()),
            |images, labels| Ok(self.loss(images, labels, mode)?),
        );
        self.replays = kept;
        let result = result.inspect_err(|_| self.ranks.iter().for_each(RankAverages::give_up))?;
        if let Some(ranks) = self.ranks.as_mut().filter(|_| trained.weights) {
            ranks.finish()?;
        }
        Ok(result)
    }

    /// One Adam step along the gradient of the alphas, averaged over ranks; `guard` began before its forward pass, whose
    /// `result` it tells and whose `mode` it was.
    ///
    /// # Errors
    /// Those of [`alpha_step`](Self::alpha_step).
    pub(super) fn step_alphas(
        &mut self,
        guard: StepGuard,
        result: &StepResult,
        mode: ForwardMode,
    ) -> Result<(), TrainError> {
        let norm = self.alpha_norm(guard, result, mode)?;
        self.move_alphas(&norm)
    }

    /// Averages the alphas' gradient over ranks.
    ///
    /// # Errors
    /// When the exchange fails.
    pub(super) fn average_alpha_gradient(&mut self) -> Result<(), TrainError> {
        if let Some(ranks) = &mut self.ranks {
            ranks.average(self.flat_alphas.gradients(), Label::new("all-reduce of alpha gradients"))?;
        }
        Ok(())
    }

    /// Averages the alphas' gradient over ranks and adds that of the penalty; returns its norm, which is finite.
    fn alpha_norm(&mut self, guard: StepGuard, result: &StepResult, mode: ForwardMode) -> Result<Tensor, TrainError> {
        self.average_alpha_gradient()?;
        if let Some(penalty) = &self.penalty {
            penalty.expected(&self.strategy.mixing(mode)?)?.f_backward()?;
            self.flat_alphas.accumulate_gradients()?;
        }
        let _span = activity::phase("Adam");
        let norm = gradient_norm(self.flat_alphas.gradients())?;
        guard.check(StepKind::Alphas, &self.flat_alphas, &norm, result)?;
        Ok(norm)
    }

    fn move_alphas(&mut self, norm: &Tensor) -> Result<(), TrainError> {
        let _span = activity::phase("Adam");
        let numbers = values_to_device(&self.adam.begin_step(self.alpha_learning_rate), norm.device())?;
        self.replays.run(Work::MoveAlphas, &[norm, &numbers], 0.0, |inputs| {
            limit_gradient_norm(self.flat_alphas.gradients(), inputs[0], self.alpha_clip)?;
            Ok(self.adam.move_parameters(&self.flat_alphas, inputs[1])?)
        })
    }
}

/// Fingerprints of what all ranks must have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaHashes {
    /// SHA-256 of the weights and the running statistics.
    pub weights: String,
    /// SHA-256 of the alphas.
    pub alphas: String,
}

impl ReplicaHashes {
    /// Of this rank.
    ///
    /// # Errors
    /// When a buffer cannot be copied from the device.
    pub fn of(state: &SearchState) -> Result<Self, TrainError> {
        Ok(Self {
            weights: hash_values(&[state.weights.values(), state.statistics.values()])?,
            alphas: hash_values(&[state.flat_alphas.values()])?,
        })
    }
}

impl Evaluated for SearchState {
    fn evaluate(&self, batch: &ImageBatch) -> Result<StepResult, TrainError> {
        Ok(self.forward(batch, ForwardMode::evaluation())?.counted(&batch.labels)?)
    }
}

impl Resumable for SearchState {
    fn tensors(&self) -> Vec<NamedTensor> {
        let buffers = [
            ("weights", self.weights.values()),
            ("statistics", self.statistics.values()),
            ("alphas", self.flat_alphas.values()),
        ];
        let named = |(name, tensor): (&str, &Tensor)| NamedTensor { name: name.into(), tensor: tensor.shallow_clone() };
        let of_sgd = optimizer_state::buffers(OF_WEIGHTS, &self.sgd);
        buffers.into_iter().map(named).chain(of_sgd).chain(optimizer_state::buffers(OF_ALPHAS, &self.adam)).collect()
    }

    fn common_buffers(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("the alphas", self.flat_alphas.values()), ("the weights", self.weights.values())]
    }

    fn local_buffers(&self) -> Vec<&Tensor> {
        vec![self.statistics.values()]
    }

    fn counters(&self) -> Counters {
        let mut counters = optimizer_state::counters(OF_WEIGHTS, &self.sgd);
        counters.extend(optimizer_state::counters(OF_ALPHAS, &self.adam));
        counters
    }

    fn set_counters(&mut self, counters: &Counters) {
        optimizer_state::set_counters(OF_WEIGHTS, &mut self.sgd, counters);
        optimizer_state::set_counters(OF_ALPHAS, &mut self.adam, counters);
    }
}
