//! The retraining of a cell, from fresh weights to its accuracy on the test set.
//!
//! Source: P-DARTS (arXiv:1904.12760), section 4.3; the order of things is that of the authors' code. Differs from it
//! where it scores the test set after every epoch: here that happens once, at the end, unless the configuration wants
//! it otherwise.

mod batch_norm_values;
mod data;
mod mixing;
mod progress;
mod recipe;
mod state;

use std::time::Instant;

use tch::Kind;

pub use batch_norm_values::check_normalised_values;
pub use data::TrainData;
pub use mixing::{MixedBatch, Mixing, MixingOptions};
pub use progress::{Scores, TrainEpochRecord, TrainIntervalStart, TrainProgress, TrainStepRecord};
pub use recipe::StepSettings;
pub use state::TrainState;

use crate::config::{BatchNormMode, TrainConfig};
use crate::data::Loader;
use crate::optim::CoursePlace;
use crate::trainer::checkpoint::{Checkpoint, ResumePoint, hash_values};
use crate::trainer::evaluate::evaluate;
use crate::trainer::observer::TrainObserver;
use crate::trainer::parallel::{check_buffers, synchronise_batch_norm};
use crate::trainer::stop::{Signal, StopSignal};
use crate::trainer::tally::Tally;
use crate::trainer::{ImageBatch, TrainError, derive_seed};
use crate::world::World;
use crate::world::activity::{self, Place};

/// A retraining.
pub struct Training<'a> {
    /// What to do.
    pub config: &'a TrainConfig,
    /// Where.
    pub world: &'a World,
    /// On what, and the network.
    pub data: &'a TrainData,
    /// When to stop early.
    pub stop: StopSignal,
    /// Who records it.
    pub observer: &'a mut dyn TrainObserver,
}

/// How a retraining ended.
pub enum TrainEnd {
    /// By a signal; the checkpoint is of the same moment, or of the end of the training when its test was cut short.
    Stopped {
        /// The signal's number.
        signal: Signal,
        /// How far it came.
        progress: Box<TrainProgress>,
    },
    /// With a trained network.
    Complete(Box<TrainResult>),
}

/// What a retraining came to.
pub struct TrainResult {
    /// All epochs.
    pub progress: TrainProgress,
    /// The trained network.
    pub state: TrainState,
    /// Of the last epoch's weights on the test set.
    pub test: Scores,
    /// Of the averaged weights.
    pub test_ema: Option<Scores>,
    /// SHA-256 of weights and statistics, the same on all ranks.
    pub weights_hash: String,
}

/// Scores of the weights and of their average.
#[derive(Copy, Clone)]
struct BothScores {
    plain: Scores,
    ema: Option<Scores>,
}

impl Training<'_> {
    /// Runs the training from its start or from `resume` to its end or to a stop signal.
    ///
    /// # Errors
    /// When loading, libtorch or recording fails, and when the loss diverges. What was checkpointed stays.
    pub fn run(mut self, resume: Option<&ResumePoint<TrainProgress>>) -> Result<TrainEnd, TrainError> {
        if self.config.model.batch_norm == BatchNormMode::Sync {
            synchronise_batch_norm(self.world);
        }
        let mut state = self.new_state()?;
        let mut progress = TrainProgress::default();
        if let Some(ResumePoint { checkpoint, path }) = resume {
            checkpoint.restore(&mut state, path, self.world)?;
            progress = checkpoint.header.progress.clone();
        }
        state.replicate(self.world, (&self.config.parallel).into())?;
        self.begin(&progress);
        while progress.epoch < self.config.train.epochs {
            let mut signal = self.train_epoch(&mut state, &mut progress)?;
            if signal.is_none() {
                signal = self.finish_epoch(&mut state, &mut progress)?;
            }
            if let Some(signal) = signal {
                self.save(&state, &progress)?;
                return Ok(TrainEnd::Stopped { signal, progress: Box::new(progress) });
            }
        }
        self.observer.ends(&progress)?;
        let _span = activity::phase("test");
        let BothScores { plain: test, ema: test_ema } = match self.score(&mut state, &self.data.test_loader)? {
            Ok(scores) => scores,
            Err(signal) => return Ok(TrainEnd::Stopped { signal, progress: Box::new(progress) }),
        };
        let weights_hash = hash_values(&[state.weights.values(), state.statistics.values()])?;
        Ok(TrainEnd::Complete(Box::new(TrainResult { progress, state, test, test_ema, weights_hash })))
    }

    /// The network with weights drawn afresh.
    fn new_state(&self) -> Result<TrainState, TrainError> {
        tch::manual_seed(derive_seed(self.config.run.seed, "network", &[]));
        Ok(TrainState::new(self.data.network.clone(), self.config, self.world.device)?)
    }

    fn begin(&mut self, progress: &TrainProgress) {
        let steps_per_epoch = self.data.train_loader.num_steps();
        let done = progress.epoch * steps_per_epoch + progress.step;
        self.observer.begins(done as u64, (self.config.train.epochs * steps_per_epoch) as u64);
    }

    /// What the step at this place is made with, both counted from 0.
    fn step_settings(&self, epoch: usize, step: usize) -> StepSettings {
        let steps_per_epoch = self.data.train_loader.num_steps();
        StepSettings::new(self.config, CoursePlace { epoch, step, steps_per_epoch })
    }

    /// Whether there is a validation after `epoch`, from 0.
    fn validates(&self, epoch: usize) -> bool {
        let train = &self.config.train;
        (epoch + 1).is_multiple_of(train.validate_every_epochs) || epoch + 1 == train.epochs
    }

    /// The steps that are left of the epoch under way. Returns the signal that stopped it early.
    fn train_epoch(
        &mut self,
        state: &mut TrainState,
        progress: &mut TrainProgress,
    ) -> Result<Option<Signal>, TrainError> {
        let device = self.world.device;
        let steps = progress.step..self.data.train_loader.num_steps();
        let batches = self.data.train_loader.batches(progress.epoch as u64, steps.clone())?;
        let mut tally = Tally::from_sums(progress.own_sums(self.world), device);
        let seconds_before = progress.epoch_seconds;
        let start = Instant::now();
        let mut loading = activity::phase("loading images");
        for (step, batch) in steps.clone().zip(batches) {
            drop(loading);
            activity::begin_step(Place { stage: 1, epoch: progress.epoch + 1, step: step + 1 });
            let batch = ImageBatch::from_host(&batch?, device, Kind::Float)?;
            self.seed_step(progress, step);
            let result = state.weight_step(&batch, &self.step_settings(progress.epoch, step))?;
            tally.add(&result.loss, &result.logits, &batch.labels);
            progress.step = step + 1;
            progress.global_step += 1;
            self.observer.step();

            let signal = self.stop.agreed(self.world)?;
            if self.checks_replicas(progress) {
                self.check_replicas(state, progress)?;
            }
            let logs = progress.step.is_multiple_of(self.config.run.log_every_steps);
            if logs || signal.is_some() || progress.step == steps.end {
                progress.gather_sums(&tally.sums(), self.world)?;
                progress.epoch_seconds = seconds_before + start.elapsed().as_secs_f64();
                check_finite(progress)?;
            }
            if logs {
                self.observer.steps(&self.record_since(&progress.interval, progress))?;
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
    fn checks_replicas(&self, progress: &TrainProgress) -> bool {
        let every = self.config.parallel.check_every_steps as u64;
        every > 0 && progress.global_step.is_multiple_of(every)
    }

    fn check_replicas(&self, state: &TrainState, progress: &TrainProgress) -> Result<(), TrainError> {
        check_buffers(&[("the weights", state.weights.values())], self.world, progress.global_step)
    }

    /// Names the random stream of a step, so that a resumed run draws the same.
    fn seed_step(&self, progress: &TrainProgress, step: usize) {
        let place = [progress.epoch, step, self.world.rank].map(|part| part as u64);
        tch::manual_seed(derive_seed(self.config.run.seed, "drop path", &place));
    }

    /// Validates, records and saves after the last step of an epoch. Returns the signal that stopped validation: the
    /// epoch is then still under way.
    fn finish_epoch(
        &mut self,
        state: &mut TrainState,
        progress: &mut TrainProgress,
    ) -> Result<Option<Signal>, TrainError> {
        let start = Instant::now();
        let _span = activity::phase("validation");
        self.check_replicas(state, progress)?;
        state.average_statistics()?;
        let valid_loader = self.data.valid_loader.as_ref().filter(|_| self.validates(progress.epoch));
        let test_loader = self.config.train.test_every_epoch.then_some(&self.data.test_loader);
        let mut scores = [None; 2];
        for (scores, loader) in scores.iter_mut().zip([valid_loader, test_loader]) {
            if let Some(loader) = loader {
                match self.score(state, loader)? {
                    Ok(found) => *scores = Some(found),
                    Err(signal) => return Ok(Some(signal)),
                }
            }
        }
        let [valid, test] = scores;
        let train_seconds = progress.epoch_seconds;
        let record = TrainEpochRecord {
            steps: self.record_since(&TrainIntervalStart::default(), progress),
            valid: valid.map(|scores| scores.plain),
            valid_ema: valid.and_then(|scores| scores.ema),
            test: test.map(|scores| scores.plain),
            test_ema: test.and_then(|scores| scores.ema),
            train_seconds,
            seconds: train_seconds + start.elapsed().as_secs_f64(),
        };
        self.observer.epoch(&record)?;
        progress.finish_epoch(record);
        let every = self.config.run.checkpoint_every_epochs;
        if progress.epoch.is_multiple_of(every) || progress.epoch == self.config.train.epochs {
            self.save(state, progress)?;
        }
        Ok(None)
    }

    /// Loss and accuracy on the images of `loader`, with the weights and with their average; or the signal that ended it.
    fn score(&self, state: &mut TrainState, loader: &Loader) -> Result<Result<BothScores, Signal>, TrainError> {
        let plain = match evaluate(state, loader, self.world, &self.stop)? {
            Ok(sums) => sums.into(),
            Err(signal) => return Ok(Err(signal)),
        };
        let ema = state.with_average(|state| evaluate(state, loader, self.world, &self.stop)).transpose()?;
        Ok(match ema {
            None => Ok(BothScores { plain, ema: None }),
            Some(Ok(sums)) => Ok(BothScores { plain, ema: Some(sums.into()) }),
            Some(Err(signal)) => Err(signal),
        })
    }

    /// The steps since `start`, a place in the epoch under way; the rates are those of the last one.
    fn record_since(&self, start: &TrainIntervalStart, progress: &TrainProgress) -> TrainStepRecord {
        let sums = progress.sums.since(&start.sums);
        let StepSettings { learning_rate, drop_path, .. } =
            self.step_settings(progress.epoch, progress.step.saturating_sub(1));
        TrainStepRecord {
            epoch: progress.epoch + 1,
            step: progress.global_step,
            learning_rate,
            drop_path,
            train_loss: sums.mean_loss(),
            train_top1: sums.top1_percent(),
            images_per_second: sums.num_images as f64 / (progress.epoch_seconds - start.seconds),
        }
    }

    /// Has rank 0 save the state to continue from.
    fn save(&mut self, state: &TrainState, progress: &TrainProgress) -> Result<(), TrainError> {
        let _span = activity::phase("writing a checkpoint");
        self.world.communicator().settle()?;
        let checkpoint = Checkpoint::take(state, progress, &self.data.run_digest, self.world)?;
        Ok(self.observer.checkpoint(checkpoint)?)
    }
}

fn check_finite(progress: &TrainProgress) -> Result<(), TrainError> {
    let loss = progress.sums.loss;
    if loss.is_finite() {
        return Ok(());
    }
    Err(TrainError::TrainingDiverged { loss, epoch: progress.epoch + 1, step: progress.global_step })
}
