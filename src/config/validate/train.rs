//! Relations between the keys of a retraining.

use std::path::PathBuf;

use super::image_sizes::validate_image_sizes;
use super::images::{validate_images, validate_network_size};
use super::optimizer::{validate_optimizer, validate_schedule};
use super::{
    at_least_one, fraction_below_one, require, used_images, validate_cells, validate_channels, validate_epochs,
    validate_loader_threads, validate_parallel, validate_parts, validate_pixels, validate_run, validate_share,
    zero_or_more,
};
use crate::config::schema::{Section, train::SECTIONS};
use crate::config::{
    ConfigError, DatasetName, Settings, TrainConfig, TrainDataSection, TrainModelSection, TrainSection, Violation,
};

/// Cells of the smallest network with an auxiliary head: the head must not read the last cell.
const MIN_CELLS_WITH_HEAD: usize = 4;
/// Strengths that RandAugment's operations are defined for.
const MAX_MAGNITUDE: usize = 10;
/// More operations than this leave nothing of an image.
const MAX_OPERATIONS: usize = 10;

impl Settings for TrainConfig {
    const SECTIONS: &'static [Section] = &SECTIONS;

    const OWN_CHANGEABLE_KEYS: &'static [&'static str] =
        &["train.validate_every_epochs", "train.accumulate_steps", "train.test_every_epoch"];

    const COMMAND: &'static str = "pdarts train";

    const SHOW_COMMAND: &'static str = "pdarts config show --kind train";

    const EXAMPLE: &'static str = "train.epochs=10";

    fn data_dir(&mut self) -> Option<&mut PathBuf> {
        Some(&mut self.data.dir)
    }

    fn validate(&self) -> Result<(), Violation> {
        validate_run(&self.run)?;
        validate_data(&self.data)?;
        validate_network(&self.model)?;
        validate_training(&self.train)?;
        validate_parallel(&self.parallel)?;
        validate_optimizer(&self.optimizer)?;
        validate_schedule(&self.schedule, &self.optimizer, self.train.epochs)?;
        validate_image_sizes(&self.train.image_sizes, self.train.epochs)?;
        let is_alone = self.train.image_sizes.is_empty() || self.data.dataset == DatasetName::Images;
        require(is_alone, "train.image_sizes", || {
            format!("the images of {} have one size; leave the sizes out", self.data.dataset)
        })?;
        validate_network_size(self)
    }
}

impl TrainConfig {
    /// Checks the relations with a data set of `num_images` training images: its size against the limit, and that the
    /// part that trains fills a batch.
    ///
    /// # Errors
    /// [`ConfigError::Violation`], the first violated relation.
    pub fn validate_with_dataset(&self, num_images: usize) -> Result<(), ConfigError> {
        let used = used_images(self.data.limit, num_images)?;
        let train = (self.data.train_fraction * used as f64).floor() as usize;
        require(train >= 1, "data.train_fraction", || format!("leaves none of {used} images to train on"))?;
        let batch = self.train.global_batch;
        require(batch <= train, "train.global_batch", || {
            format!("a batch of {batch} is larger than the {train} training images; lower it to at most {train}")
        })?;
        Ok(())
    }

    /// Checks that `num_ranks` ranks can divide a batch.
    ///
    /// # Errors
    /// [`ConfigError::Violation`], which names the nearest batches that they can divide.
    pub fn validate_with_ranks(&self, num_ranks: usize) -> Result<(), ConfigError> {
        let TrainSection { global_batch, accumulate_steps, .. } = self.train;
        Ok(validate_share("train.global_batch", global_batch, accumulate_steps, num_ranks)?)
    }
}

fn validate_data(data: &TrainDataSection) -> Result<(), Violation> {
    let fraction = data.train_fraction;
    require(fraction > 0.0 && fraction <= 1.0, "data.train_fraction", || {
        format!("{fraction} is no share; state a number above 0 and up to 1")
    })?;
    let usual_padding = TrainDataSection::default().crop_padding;
    validate_images(data.dataset, &data.images, data.crop_padding, usual_padding)?;
    validate_pixels("data.crop_padding", data.crop_padding, data.side())?;
    validate_pixels("data.cutout", data.cutout, data.side())?;
    for (key, value, most) in [
        ("data.randaugment_operations", data.randaugment_operations, MAX_OPERATIONS),
        ("data.randaugment_magnitude", data.randaugment_magnitude, MAX_MAGNITUDE),
    ] {
        require(value <= most, key, || format!("{value} is out of range; state 0 to {most}"))?;
    }
    validate_loader_threads(data.loader_threads)
}

fn validate_network(model: &TrainModelSection) -> Result<(), Violation> {
    validate_channels(model.channels)?;
    validate_cells("model.cells", model.cells)?;
    require(!model.auxiliary_head || model.cells >= MIN_CELLS_WITH_HEAD, "model.auxiliary_head", || {
        format!("it would stand behind the last of {} cells; state {MIN_CELLS_WITH_HEAD} cells or false", model.cells)
    })
}

fn validate_training(train: &TrainSection) -> Result<(), Violation> {
    validate_parts("train.accumulate_steps", train.accumulate_steps, "train.global_batch", train.global_batch)?;
    validate_epochs("train.epochs", train.epochs, 1)?;
    at_least_one("train.validate_every_epochs", train.validate_every_epochs)?;
    fraction_below_one("train.drop_path", train.drop_path)?;
    zero_or_more("train.auxiliary_weight", train.auxiliary_weight)?;
    fraction_below_one("train.label_smoothing", train.label_smoothing)?;
    zero_or_more("train.mixup_alpha", train.mixup_alpha)?;
    zero_or_more("train.cutmix_alpha", train.cutmix_alpha)?;
    fraction_below_one("train.ema_decay", train.ema_decay)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message for the defaults after one change.
    fn violation(change: impl FnOnce(&mut TrainConfig)) -> String {
        let mut config = TrainConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(TrainConfig::default().validate(), Ok(()));
    }

    #[test]
    fn refuses_an_auxiliary_head_behind_the_last_cell() {
        assert_eq!(
            violation(|config| config.model.cells = 3),
            "model.auxiliary_head: it would stand behind the last of 3 cells; state 4 cells or false"
        );
        let mut config = TrainConfig::default();
        (config.model.cells, config.model.auxiliary_head) = (3, false);
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn refuses_values_out_of_range_by_their_key() {
        let refused = [
            violation(|config| config.model.channels = 5),
            violation(|config| config.model.cells = 2),
            violation(|config| config.train.epochs = 0),
            violation(|config| config.train.epochs = 10_000_000_000),
            violation(|config| config.train.accumulate_steps = 1 << 62),
            violation(|config| config.train.drop_path = 1.0),
            violation(|config| config.train.label_smoothing = -0.1),
            violation(|config| config.train.mixup_alpha = -0.2),
            violation(|config| config.train.cutmix_alpha = f64::INFINITY),
            violation(|config| config.train.ema_decay = 1.0),
            violation(|config| config.train.auxiliary_weight = f64::NAN),
            violation(|config| config.data.train_fraction = 1.5),
            violation(|config| config.data.randaugment_magnitude = 11),
            violation(|config| config.optimizer.learning_rate = 0.0),
            violation(|config| config.optimizer.learning_rate_min = 1.0),
        ];
        let keys = refused.map(|message| message.split(':').next().unwrap_or_default().to_owned());
        let expected = [
            "model.channels",
            "model.cells",
            "train.epochs",
            "train.epochs",
            "train.accumulate_steps",
            "train.drop_path",
            "train.label_smoothing",
            "train.mixup_alpha",
            "train.cutmix_alpha",
            "train.ema_decay",
            "train.auxiliary_weight",
            "data.train_fraction",
            "data.randaugment_magnitude",
            "optimizer.learning_rate",
            "optimizer.learning_rate_min",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn refuses_a_batch_that_the_training_images_cannot_fill() {
        let mut config = TrainConfig::default();
        assert!(config.validate_with_dataset(128).is_ok());
        assert!(config.validate_with_dataset(127).is_err());
        config.data.train_fraction = 0.5;
        assert_eq!(
            config.validate_with_dataset(200).unwrap_err().to_string(),
            "train.global_batch: a batch of 128 is larger than the 100 training images; lower it to at most 100"
        );
    }
}
