//! How far a run has come: all that a continuation needs besides tensors.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::checkpoint::RunProgress;
use super::tally::EpochSums;
use crate::world::activity::Place;
use crate::world::{CommunicatorError, Ranks};

/// What a kind of run records of its course, apart from what all kinds have in common ([`Progress`]).
pub trait Records: Clone + Serialize + DeserializeOwned + Send + 'static {
    /// Name and version of the format of its checkpoints.
    const FORMAT: &'static str;
    /// What an interval of steps came to.
    type Steps;
    /// What an epoch came to.
    type Epoch;

    /// The stage under way, from 1; always 1 where there is but one course of epochs.
    fn stage(&self) -> usize {
        1
    }

    /// Enters a complete epoch.
    fn add(&mut self, epoch: Self::Epoch);

    /// Validation accuracy in percent of every complete epoch of the stage under way, in order; none of epochs that did not
    /// validate.
    fn valid_top1(&self) -> Vec<Option<f64>>;

    /// Whether the stage under way is to end with the last complete epoch, before its time.
    fn ended_early(&self) -> bool {
        false
    }

    /// Whether the last complete epoch validated better than all before it.
    fn last_is_best(&self) -> bool {
        let mut scores = self.valid_top1();
        let last = scores.pop().flatten();
        last.is_some_and(|last| scores.into_iter().flatten().all(|before| before < last))
    }
}

/// The place of a run in its course, with the records of what lies behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress<R> {
    /// Complete epochs of the training, or of the search's stage under way.
    pub epoch: usize,
    /// Steps of the epoch under way that are complete.
    pub step: usize,
    /// Steps of the whole run that are complete.
    pub global_step: u64,
    /// Of the epoch under way, over all ranks.
    pub sums: EpochSums,
    /// What each rank counted of these.
    pub rank_sums: Vec<EpochSums>,
    /// Seconds spent on the steps of the epoch under way.
    pub epoch_seconds: f64,
    /// Those of them in which this rank waited for images to be loaded.
    #[serde(default)]
    pub epoch_data_seconds: f64,
    /// Steps that were dropped because their gradient was not finite.
    #[serde(default)]
    pub dropped_steps: u64,
    /// Those of them that came one after the other up to here.
    #[serde(default)]
    pub dropped_in_a_row: usize,
    /// How often the run has gone back to a checkpoint because a step was not finite; decides the order of the images.
    #[serde(default)]
    pub rewinds: usize,
    /// Where the interval of steps that is recorded next begins.
    pub interval: IntervalStart,
    /// Of all complete epochs, of all stages.
    pub complete: Totals,
    /// What this kind of run records.
    pub records: R,
}

/// The epoch under way where an interval of steps begins; the epoch's own start by default.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IntervalStart {
    /// Of the epoch so far.
    pub sums: EpochSums,
    /// Spent on the epoch so far.
    pub seconds: f64,
    /// Spent waiting for images in the epoch so far.
    #[serde(default)]
    pub data_seconds: f64,
}

/// The number of `epoch` (from 0) in the streams that decide the order of images: another one after each rewind.
pub(super) fn data_epoch(epoch: usize, rewinds: usize) -> u64 {
    epoch as u64 | (rewinds as u64) << 32
}

/// What complete epochs come to.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Images that steps were taken on.
    pub images: u64,
    /// Of their steps.
    pub train_seconds: f64,
    /// Of their steps and of validation.
    pub seconds: f64,
}

/// An interval of steps within one epoch, and what it came to.
#[derive(Copy, Clone, Debug)]
pub struct Interval {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Steps of the whole run up to the interval's end.
    pub global_step: u64,
    /// Over all ranks.
    pub sums: EpochSums,
    /// Its time.
    pub seconds: f64,
    /// Those of its seconds in which this rank waited for images.
    pub data_seconds: f64,
}

impl<R: Records> RunProgress for Progress<R> {
    const FORMAT: &'static str = R::FORMAT;
}

impl<R: Records> Progress<R> {
    /// The start of a run.
    pub fn new(records: R) -> Self {
        Self {
            epoch: 0,
            step: 0,
            global_step: 0,
            sums: EpochSums::default(),
            rank_sums: Vec::new(),
            epoch_seconds: 0.0,
            epoch_data_seconds: 0.0,
            dropped_steps: 0,
            dropped_in_a_row: 0,
            rewinds: 0,
            interval: IntervalStart::default(),
            complete: Totals::default(),
            records,
        }
    }

    /// The place of the step under way, or of the next one.
    pub fn place(&self) -> Place {
        Place { stage: self.records.stage(), epoch: self.epoch + 1, step: self.step + 1 }
    }

    /// What this rank counted of the epoch under way. On another number of ranks, rank 0 goes on from the sums of all.
    pub(super) fn own_sums(&self, ranks: &Ranks) -> EpochSums {
        match self.rank_sums.get(ranks.rank) {
            Some(own) if self.rank_sums.len() == ranks.size => *own,
            _ if ranks.is_root() => self.sums,
            _ => EpochSums::default(),
        }
    }

    /// Takes what the ranks have counted of the epoch under way. All ranks call this together.
    pub(super) fn gather_sums(&mut self, own: &EpochSums, ranks: &Ranks) -> Result<(), CommunicatorError> {
        self.rank_sums = own.gather(ranks)?;
        self.sums = EpochSums::total(&self.rank_sums);
        Ok(())
    }

    /// One more step is complete.
    pub(super) fn finish_step(&mut self) {
        self.step += 1;
        self.global_step += 1;
    }

    /// The interval of steps since `start`.
    pub(super) fn interval_since(&self, start: &IntervalStart) -> Interval {
        Interval {
            epoch: self.epoch,
            global_step: self.global_step,
            sums: self.sums.since(&start.sums),
            seconds: self.epoch_seconds - start.seconds,
            data_seconds: self.epoch_data_seconds - start.data_seconds,
        }
    }

    /// Begins an interval of steps here.
    pub(super) fn begin_interval(&mut self) {
        self.interval =
            IntervalStart { sums: self.sums, seconds: self.epoch_seconds, data_seconds: self.epoch_data_seconds };
    }

    /// Enters a complete epoch, which took `seconds` with its validation, into the records and begins the next.
    pub(super) fn finish_epoch(&mut self, record: R::Epoch, seconds: f64) {
        self.complete.images += self.sums.num_images();
        self.complete.train_seconds += self.epoch_seconds;
        self.complete.seconds += seconds;
        self.records.add(record);
        self.epoch += 1;
        self.step = 0;
        self.sums = EpochSums::default();
        self.rank_sums.clear();
        self.epoch_seconds = 0.0;
        self.epoch_data_seconds = 0.0;
        self.interval = IntervalStart::default();
    }
}

impl<R> Progress<R> {
    /// Seconds spent on complete epochs and the one under way, over all starts of the run.
    pub fn seconds(&self) -> f64 {
        self.complete.seconds + self.epoch_seconds
    }

    /// Images of complete epochs per second of training; `None` before the first.
    pub fn images_per_second(&self) -> Option<f64> {
        let rate = self.complete.images as f64 / self.complete.train_seconds;
        rate.is_finite().then_some(rate)
    }
}

impl Interval {
    /// Images of all its steps per second.
    pub fn images_per_second(&self) -> f64 {
        self.sums.num_images() as f64 / self.seconds
    }
}
