//! How far a retraining has come: all that a continuation needs besides tensors.

use serde::{Deserialize, Serialize};

use crate::trainer::checkpoint::RunProgress;
use crate::trainer::tally::TallySums;
use crate::world::{CommunicatorError, Ranks};

/// The place of a training in its course, with the records of what lies behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainProgress {
    /// Epochs that are complete.
    pub epoch: usize,
    /// Steps of the epoch under way that are complete.
    pub step: usize,
    /// Steps of the whole training that are complete.
    pub global_step: u64,
    /// Steps of the epoch under way.
    pub sums: TallySums,
    /// What each rank counted of these.
    pub rank_sums: Vec<TallySums>,
    /// Seconds spent on the epoch under way.
    pub epoch_seconds: f64,
    /// Where the interval of steps that is recorded next begins.
    pub interval: TrainIntervalStart,
    /// Every complete epoch, in order.
    pub epochs: Vec<TrainEpochRecord>,
}

/// The sums of the epoch under way where an interval of steps begins.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainIntervalStart {
    /// Of the steps.
    pub sums: TallySums,
    /// Spent on the epoch so far.
    pub seconds: f64,
}

impl RunProgress for TrainProgress {
    const FORMAT: &'static str = "pdarts-train-2";
}

impl TrainProgress {
    /// What this rank counted of the epoch under way. On another number of ranks, rank 0 goes on from the sums of all.
    pub(super) fn own_sums(&self, ranks: &Ranks) -> TallySums {
        match self.rank_sums.get(ranks.rank) {
            Some(own) if self.rank_sums.len() == ranks.size => *own,
            _ if ranks.is_root() => self.sums,
            _ => TallySums::default(),
        }
    }

    /// Takes what the ranks have counted of the epoch under way. All ranks call this together.
    pub(super) fn gather_sums(&mut self, own: &TallySums, ranks: &Ranks) -> Result<(), CommunicatorError> {
        self.rank_sums = own.gather(ranks)?;
        self.sums = TallySums::total(&self.rank_sums);
        Ok(())
    }

    /// Enters a complete epoch into the records and begins the next.
    pub(super) fn finish_epoch(&mut self, record: TrainEpochRecord) {
        self.epochs.push(record);
        self.epoch += 1;
        self.step = 0;
        self.sums = TallySums::default();
        self.rank_sums.clear();
        self.epoch_seconds = 0.0;
        self.interval = TrainIntervalStart::default();
    }

    /// Begins an interval of steps here.
    pub(super) fn begin_interval(&mut self) {
        self.interval = TrainIntervalStart { sums: self.sums, seconds: self.epoch_seconds };
    }

    /// Seconds spent on complete epochs and the one under way, over all starts of the run.
    pub fn seconds(&self) -> f64 {
        self.epochs.iter().map(|epoch| epoch.seconds).sum::<f64>() + self.epoch_seconds
    }

    /// Images of complete epochs per second of training; `None` before the first.
    pub fn images_per_second(&self) -> Option<f64> {
        let images: f64 = self.epochs.iter().map(|epoch| epoch.images_per_second * epoch.train_seconds).sum();
        let rate = images / self.epochs.iter().map(|epoch| epoch.train_seconds).sum::<f64>();
        rate.is_finite().then_some(rate)
    }
}

/// What one interval of steps came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainStepRecord {
    /// From 1.
    pub epoch: usize,
    /// Steps of the whole training up to the end of the interval.
    pub step: u64,
    /// Of the weights.
    pub learning_rate: f64,
    /// Probability to leave out a branch.
    pub drop_path: f64,
    /// Mean of the loss that was differentiated, the auxiliary head's share included.
    pub train_loss: f64,
    /// Percent, on the augmented images.
    pub train_top1: f64,
    /// Training images.
    pub images_per_second: f64,
}

/// What one epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainEpochRecord {
    /// The same figures, over the epoch.
    #[serde(flatten)]
    pub steps: TrainStepRecord,
    /// On the images that `data.train_fraction` leaves, in epochs that validate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub valid: Option<Scores>,
    /// The same with the averaged weights.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub valid_ema: Option<Scores>,
    /// On the test images, only where every epoch was told to score them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub test: Option<Scores>,
    /// The same with the averaged weights.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub test_ema: Option<Scores>,
    /// Seconds of the steps.
    pub train_seconds: f64,
    /// Seconds of the steps and of validation.
    pub seconds: f64,
}

impl std::ops::Deref for TrainEpochRecord {
    type Target = TrainStepRecord;

    fn deref(&self) -> &TrainStepRecord {
        &self.steps
    }
}

/// Accuracy on images that are not trained on, in evaluation mode, without augmentation.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Percent.
    pub top1: f64,
    /// Percent.
    pub top5: f64,
    /// Images.
    pub samples: u64,
}

impl From<TallySums> for Scores {
    fn from(sums: TallySums) -> Self {
        Self { loss: sums.mean_loss(), top1: sums.top1_percent(), top5: sums.top5_percent(), samples: sums.num_images }
    }
}
