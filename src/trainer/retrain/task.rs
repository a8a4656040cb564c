//! A retraining as the loop over epochs sees it: steps, validation, records.

use std::ops::Range;
use std::time::Duration;

use tch::Kind;

use super::progress::{Scores, TrainEpochRecord, TrainRecords, TrainStepRecord};
use super::{StepSettings, TrainState, Training};
use crate::data::{Batches, Loader};
use crate::optim::CoursePlace;
use crate::trainer::divergence::DivergenceSite;
use crate::trainer::epoch::{StepPlace, Task};
use crate::trainer::error::MemoryDemand;
use crate::trainer::evaluate::evaluate;
use crate::trainer::observer::Observer;
use crate::trainer::progress::{Interval, data_epoch};
use crate::trainer::stop::Signal;
use crate::trainer::tally::{EpochTally, StepKind};
use crate::trainer::{StepImages, TrainError, derive_seed};

/// The epochs of a training.
pub(super) struct TrainTask<'s, 'a> {
    pub training: &'s mut Training<'a>,
    pub state: TrainState,
}

/// Scores of the weights and of their average.
#[derive(Copy, Clone)]
pub(super) struct BothScores {
    pub plain: Scores,
    pub ema: Option<Scores>,
}

/// What is scored after an epoch.
pub(super) struct EpochScores {
    valid: Option<BothScores>,
    test: Option<BothScores>,
}

impl TrainTask<'_, '_> {
    /// What a step is made with.
    fn settings(&self, StepPlace { epoch, step }: StepPlace) -> StepSettings {
        let steps_per_epoch = self.training.data.train_loader.num_steps();
        StepSettings::new(self.training.config, CoursePlace { epoch, step, steps_per_epoch })
    }

    /// Whether there is a validation after `epoch`, from 0.
    fn validates(&self, epoch: usize) -> bool {
        let train = &self.training.config.train;
        (epoch + 1).is_multiple_of(train.validate_every_epochs) || epoch + 1 == train.epochs
    }

    /// Names the random stream of a step, so that a resumed run draws the same.
    fn seed_step(&self, StepPlace { epoch, step }: StepPlace) {
        let place = [epoch, step, self.training.world.rank].map(|part| part as u64);
        tch::manual_seed(derive_seed(self.training.config.run.seed, "drop path", &place));
    }

    /// Loss and accuracy on the images of `loader`, with the weights and with their average; or the signal that ended it.
    pub fn score(&mut self, loader: &Loader) -> Result<Result<BothScores, Signal>, TrainError> {
        let Training { world, stop, .. } = &*self.training;
        let plain = match evaluate(&self.state, loader, world, stop)? {
            Ok(sums) => sums.into(),
            Err(signal) => return Ok(Err(signal)),
        };
        let ema = self.state.with_average(|state| evaluate(state, loader, world, stop))?;
        Ok(match ema {
            None => Ok(BothScores { plain, ema: None }),
            Some(Ok(sums)) => Ok(BothScores { plain, ema: Some(sums.into()) }),
            Some(Err(signal)) => Err(signal),
        })
    }
}

impl Task for TrainTask<'_, '_> {
    type Records = TrainRecords;
    type State = TrainState;
    type Batches = Batches;
    type Scores = EpochScores;

    fn state(&self) -> &TrainState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut TrainState {
        &mut self.state
    }

    fn observer(&mut self) -> &mut dyn Observer<TrainRecords> {
        self.training.observer
    }

    fn demand(&self, epoch: usize) -> MemoryDemand {
        self.training.demand(epoch)
    }

    fn batches(&self, epoch: usize, steps: Range<usize>, rewinds: usize) -> Result<Batches, TrainError> {
        let loader = self.training.data.train_loader_in(epoch);
        Ok(loader.batches(data_epoch(epoch, rewinds), steps)?)
    }

    fn waited(batches: &Batches) -> Duration {
        batches.waited()
    }

    fn step(&mut self, at: StepPlace, batches: &mut Batches, tally: &mut EpochTally) -> Result<(), TrainError> {
        self.seed_step(at);
        let mut images = StepImages::next_of(batches, self.training.world.device, Kind::Float);
        let result = self.state.weight_step(&mut images, &self.settings(at))?;
        tally.weights.add_digest(images.digest());
        Ok(tally.weights.add(&result)?)
    }

    /// Scores on the images left for validation, in epochs that validate, and on the test images where the
    /// configuration wants them scored that often.
    fn validate(&mut self, epoch: usize, _: &TrainRecords) -> Result<Result<EpochScores, Signal>, TrainError> {
        let (data, config) = (self.training.data, self.training.config);
        let valid_loader = data.valid_loader.as_ref().filter(|_| self.validates(epoch));
        let test_loader = config.train.test_every_epoch.then_some(&data.test_loader);
        let mut scores = [None; 2];
        for (scores, loader) in scores.iter_mut().zip([valid_loader, test_loader]) {
            if let Some(loader) = loader {
                match self.score(loader)? {
                    Ok(found) => *scores = Some(found),
                    Err(signal) => return Ok(Err(signal)),
                }
            }
        }
        let [valid, test] = scores;
        Ok(Ok(EpochScores { valid, test }))
    }

    /// The rates are those of the interval's last step.
    fn steps_record(&self, interval: &Interval) -> TrainStepRecord {
        let epoch = interval.epoch;
        let before = epoch as u64 * self.training.data.train_loader.num_steps() as u64;
        let step = interval.global_step.saturating_sub(before + 1) as usize;
        let StepSettings { learning_rate, drop_path, .. } = self.settings(StepPlace { epoch, step });
        TrainStepRecord {
            epoch: epoch + 1,
            step: interval.global_step,
            learning_rate,
            drop_path,
            train_loss: interval.sums.weights.mean_loss(),
            train_top1: interval.sums.weights.top1_percent(),
            images_per_second: interval.images_per_second(),
            data_seconds: interval.data_seconds,
            batch_digest: self.training.config.run.digest_batches.then(|| interval.sums.weights.digest_text()),
        }
    }

    fn finish_epoch(
        &mut self,
        whole: &Interval,
        EpochScores { valid, test }: EpochScores,
        seconds: f64,
    ) -> Result<TrainEpochRecord, TrainError> {
        Ok(TrainEpochRecord {
            steps: self.steps_record(whole),
            valid: valid.map(|scores| scores.plain),
            valid_ema: valid.and_then(|scores| scores.ema),
            test: test.map(|scores| scores.plain),
            test_ema: test.and_then(|scores| scores.ema),
            train_seconds: whole.seconds,
            seconds,
        })
    }

    fn site(&self, _: StepKind, epoch: usize) -> DivergenceSite {
        DivergenceSite { what: "training", place: format!("epoch {}", epoch + 1), section: "optimizer" }
    }
}
