//! Relations between keys, checked once when a configuration is loaded.
//!
//! A relation that needs the size of the data set waits for
//! [`Config::validate_with_dataset`]. Each violation names its key and says what would be right.

use super::{AlphaOptimizerConfig, Config, ConfigError, DataConfig, SearchConfig, Violation, WeightOptimizerConfig};
use crate::genotype::{NUM_NODES, Operation};

/// Side in pixels of the images of every data set.
const IMAGE_SIZE: usize = 32;

/// Edges of a cell that can be in a genotype: two into each node.
const MAX_SKIP_CONNECTS: usize = 2 * NUM_NODES;

/// Far above any machine's cores, and few enough to start.
const MAX_THREADS: usize = 1024;

/// Cells of the smallest supernet: a normal one and the two that reduce.
const MIN_CELLS: usize = 3;

impl Config {
    /// Checks every relation that the configuration alone can violate.
    ///
    /// # Errors
    /// The first violated relation.
    pub(super) fn validate(&self) -> Result<(), Violation> {
        let run = &self.run;
        for (key, threads) in [("run.threads", run.threads), ("data.loader_threads", self.data.loader_threads)] {
            require(threads <= MAX_THREADS, key, || format!("{threads} are too many; state at most {MAX_THREADS}"))?;
        }
        at_least_one("run.log_every_steps", run.log_every_steps)?;
        at_least_one("run.checkpoint_every_epochs", run.checkpoint_every_epochs)?;
        validate_data(&self.data)?;
        let channels = self.model.channels;
        require(channels > 0 && channels.is_multiple_of(2), "model.channels", || {
            format!("a reduction cannot halve {channels} channels; state an even number above 0")
        })?;
        validate_search(&self.search)?;
        validate_operations(&self.search.operations)?;
        validate_stages(&self.search)?;
        validate_weight_optimizer(&self.optimizer.weights)?;
        validate_alpha_optimizer(&self.optimizer.alphas)
    }

    /// Checks the relations with a data set of `num_images` training images: its size against the
    /// limit, and that both parts of the split fill a batch.
    ///
    /// # Errors
    /// [`ConfigError::Violation`], the first violated relation.
    pub fn validate_with_dataset(&self, num_images: usize) -> Result<(), ConfigError> {
        let limit = self.data.limit;
        require(limit <= num_images, "data.limit", || {
            format!("the training set has {num_images} images, not {limit}; state 0 for all")
        })?;
        let used = if limit == 0 { num_images } else { limit };
        let train = (self.data.train_fraction * used as f64).floor() as usize;
        let valid = used - train;
        let most = train.min(valid);
        require(most >= 1, "data.train_fraction", || {
            format!("splits {used} images into {train} and {valid}; both parts need images")
        })?;
        let batch = self.search.global_batch;
        require(batch <= most, "search.global_batch", || {
            format!(
                "a batch of {batch} is larger than a part of the split \
                 ({train} images for weights, {valid} for alphas); lower it to at most {most}"
            )
        })?;
        Ok(())
    }
}

fn validate_data(data: &DataConfig) -> Result<(), Violation> {
    let fraction = data.train_fraction;
    require(fraction > 0.0 && fraction < 1.0, "data.train_fraction", || {
        format!("{fraction} leaves nothing to split; state a number above 0 and below 1")
    })?;
    for (key, pixels) in [("data.crop_padding", data.crop_padding), ("data.cutout", data.cutout)] {
        require(pixels <= IMAGE_SIZE, key, || format!("{pixels} pixels exceed the image; state 0 to {IMAGE_SIZE}"))?;
    }
    at_least_one("data.loader_threads", data.loader_threads)
}

fn validate_search(search: &SearchConfig) -> Result<(), Violation> {
    at_least_one("search.global_batch", search.global_batch)?;
    at_least_one("search.epochs", search.epochs)?;
    at_least_one("search.validate_every_epochs", search.validate_every_epochs)?;
    let (start, epochs) = (search.alpha_start_epoch, search.epochs);
    require(start <= epochs, "search.alpha_start_epoch", || {
        format!("{start} is beyond search.epochs = {epochs}; state 0 to {epochs}")
    })?;
    zero_or_more("search.alpha_init_scale", search.alpha_init_scale)?;
    let skips = search.max_skip_connects;
    require(skips <= MAX_SKIP_CONNECTS, "search.max_skip_connects", || {
        format!("a cell has no {skips} edges; state 0 to {MAX_SKIP_CONNECTS}")
    })
}

fn validate_operations(operations: &[Operation]) -> Result<(), Violation> {
    let key = "search.operations";
    let known = Operation::SEARCH_SPACE.map(Operation::name).join(", ");
    for (index, operation) in operations.iter().enumerate() {
        require(Operation::SEARCH_SPACE.contains(operation), key, || {
            format!("{operation} is not in the search space; choose from {known}")
        })?;
        require(!operations[..index].contains(operation), key, || {
            format!("{operation} is listed twice; list each operation once")
        })?;
    }
    let has_choice = operations.iter().any(|&operation| operation != Operation::None);
    require(has_choice, key, || format!("an edge needs an operation other than none; choose from {known}"))
}

fn validate_stages(search: &SearchConfig) -> Result<(), Violation> {
    let stages = &search.stages;
    require(!stages.is_empty(), "search.stages", || "a search needs at least one stage".to_owned())?;
    let has_none = search.operations.contains(&Operation::None);
    let mut start = search.operations.len();
    for (index, stage) in stages.iter().enumerate() {
        let key = |name: &str| format!("search.stages.{index}.{name}");
        let (cells, keep) = (stage.cells, stage.keep);
        let is_last = index + 1 == stages.len();
        require(cells >= MIN_CELLS, key("cells"), || {
            format!("{cells} cells are too few for two reductions; state {MIN_CELLS} or more")
        })?;
        at_least_one(key("keep"), keep)?;
        require(keep <= start, key("keep"), || {
            format!("the stage starts with {start} operations; state 1 to {start}, not {keep}")
        })?;
        require(!is_last || keep == 1, key("keep"), || {
            format!("the last stage leaves 1 operation on each edge of the cell, not {keep}")
        })?;
        require(is_last || keep > 1 || !has_none, key("keep"), || {
            "1 could leave an edge only `none` for the next stage; state 2 or more".to_owned()
        })?;
        fraction_below_one(key("skip_dropout"), stage.skip_dropout)?;
        // The next stage starts with what this one keeps.
        start = keep;
    }
    Ok(())
}

fn validate_weight_optimizer(weights: &WeightOptimizerConfig) -> Result<(), Violation> {
    let (rate, least) = (weights.learning_rate, weights.learning_rate_min);
    positive("optimizer.weights.learning_rate", rate)?;
    zero_or_more("optimizer.weights.learning_rate_min", least)?;
    require(least <= rate, "optimizer.weights.learning_rate_min", || {
        format!("{least} is above optimizer.weights.learning_rate; state 0 to {rate}")
    })?;
    fraction_below_one("optimizer.weights.momentum", weights.momentum)?;
    zero_or_more("optimizer.weights.weight_decay", weights.weight_decay)?;
    positive("optimizer.weights.gradient_clip", weights.gradient_clip)
}

fn validate_alpha_optimizer(alphas: &AlphaOptimizerConfig) -> Result<(), Violation> {
    positive("optimizer.alphas.learning_rate", alphas.learning_rate)?;
    fraction_below_one("optimizer.alphas.beta1", alphas.beta1)?;
    fraction_below_one("optimizer.alphas.beta2", alphas.beta2)?;
    zero_or_more("optimizer.alphas.weight_decay", alphas.weight_decay)?;
    positive("optimizer.alphas.gradient_clip", alphas.gradient_clip)
}

fn at_least_one(key: impl Into<String>, value: usize) -> Result<(), Violation> {
    require(value >= 1, key, || format!("{value} is too small; state 1 or more"))
}

fn positive(key: &str, value: f64) -> Result<(), Violation> {
    require(value > 0.0 && value.is_finite(), key, || format!("{value} cannot be used; state a finite number above 0"))
}

fn zero_or_more(key: &str, value: f64) -> Result<(), Violation> {
    require(value >= 0.0 && value.is_finite(), key, || {
        format!("{value} cannot be used; state a finite number, 0 or more")
    })
}

fn fraction_below_one(key: impl Into<String>, value: f64) -> Result<(), Violation> {
    require((0.0..1.0).contains(&value), key, || format!("{value} is out of range; state a number from 0 to below 1"))
}

fn require(holds: bool, key: impl Into<String>, message: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds {
        return Ok(());
    }
    Err(Violation { key: key.into(), message: message() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StageConfig;

    /// The message for the defaults after one change.
    fn violation(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    fn stage(cells: usize, keep: usize) -> StageConfig {
        StageConfig { cells, keep, skip_dropout: 0.0 }
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn refuses_channels_that_a_reduction_cannot_halve() {
        assert_eq!(
            violation(|config| config.model.channels = 0),
            "model.channels: a reduction cannot halve 0 channels; state an even number above 0"
        );
        assert_eq!(
            violation(|config| config.model.channels = 15),
            "model.channels: a reduction cannot halve 15 channels; state an even number above 0"
        );
    }

    #[test]
    fn refuses_impossible_data_settings() {
        for fraction in [0.0, 1.0, -0.5, f64::NAN] {
            assert_eq!(
                violation(|config| config.data.train_fraction = fraction),
                format!(
                    "data.train_fraction: {fraction} leaves nothing to split; \
                     state a number above 0 and below 1"
                )
            );
        }
        assert_eq!(
            violation(|config| config.data.cutout = 33),
            "data.cutout: 33 pixels exceed the image; state 0 to 32"
        );
        assert_eq!(
            violation(|config| config.data.crop_padding = 40),
            "data.crop_padding: 40 pixels exceed the image; state 0 to 32"
        );
        assert_eq!(
            violation(|config| config.data.loader_threads = 0),
            "data.loader_threads: 0 is too small; state 1 or more"
        );
    }

    #[test]
    fn refuses_counts_of_zero() {
        assert_eq!(
            violation(|config| config.search.global_batch = 0),
            "search.global_batch: 0 is too small; state 1 or more"
        );
        assert_eq!(violation(|config| config.search.epochs = 0), "search.epochs: 0 is too small; state 1 or more");
        assert_eq!(
            violation(|config| config.run.log_every_steps = 0),
            "run.log_every_steps: 0 is too small; state 1 or more"
        );
        assert_eq!(
            violation(|config| config.run.checkpoint_every_epochs = 0),
            "run.checkpoint_every_epochs: 0 is too small; state 1 or more"
        );
    }

    #[test]
    fn refuses_alphas_that_start_after_the_stage() {
        assert_eq!(
            violation(|config| config.search.epochs = 9),
            "search.alpha_start_epoch: 10 is beyond search.epochs = 9; state 0 to 9"
        );
    }

    #[test]
    fn refuses_more_skips_than_a_cell_has_edges() {
        assert_eq!(
            violation(|config| config.search.max_skip_connects = 9),
            "search.max_skip_connects: a cell has no 9 edges; state 0 to 8"
        );
    }

    #[test]
    fn refuses_operations_that_cannot_be_searched() {
        let choices = "none, max_pool_3x3, avg_pool_3x3, skip_connect, sep_conv_3x3, \
                       sep_conv_5x5, dil_conv_3x3, dil_conv_5x5";
        let operations = |list: &[Operation]| {
            let list = list.to_vec();
            violation(move |config| config.search.operations = list)
        };
        assert_eq!(
            operations(&[Operation::SkipConnect, Operation::SepConv7x7]),
            format!("search.operations: sep_conv_7x7 is not in the search space; choose from {choices}")
        );
        assert_eq!(
            operations(&[Operation::SkipConnect, Operation::SkipConnect]),
            "search.operations: skip_connect is listed twice; list each operation once"
        );
        for list in [&[][..], &[Operation::None]] {
            assert_eq!(
                operations(list),
                format!(
                    "search.operations: an edge needs an operation other than none; \
                     choose from {choices}"
                )
            );
        }
    }

    #[test]
    fn refuses_stages_that_do_not_follow_each_other() {
        let stages = |stages: &[StageConfig]| {
            let stages = stages.to_vec();
            violation(move |config| config.search.stages = stages)
        };
        assert_eq!(stages(&[]), "search.stages: a search needs at least one stage");
        assert_eq!(
            stages(&[stage(2, 1)]),
            "search.stages.0.cells: 2 cells are too few for two reductions; state 3 or more"
        );
        assert_eq!(stages(&[stage(5, 0)]), "search.stages.0.keep: 0 is too small; state 1 or more");
        assert_eq!(
            stages(&[stage(5, 9), stage(8, 1)]),
            "search.stages.0.keep: the stage starts with 8 operations; state 1 to 8, not 9"
        );
        assert_eq!(
            stages(&[stage(5, 3), stage(8, 4), stage(11, 1)]),
            "search.stages.1.keep: the stage starts with 3 operations; state 1 to 3, not 4"
        );
        assert_eq!(
            stages(&[stage(5, 3), stage(8, 2)]),
            "search.stages.1.keep: the last stage leaves 1 operation on each edge of the cell, not 2"
        );
        assert_eq!(
            stages(&[stage(5, 1), stage(8, 1)]),
            "search.stages.0.keep: 1 could leave an edge only `none` for the next stage; \
             state 2 or more"
        );
    }

    #[test]
    fn a_single_stage_may_do_the_whole_search() {
        let mut config = Config::default();
        config.search.stages = vec![stage(8, 1)];
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn refuses_rates_that_are_no_probabilities() {
        for rate in [1.0, -0.1, f64::NAN] {
            assert_eq!(
                violation(|config| config.search.stages[2].skip_dropout = rate),
                format!(
                    "search.stages.2.skip_dropout: {rate} is out of range; \
                     state a number from 0 to below 1"
                )
            );
        }
        assert!(
            violation(|config| config.optimizer.alphas.beta2 = 1.0)
                .starts_with("optimizer.alphas.beta2: 1 is out of range")
        );
        assert!(
            violation(|config| config.optimizer.weights.momentum = 1.5)
                .starts_with("optimizer.weights.momentum: 1.5 is out of range")
        );
    }

    #[test]
    fn refuses_optimizer_settings_that_cannot_train() {
        for rate in [0.0, -1.0, f64::INFINITY, f64::NAN] {
            assert_eq!(
                violation(|config| config.optimizer.alphas.learning_rate = rate),
                format!(
                    "optimizer.alphas.learning_rate: {rate} cannot be used; \
                     state a finite number above 0"
                )
            );
        }
        assert_eq!(
            violation(|config| config.optimizer.weights.weight_decay = -1e-4),
            "optimizer.weights.weight_decay: -0.0001 cannot be used; \
             state a finite number, 0 or more"
        );
        assert_eq!(
            violation(|config| config.optimizer.weights.learning_rate_min = 0.1),
            "optimizer.weights.learning_rate_min: 0.1 is above optimizer.weights.learning_rate; \
             state 0 to 0.025"
        );
    }

    #[test]
    fn refuses_a_data_set_too_small_for_the_batch() {
        let mut config = Config::default();
        assert!(config.validate_with_dataset(192).is_ok());
        let message = |config: &Config, num_images| {
            let error = config.validate_with_dataset(num_images).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            message(&config, 191),
            "search.global_batch: a batch of 96 is larger than a part of the split \
             (95 images for weights, 96 for alphas); lower it to at most 95"
        );
        assert_eq!(message(&config, 1), "data.train_fraction: splits 1 images into 0 and 1; both parts need images");
        config.data.limit = 500;
        assert!(config.validate_with_dataset(500).is_ok());
        assert_eq!(message(&config, 499), "data.limit: the training set has 499 images, not 500; state 0 for all");
        config.data.limit = 100;
        assert!(message(&config, 50_000).starts_with("search.global_batch: a batch of 96"));
    }
}
