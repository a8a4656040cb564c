//! The progressive search, from its first stage to the final cell.
//!
//! Source: P-DARTS (arXiv:1904.12760), section 3; the order of things is that of the authors' code.

mod architecture_step;
mod data;
mod progress;
mod state;

use std::time::Instant;

use tch::Kind;

pub use architecture_step::{ArchitectureStep, FirstOrder, StepInputs};
pub(super) use data::dataset_kind;
pub use data::{SearchData, SearchDataError};
pub use progress::{EpochRecord, IntervalStart, SearchProgress, StageRecord, StepRecord};
pub use state::SearchState;

use crate::config::{BatchNormMode, SearchConfig};
use crate::genotype::{Alphas, Switches, Variant, mean_entropy, restrict};
use crate::optim::{Cosine, CoursePlace, LearningRate};
use crate::search::{ForwardMode, Softmax, Stage, SupernetShape, skip_dropout};
use crate::trainer::checkpoint::{Checkpoint, ResumePoint};
use crate::trainer::evaluate::evaluate;
use crate::trainer::observer::SearchObserver;
use crate::trainer::parallel::{ReplicaHashes, check_derived, check_replicas, synchronise_batch_norm};
use crate::trainer::stop::{Signal, StopSignal};
use crate::trainer::tally::{Tally, TallySums};
use crate::trainer::{ImageBatch, TrainError, derive_seed};
use crate::world::World;
use crate::world::activity::{self, Place};

/// A search over all stages of a configuration.
pub struct Search<'a> {
    /// What to do.
    pub config: &'a SearchConfig,
    /// Where.
    pub world: &'a World,
    /// On what.
    pub data: &'a SearchData,
    /// How alphas are stepped.
    pub architecture_step: Box<dyn ArchitectureStep>,
    /// When to stop early.
    pub stop: StopSignal,
    /// Who records it.
    pub observer: &'a mut dyn SearchObserver,
}

/// How a search ended.
pub enum SearchEnd {
    /// By a signal, after a checkpoint.
    Stopped {
        /// The signal's number.
        signal: Signal,
        /// How far it came.
        progress: Box<SearchProgress>,
    },
    /// With a cell.
    Complete(Box<SearchResult>),
}

/// What a search found.
pub struct SearchResult {
    /// All epochs and stages.
    pub progress: SearchProgress,
    /// The cell under each limit on skip connections.
    pub variants: Vec<Variant>,
    /// Of the last supernet, the same on all ranks.
    pub hashes: ReplicaHashes,
}

/// What an epoch's settings come to.
struct EpochSettings {
    learning_rate: f64,
    skip_dropout: f64,
    trains_alphas: bool,
    validates: bool,
}

impl Search<'_> {
    /// Runs the search from its start or from `resume` to its end or to a stop signal.
    ///
    /// # Errors
    /// When loading, libtorch or recording fails, and when a loss diverges. What was checkpointed stays.
    pub fn run(mut self, resume: Option<&ResumePoint>) -> Result<SearchEnd, TrainError> {
        let stages = Stage::sequence(&self.config.search);
        if self.config.model.batch_norm == BatchNormMode::Sync {
            synchronise_batch_norm(self.world);
        }
        let mut progress = match resume {
            Some(point) => point.checkpoint.header.progress.clone(),
            None => SearchProgress::start(Switches::full(&self.config.search.operations)?),
        };
        let mut resume = resume;
        loop {
            let stage = stages.get(progress.stage).ok_or(TrainError::NoStage(progress.stage + 1))?;
            let mut state = self.new_state(stage, &progress.switches)?;
            if let Some(point) = resume.take() {
                point.checkpoint.restore(&mut state, &point.path, self.world)?;
            }
            state.replicate(self.world, (&self.config.parallel).into())?;
            self.begin_stage(stage, &progress);
            while progress.epoch < self.config.search.epochs {
                let settings = self.epoch_settings(stage, progress.epoch);
                let mut signal = self.train_epoch(&mut state, &mut progress, &settings)?;
                if signal.is_none() {
                    signal = self.finish_epoch(&state, &mut progress, &settings)?;
                }
                if let Some(signal) = signal {
                    self.save(&state, &progress)?;
                    return Ok(SearchEnd::Stopped { signal, progress: Box::new(progress) });
                }
            }
            let alphas = state.alphas().values()?;
            let switches = self.finish_stage(stage, &mut progress, &alphas)?;
            if progress.stage == stages.len() {
                return Ok(SearchEnd::Complete(Box::new(self.result(&state, progress, &switches, &alphas)?)));
            }
        }
    }

    /// The stage's supernet and alphas, drawn afresh.
    fn new_state(&self, stage: &Stage, switches: &Switches) -> Result<SearchState, TrainError> {
        let shape = SupernetShape {
            num_cells: stage.num_cells,
            channels: self.config.model.channels,
            num_classes: self.data.num_classes,
            switches: switches.clone(),
        };
        tch::manual_seed(derive_seed(self.config.run.seed, "initial values", &[stage.index as u64]));
        let (scale, optimizer) = (self.config.search.alpha_init_scale, &self.config.optimizer);
        let mut state = SearchState::new(&shape, scale, optimizer, Box::new(Softmax), self.world.device, Kind::Float)?;
        state.accumulate(self.config.search.accumulate_steps);
        state.checkpoint_cells(self.config.model.checkpoint_cells);
        Ok(state)
    }

    fn begin_stage(&mut self, stage: &Stage, progress: &SearchProgress) {
        let steps_per_epoch = self.data.weight_loader.num_steps();
        let done = progress.epoch * steps_per_epoch + progress.step;
        let steps = self.config.search.epochs * steps_per_epoch;
        self.observer.stage_begins(stage, done as u64, steps as u64);
    }

    fn epoch_settings(&self, stage: &Stage, epoch: usize) -> EpochSettings {
        let (search, weights) = (&self.config.search, &self.config.optimizer.weights);
        let schedule = search.skip_dropout_schedule;
        let (initial, minimum) = (weights.learning_rate, weights.learning_rate_min);
        let place = CoursePlace { epoch, step: 0, steps_per_epoch: 1 };
        EpochSettings {
            learning_rate: LearningRate::per_epoch(initial, minimum, search.epochs, Cosine).at(place),
            skip_dropout: skip_dropout(schedule, stage.skip_dropout, epoch, search.epochs, search.alpha_start_epoch),
            trains_alphas: epoch >= search.alpha_start_epoch,
            validates: (epoch + 1).is_multiple_of(search.validate_every_epochs) || epoch + 1 == search.epochs,
        }
    }

    /// The steps that are left of the epoch under way. Returns the signal that stopped it early.
    fn train_epoch(
        &mut self,
        state: &mut SearchState,
        progress: &mut SearchProgress,
        settings: &EpochSettings,
    ) -> Result<Option<Signal>, TrainError> {
        let device = self.world.device;
        let steps = progress.step..self.data.weight_loader.num_steps();
        let data_epoch = (progress.stage * self.config.search.epochs + progress.epoch) as u64;
        let weight_batches = self.data.weight_loader.batches(data_epoch, steps.clone())?;
        let mut alpha_batches = match settings.trains_alphas {
            true => Some(self.data.alpha_loader.batches(data_epoch, steps.clone())?),
            false => None,
        };
        let [mut weight_tally, mut alpha_tally] =
            progress.own_sums(self.world).map(|sums| Tally::from_sums(sums, device));
        let seconds_before = progress.epoch_seconds;
        let start = Instant::now();
        let mut loading = activity::phase("loading images");
        for (step, weight_batch) in steps.clone().zip(weight_batches) {
            drop(loading);
            activity::begin_step(Place { stage: progress.stage + 1, epoch: progress.epoch + 1, step: step + 1 });
            let weight_batch = ImageBatch::from_host(&weight_batch?, device, Kind::Float)?;
            self.seed_step(progress, step);
            let mode = ForwardMode::training(settings.skip_dropout);
            if let Some(batch) = alpha_batches.as_mut().and_then(Iterator::next) {
                let alpha_batch = ImageBatch::from_host(&batch?, device, Kind::Float)?;
                let learning_rate = settings.learning_rate;
                let inputs = StepInputs { alpha_batch: &alpha_batch, weight_batch: &weight_batch, learning_rate, mode };
                let result = self.architecture_step.step(state, inputs)?;
                alpha_tally.add(&result.loss, &result.logits, &alpha_batch.labels);
            }
            let result = state.weight_step(&weight_batch, settings.learning_rate, mode)?;
            weight_tally.add(&result.loss, &result.logits, &weight_batch.labels);
            progress.step = step + 1;
            progress.global_step += 1;
            self.observer.step();

            let signal = self.stop.agreed(self.world)?;
            if self.checks_replicas(progress) {
                check_replicas(state, self.world, progress.global_step)?;
            }
            let logs = progress.step.is_multiple_of(self.config.run.log_every_steps);
            if logs || signal.is_some() || progress.step == steps.end {
                progress.gather_sums(&weight_tally.sums(), &alpha_tally.sums(), self.world)?;
                progress.epoch_seconds = seconds_before + start.elapsed().as_secs_f64();
                check_finite(progress)?;
            }
            if logs {
                self.observer.steps(&record_since(&progress.interval, progress, settings))?;
                progress.begin_interval();
            }
            if signal.is_some() {
                return Ok(signal);
            }
            loading = activity::phase("loading images");
        }
        Ok(None)
    }

    /// Whether the ranks are compared after this step; they always are after an epoch.
    fn checks_replicas(&self, progress: &SearchProgress) -> bool {
        let every = self.config.parallel.check_every_steps as u64;
        every > 0 && progress.global_step.is_multiple_of(every)
    }

    /// Names the random stream of a step, so that a resumed run draws the same.
    fn seed_step(&self, progress: &SearchProgress, step: usize) {
        let place = [progress.stage, progress.epoch, step, self.world.rank].map(|part| part as u64);
        tch::manual_seed(derive_seed(self.config.run.seed, "dropout", &place));
    }

    /// Validates, records and saves after the last step of an epoch. Returns the signal that stopped validation: the
    /// epoch is then still under way.
    fn finish_epoch(
        &mut self,
        state: &SearchState,
        progress: &mut SearchProgress,
        settings: &EpochSettings,
    ) -> Result<Option<Signal>, TrainError> {
        let start = Instant::now();
        let _span = activity::phase("validation");
        check_replicas(state, self.world, progress.global_step)?;
        state.average_statistics()?;
        let valid = match settings.validates {
            true => match evaluate(state, &self.data.valid_loader, self.world, &self.stop)? {
                Ok(sums) => Some(sums),
                Err(signal) => return Ok(Some(signal)),
            },
            false => None,
        };
        let alphas = state.alphas().values()?;
        let train_seconds = progress.epoch_seconds;
        let record = EpochRecord {
            steps: record_since(&IntervalStart::default(), progress, settings),
            valid_loss: valid.as_ref().map(TallySums::mean_loss),
            valid_top1: valid.as_ref().map(TallySums::top1_percent),
            normal_entropy: mean_entropy(&alphas.normal),
            reduction_entropy: mean_entropy(&alphas.reduction),
            train_seconds,
            seconds: train_seconds + start.elapsed().as_secs_f64(),
        };
        self.observer.epoch(&record, &progress.switches, &alphas)?;
        progress.finish_epoch(record);
        let every = self.config.run.checkpoint_every_epochs;
        if progress.epoch.is_multiple_of(every) || progress.epoch == self.config.search.epochs {
            self.save(state, progress)?;
        }
        Ok(None)
    }

    /// Records the stage and drops its weakest operations. Returns the operations that were live in it.
    fn finish_stage(
        &mut self,
        stage: &Stage,
        progress: &mut SearchProgress,
        alphas: &Alphas,
    ) -> Result<Switches, TrainError> {
        let epochs: Vec<_> = progress.epochs.iter().filter(|epoch| epoch.stage == stage.index + 1).collect();
        let record = StageRecord {
            cells: stage.num_cells,
            operations: stage.num_operations,
            train_top1: epochs.last().map_or(f64::NAN, |epoch| epoch.train_top1),
            valid_top1: epochs.last().and_then(|epoch| epoch.valid_top1),
            seconds: epochs.iter().map(|epoch| epoch.seconds).sum(),
        };
        let switches = progress.switches.clone();
        let is_last = stage.index + 1 == self.config.search.stages.len();
        let kept = switches.drop_weakest(alphas, stage.keep, is_last)?;
        check_derived("the kept operations", &format!("{kept:?}"), self.world, progress.global_step)?;
        progress.finish_stage(record, kept);
        self.observer.stage_ends(progress, &switches, alphas)?;
        Ok(switches)
    }

    /// The cell under each limit, after the last stage.
    fn result(
        &self,
        state: &SearchState,
        progress: SearchProgress,
        switches: &Switches,
        alphas: &Alphas,
    ) -> Result<SearchResult, TrainError> {
        let variants = restrict(switches, alphas)?;
        check_derived("the genotypes", &format!("{variants:?}"), self.world, progress.global_step)?;
        Ok(SearchResult { variants, hashes: ReplicaHashes::of(state)?, progress })
    }

    /// Has rank 0 save the state to continue from.
    fn save(&mut self, state: &SearchState, progress: &SearchProgress) -> Result<(), TrainError> {
        let _span = activity::phase("writing a checkpoint");
        self.world.communicator().settle()?;
        let checkpoint = Checkpoint::take(state, progress, &self.data.config_digest, self.world)?;
        Ok(self.observer.checkpoint(checkpoint)?)
    }
}

/// The steps since `start`, a place in the epoch under way.
fn record_since(start: &IntervalStart, progress: &SearchProgress, settings: &EpochSettings) -> StepRecord {
    let weights = progress.weight_sums.since(&start.weight_sums);
    let alphas = progress.alpha_sums.since(&start.alpha_sums);
    let trained = (alphas.num_images > 0).then_some(&alphas);
    let images = (weights.num_images + alphas.num_images) as f64;
    StepRecord {
        stage: progress.stage + 1,
        epoch: progress.epoch + 1,
        step: progress.global_step,
        learning_rate: settings.learning_rate,
        skip_dropout: settings.skip_dropout,
        train_loss: weights.mean_loss(),
        train_top1: weights.top1_percent(),
        alpha_loss: trained.map(TallySums::mean_loss),
        alpha_top1: trained.map(TallySums::top1_percent),
        images_per_second: images / (progress.epoch_seconds - start.seconds),
    }
}

fn check_finite(progress: &SearchProgress) -> Result<(), TrainError> {
    let losses = [
        ("training", progress.weight_sums.loss, "optimizer.weights"),
        ("architecture", progress.alpha_sums.loss, "optimizer.alphas"),
    ];
    match losses.into_iter().find(|(_, loss, _)| !loss.is_finite()) {
        None => Ok(()),
        Some((what, loss, key)) => {
            let (stage, epoch, step) = (progress.stage + 1, progress.epoch + 1, progress.global_step);
            Err(TrainError::Diverged { what, loss, stage, epoch, step, key })
        }
    }
}
