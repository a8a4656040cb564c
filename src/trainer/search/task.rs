//! A stage of a search as the loop over epochs sees it: steps, validation, records.

use std::ops::Range;
use std::time::Duration;

use tch::Kind;

use super::curvature::{MeasuredAlphas, largest_eigenvalue};
use super::progress::{SearchEpochRecord, SearchRecords, SearchStepRecord};
use super::{Search, SearchState, StepInputs, Stepped};
use crate::config::SearchConfig;
use crate::data::Batches;
use crate::genotype::{Switches, mean_entropy};
use crate::optim::{Cosine, CoursePlace, LearningRate};
use crate::run::AlphasFile;
use crate::search::{ForwardMode, Sampling, Stage, perturbation, skip_dropout, temperature};
use crate::trainer::divergence::DivergenceSite;
use crate::trainer::epoch::{StepPlace, Task};
use crate::trainer::error::MemoryDemand;
use crate::trainer::evaluate::evaluate;
use crate::trainer::observer::Observer;
use crate::trainer::progress::{Interval, data_epoch};
use crate::trainer::stop::Signal;
use crate::trainer::tally::{EpochTally, StepKind, TallySums};
use crate::trainer::{StepImages, TrainError, derive_seed};

/// The epoch whose images the curvature is measured on: no search comes so far.
const MEASURED_EPOCH: u64 = u64::MAX;

/// The epochs of one stage.
pub(super) struct StageTask<'s, 'a> {
    pub search: &'s mut Search<'a>,
    pub stage: &'s Stage,
    /// Live operations.
    pub switches: Switches,
    pub state: SearchState,
}

/// The images of the steps of an epoch.
pub(super) struct SearchBatches {
    weights: Batches,
    /// None while alphas rest.
    alphas: Option<Batches>,
}

/// What is found after the steps of an epoch.
pub(super) struct SearchScores {
    /// In epochs that validate, and in that with which a stage ends early.
    valid: Option<TallySums>,
    /// In epochs that measure.
    measured: Option<MeasuredAlphas>,
    /// See [`SearchEpochRecord::goes_back_to`].
    goes_back_to: Option<usize>,
}

/// What an epoch's settings come to.
struct EpochSettings {
    learning_rate: f64,
    skip_dropout: f64,
    drop_path: f64,
    /// Of the weight steps alone.
    perturbation: f64,
    trains_alphas: bool,
    validates: bool,
}

impl EpochSettings {
    /// Of `epoch`, from 0, of `stage`.
    fn new(config: &SearchConfig, stage: &Stage, epoch: usize) -> Self {
        let (search, weights) = (&config.search, &config.optimizer.weights);
        let schedule = search.skip_dropout_schedule;
        let (initial, minimum) = (weights.learning_rate, weights.learning_rate_min);
        let place = CoursePlace { epoch, step: 0, steps_per_epoch: 1 };
        Self {
            learning_rate: LearningRate::per_epoch(initial, minimum, search.epochs, Cosine).at(place),
            skip_dropout: skip_dropout(schedule, stage.skip_dropout, epoch, search.epochs, search.alpha_start_epoch),
            drop_path: search.drop_path * epoch as f64 / (search.epochs - 1).max(1) as f64,
            perturbation: perturbation(search.perturbation, epoch, search.epochs),
            trains_alphas: epoch >= search.alpha_start_epoch,
            validates: (epoch + 1).is_multiple_of(search.validate_every_epochs) || epoch + 1 == search.epochs,
        }
    }
}

impl StageTask<'_, '_> {
    fn settings(&self, epoch: usize) -> EpochSettings {
        EpochSettings::new(self.search.config, self.stage, epoch)
    }

    /// What is drawn by strategies that draw, under the name `stream`: the same on all ranks, so that they mix alike.
    fn sampling(&self, stream: &str, StepPlace { epoch, step }: StepPlace) -> Sampling {
        let SearchConfig { run, search, .. } = self.search.config;
        let place = [self.stage.index, epoch, step].map(|part| part as u64);
        Sampling {
            temperature: temperature(search.temperature, search.temperature_end, epoch, search.epochs),
            perturbation: 0.0,
            seed: derive_seed(run.seed, stream, &place).unsigned_abs(),
        }
    }

    /// The largest eigenvalue of the loss's Hessian in the alphas, always on the same images of those that train the alphas, by a
    /// copy of the state in double precision; or the signal that ended that early.
    ///
    /// # Errors
    /// When loading, libtorch or the exchange of gradients fails.
    pub(super) fn eigenvalue(&self) -> Result<Result<f64, Signal>, TrainError> {
        self.measure_eigenvalue().map_err(|error| {
            error.explained(|| MemoryDemand {
                place: format!("the measurement of search.eigenvalue_every_epochs in stage {}", self.stage.index + 1),
                network: "a copy of the supernet in double precision".to_owned(),
                ..self.demand(0)
            })
        })
    }

    fn measure_eigenvalue(&self) -> Result<Result<f64, Signal>, TrainError> {
        let Search { world, data, config, stop, .. } = &*self.search;
        let mut copy = self.search.new_state(self.stage, &self.switches, Kind::Double)?;
        copy.take_values_of(&self.state)?;
        copy.replicate(world, (&config.parallel).into())?;
        let mut batches = data.alpha_loader.batches(MEASURED_EPOCH, 0..1)?;
        let mut images = StepImages::next_of(&mut batches, world.device, Kind::Double);
        let seed = derive_seed(config.run.seed, "curvature", &[self.stage.index as u64]).unsigned_abs();
        largest_eigenvalue(&mut copy, &mut images, seed, || Ok(stop.agreed(world)?))
    }

    /// The alphas after `epoch` (from 0) with the curvature there; or the signal that ended that early.
    fn measured(&self, epoch: usize) -> Result<Result<Option<MeasuredAlphas>, Signal>, TrainError> {
        if !self.search.config.search.measures_eigenvalue(epoch) {
            return Ok(Ok(None));
        }
        let eigenvalue = match self.eigenvalue()? {
            Ok(eigenvalue) => eigenvalue,
            Err(signal) => return Ok(Err(signal)),
        };
        let (stage, epoch) = (self.stage.index + 1, epoch + 1);
        if !eigenvalue.is_finite() {
            if self.search.world.is_root() {
                tracing::warn!(
                    "stage {stage}, epoch {epoch}: the curvature in the alphas is {eigenvalue} and left out"
                );
            }
            return Ok(Ok(None));
        }
        Ok(Ok(Some(MeasuredAlphas { epoch, eigenvalue, alphas: self.state.alphas()? })))
    }

    /// The epoch (from 1) whose alphas the stage had better end with, now that `newest` is known as well as `records`.
    fn last_before_growth(&self, records: &SearchRecords, newest: &MeasuredAlphas) -> Option<usize> {
        let measured: Vec<_> = records.measured.iter().chain([newest]).collect();
        let eigenvalues: Vec<f64> = measured.iter().map(|measured| measured.eigenvalue).collect();
        let last = self.search.config.search.last_before_growth(&eigenvalues)?;
        Some(measured[last].epoch)
    }

    /// Names the random stream of a step, so that a resumed run draws the same.
    fn seed_step(&self, StepPlace { epoch, step }: StepPlace) {
        let place = [self.stage.index, epoch, step, self.search.world.rank].map(|part| part as u64);
        tch::manual_seed(derive_seed(self.search.config.run.seed, "dropout", &place));
    }
}

impl Task for StageTask<'_, '_> {
    type Records = SearchRecords;
    type State = SearchState;
    type Batches = SearchBatches;
    type Scores = SearchScores;

    fn state(&self) -> &SearchState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut SearchState {
        &mut self.state
    }

    fn observer(&mut self) -> &mut dyn Observer<SearchRecords> {
        self.search.observer
    }

    fn demand(&self, epoch: usize) -> MemoryDemand {
        self.search.demand(self.stage, &self.switches, epoch)
    }

    fn batches(&self, epoch: usize, steps: Range<usize>, rewinds: usize) -> Result<SearchBatches, TrainError> {
        let data = self.search.data;
        let data_epoch = data_epoch(self.stage.index * self.search.config.search.epochs + epoch, rewinds);
        let weights = data.weight_loader.batches(data_epoch, steps.clone())?;
        let alphas = match self.settings(epoch).trains_alphas {
            true => Some(data.alpha_loader.batches(data_epoch, steps)?),
            false => None,
        };
        Ok(SearchBatches { weights, alphas })
    }

    fn waited(batches: &SearchBatches) -> Duration {
        batches.weights.waited() + batches.alphas.as_ref().map_or(Duration::ZERO, Batches::waited)
    }

    /// A step of the alphas, unless they rest, then one of the weights.
    fn step(&mut self, at: StepPlace, batches: &mut SearchBatches, tally: &mut EpochTally) -> Result<(), TrainError> {
        let EpochSettings { learning_rate, skip_dropout, drop_path, perturbation, .. } = self.settings(at.epoch);
        let device = self.search.world.device;
        let mut weight_images = StepImages::next_of(&mut batches.weights, device, Kind::Float);
        self.seed_step(at);
        let sampling = self.sampling("architecture", at);
        let mode = ForwardMode { drop_path, sampling, ..ForwardMode::training(skip_dropout) };
        if let Some(alpha_batches) = &mut batches.alphas {
            let alpha_images = &mut StepImages::next_of(alpha_batches, device, Kind::Float);
            let inputs =
                StepInputs { alpha_images: &mut *alpha_images, weight_images: &mut weight_images, learning_rate, mode };
            match self.search.architecture_step.step(&mut self.state, inputs)? {
                Stepped::Alphas(result) => {
                    tally.alphas.add(&result)?;
                    tally.alphas.add_digest(alpha_images.digest());
                }
                Stepped::Both(result) => {
                    tally.weights.add_digest(weight_images.digest());
                    return Ok(tally.weights.add(&result)?);
                }
            }
        }
        // Drawn anew.
        let sampling = Sampling { perturbation, ..self.sampling("architecture of weights", at) };
        let mode = ForwardMode { sampling, ..mode };
        let result = self.state.weight_step(&mut weight_images, learning_rate, mode)?;
        tally.weights.add_digest(weight_images.digest());
        Ok(tally.weights.add(&result)?)
    }

    /// The curvature in the alphas, and loss and accuracy on the validation images, in the epochs that ask for them.
    fn validate(&mut self, epoch: usize, records: &SearchRecords) -> Result<Result<SearchScores, Signal>, TrainError> {
        let measured = match self.measured(epoch)? {
            Ok(measured) => measured,
            Err(signal) => return Ok(Err(signal)),
        };
        let goes_back_to = measured.as_ref().and_then(|measured| self.last_before_growth(records, measured));
        let mut valid = None;
        if self.settings(epoch).validates || goes_back_to.is_some() {
            let Search { world, data, stop, .. } = &*self.search;
            match evaluate(&self.state, &data.valid_loader, world, stop)? {
                Ok(sums) => valid = Some(sums),
                Err(signal) => return Ok(Err(signal)),
            }
        }
        Ok(Ok(SearchScores { valid, measured, goes_back_to }))
    }

    fn steps_record(&self, interval: &Interval) -> SearchStepRecord {
        let EpochSettings { learning_rate, skip_dropout, .. } = self.settings(interval.epoch);
        let (weights, alphas) = (&interval.sums.weights, &interval.sums.alphas);
        let trained = (alphas.num_images > 0).then_some(alphas);
        let digests = self.search.config.run.digest_batches;
        SearchStepRecord {
            stage: self.stage.index + 1,
            epoch: interval.epoch + 1,
            step: interval.global_step,
            learning_rate,
            skip_dropout,
            train_loss: weights.mean_loss(),
            train_top1: weights.top1_percent(),
            alpha_loss: trained.map(TallySums::mean_loss),
            alpha_top1: trained.map(TallySums::top1_percent),
            images_per_second: interval.images_per_second(),
            data_seconds: interval.data_seconds,
            batch_digest: digests.then(|| weights.digest_text()),
            alpha_batch_digest: trained.filter(|_| digests).map(TallySums::digest_text),
        }
    }

    fn finish_epoch(
        &mut self,
        whole: &Interval,
        SearchScores { valid, measured, goes_back_to }: SearchScores,
        seconds: f64,
    ) -> Result<SearchEpochRecord, TrainError> {
        let steps = self.steps_record(whole);
        let alphas = self.state.alphas()?;
        let (normal_entropy, reduction_entropy) = (mean_entropy(&alphas.normal), mean_entropy(&alphas.reduction));
        let (stage, epoch) = (steps.stage, steps.epoch);
        self.search.observer.alphas(&AlphasFile { stage, epoch, live: self.switches.clone(), alphas })?;
        Ok(SearchEpochRecord {
            steps,
            valid_loss: valid.as_ref().map(TallySums::mean_loss),
            valid_top1: valid.as_ref().map(TallySums::top1_percent),
            normal_entropy,
            reduction_entropy,
            penalty: self.state.penalty()?,
            eigenvalue: measured.as_ref().map(|measured| measured.eigenvalue),
            goes_back_to,
            measured,
            train_seconds: whole.seconds,
            seconds,
        })
    }

    fn site(&self, steps: StepKind, epoch: usize) -> DivergenceSite {
        let (what, section) = match steps {
            StepKind::Weights => ("training", "optimizer.weights"),
            StepKind::Alphas => ("architecture", "optimizer.alphas"),
        };
        DivergenceSite { what, place: format!("stage {}, epoch {}", self.stage.index + 1, epoch + 1), section }
    }
}
