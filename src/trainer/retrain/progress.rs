//! What a retraining records of its course.

use serde::{Deserialize, Serialize};

use crate::trainer::progress::{Progress, Records};
use crate::trainer::tally::TallySums;

/// How far a retraining has come.
pub type TrainProgress = Progress<TrainRecords>;

/// What lies behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainRecords {
    /// Every complete epoch, in order.
    pub epochs: Vec<TrainEpochRecord>,
}

impl Records for TrainRecords {
    const FORMAT: &'static str = "pdarts-train-2";
    type Steps = TrainStepRecord;
    type Epoch = TrainEpochRecord;

    fn add(&mut self, epoch: TrainEpochRecord) {
        self.epochs.push(epoch);
    }

    /// Of the averaged weights where there are any.
    fn valid_top1(&self) -> Vec<Option<f64>> {
        let scores = |epoch: &TrainEpochRecord| epoch.valid_ema.or(epoch.valid);
        self.epochs.iter().map(|epoch| scores(epoch).map(|scores| scores.top1)).collect()
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
    /// Seconds in which rank 0 waited for images to be loaded.
    #[serde(default)]
    pub data_seconds: f64,
    /// Of the images, where `run.digest_batches` asks for it: the same for any number of ranks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch_digest: Option<String>,
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
