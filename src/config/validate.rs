//! Relations between keys, checked once when a configuration is loaded.
//!
//! A relation that needs the size of the data set waits for
//! [`SearchConfig::validate_with_dataset`]. Each violation names its key and says what would be right.

use std::path::PathBuf;

use images::{validate_images, validate_supernet_size};

use super::schema::{SECTIONS, Section};
use super::{
    AlphaOptimizerSection, ConfigError, ParallelSection, RunSection, SearchConfig, SearchDataSection, SearchSection,
    Settings, Violation, WeightOptimizerSection,
};
use crate::genotype::{NUM_NODES, Operation};

/// Side in pixels of the images of photodigits and CIFAR.
const IMAGE_SIZE: usize = 32;

/// Edges of a cell that can be in a genotype: two into each node.
const MAX_SKIP_CONNECTS: usize = 2 * NUM_NODES;

/// Far above any machine's cores, and few enough to start.
const MAX_THREADS: usize = 1024;

/// Cells of the smallest supernet: a normal one and the two that reduce.
const MIN_CELLS: usize = 3;

/// Beyond any network's gradients.
const MAX_BUCKET_MIB: f64 = 65536.0;

/// Between two checkpoints.
const MAX_MINUTES: f64 = 10_080.0;

/// Cells and channels beyond any network of this field: more is a slip of the hand that would exhaust the memory.
const MAX_CELLS: usize = 1000;
const MAX_CHANNELS: usize = 4096;

/// Epochs beyond any run, over all of its stages: more would not end, and what is kept of each would exhaust the memory.
const MAX_EPOCHS: usize = 1_000_000;

impl Settings for SearchConfig {
    const SECTIONS: &'static [Section] = &SECTIONS;

    const OWN_CHANGEABLE_KEYS: &'static [&'static str] = &["search.validate_every_epochs", "search.accumulate_steps"];

    const LATER_KEYS: &'static [&'static str] = &[
        "data.alpha_fraction",
        "data.image_size",
        "data.resize",
        "data.crop_area",
        "data.crop_ratio",
        "data.colour_jitter",
        "data.interpolation",
        "data.on_bad_image",
        "data.bad_image_limit",
        "model.network",
        "search.strategy",
        "search.order",
        "search.partial_channels",
        "search.precision",
        "search.temperature",
        "search.temperature_end",
        "search.max_parameters",
        "search.max_multiply_adds",
        "search.limit_network",
        "search.parameters_penalty",
        "search.multiply_adds_penalty",
        "search.drop_path",
        "search.perturbation",
        "search.eigenvalue_every_epochs",
        "search.eigenvalue_stop",
        "evaluation.candidates",
        "evaluation.epochs",
        "evaluation.cells",
        "evaluation.channels",
        "evaluation.global_batch",
        "evaluation.drop_path",
        "evolution.population",
        "evolution.tournament",
        "evolution.generation",
    ];

    const COMMAND: &'static str = "pdarts search";

    const SHOW_COMMAND: &'static str = "pdarts config show";

    const EXAMPLE: &'static str = "search.epochs=10";

    fn data_dir(&mut self) -> Option<&mut PathBuf> {
        Some(&mut self.data.dir)
    }

    fn validate(&self) -> Result<(), Violation> {
        validate_run(&self.run)?;
        validate_data(&self.data)?;
        validate_channels(self.model.channels)?;
        validate_skips(&self.search)?;
        validate_operations(&self.search.operations)?;
        // What has no supernet has no stages: such keys are refused below.
        if !self.search.strategy.trains_cells() {
            validate_search(&self.search)?;
            validate_stages(&self.search)?;
        }
        strategy::validate_strategy(&self.search, self.model.channels)?;
        regularisers::validate_regularisers(&self.search)?;
        strategy::validate_batch_norm(self.search.strategy, self.model.batch_norm)?;
        validate_parallel(&self.parallel)?;
        validate_weight_optimizer(&self.optimizer.weights)?;
        validate_alpha_optimizer(&self.optimizer.alphas)?;
        validate_supernet_size(self)?;
        cells::validate_cells_alone(self)?;
        cells::validate_limits(self)
    }
}

impl SearchConfig {
    /// Checks that `num_ranks` ranks can divide a batch.
    ///
    /// # Errors
    /// [`ConfigError::Violation`], which names the nearest batches that they can divide.
    pub fn validate_with_ranks(&self, num_ranks: usize) -> Result<(), ConfigError> {
        let SearchSection { global_batch, accumulate_steps, .. } = self.search;
        Ok(validate_share("search.global_batch", global_batch, accumulate_steps, num_ranks)?)
    }
}

/// Checks that `num_ranks` ranks can divide a `batch` that they take in `parts`.
fn validate_share(key: &str, batch: usize, parts: usize, num_ranks: usize) -> Result<(), Violation> {
    let unit = num_ranks.saturating_mul(parts);
    require(batch.is_multiple_of(unit), key, || {
        let in_parts = if parts > 1 { format!(" in {parts} parts") } else { String::new() };
        let below = batch / unit * unit;
        let nearest = match below {
            0 => unit.to_string(),
            _ => format!("{below} or {}", below.saturating_add(unit)),
        };
        format!("{num_ranks} ranks cannot share {batch} images{in_parts} equally; state {nearest}")
    })
}

/// Checks that a step's `batch` can be taken in `parts`, on one rank at least.
fn validate_parts(key: &str, parts: usize, batch_key: &str, batch: usize) -> Result<(), Violation> {
    at_least_one(batch_key, batch)?;
    at_least_one(key, parts)?;
    require(batch.is_multiple_of(parts), key, || {
        format!("{parts} parts cannot share {batch} images equally; state a divisor of {batch_key}")
    })
}

/// Checks the `epochs` of each of `num_stages`.
fn validate_epochs(key: &str, epochs: usize, num_stages: usize) -> Result<(), Violation> {
    at_least_one(key, epochs)?;
    let most = MAX_EPOCHS / num_stages.clamp(1, MAX_EPOCHS);
    require(epochs <= most, key, || format!("{epochs} are too many; state {most} or fewer"))
}

fn validate_parallel(parallel: &ParallelSection) -> Result<(), Violation> {
    for (key, mib) in
        [("parallel.bucket_mib", parallel.bucket_mib), ("parallel.first_bucket_mib", parallel.first_bucket_mib)]
    {
        zero_or_more(key, mib)?;
        require(mib <= MAX_BUCKET_MIB, key, || format!("{mib} MiB are too many; state at most {MAX_BUCKET_MIB}"))?;
    }
    positive("parallel.nccl_timeout_seconds", parallel.nccl_timeout_seconds)?;
    positive("parallel.stall_warning_seconds", parallel.stall_warning_seconds)?;
    positive("parallel.stall_abort_seconds", parallel.stall_abort_seconds)?;
    let (warning, abort) = (parallel.stall_warning_seconds, parallel.stall_abort_seconds);
    require(warning <= abort, "parallel.stall_warning_seconds", || {
        format!("{warning} is beyond parallel.stall_abort_seconds = {abort}; state less")
    })
}

/// How many of `num_images` training images are used under `data.limit`.
fn used_images(limit: usize, num_images: usize) -> Result<usize, Violation> {
    require(limit <= num_images, "data.limit", || {
        format!("the training set has {num_images} images, not {limit}; state 0 for all")
    })?;
    Ok(if limit == 0 { num_images } else { limit })
}

/// TOML has no larger numbers.
fn validate_seed(key: &str, seed: u64) -> Result<(), Violation> {
    require(i64::try_from(seed).is_ok(), key, || format!("{seed} is too large; state at most {}", i64::MAX))
}

fn validate_run(run: &RunSection) -> Result<(), Violation> {
    validate_seed("run.seed", run.seed)?;
    threads_exist("run.threads", run.threads)?;
    at_least_one("run.log_every_steps", run.log_every_steps)?;
    at_least_one("run.checkpoint_every_epochs", run.checkpoint_every_epochs)?;
    let minutes = run.checkpoint_every_minutes;
    require((0.0..=MAX_MINUTES).contains(&minutes), "run.checkpoint_every_minutes", || {
        format!("{minutes} is no number of minutes; state 0 to {MAX_MINUTES} (a week)")
    })?;
    at_least_one("run.keep_checkpoints", run.keep_checkpoints)
}

fn validate_loader_threads(threads: usize) -> Result<(), Violation> {
    threads_exist("data.loader_threads", threads)?;
    at_least_one("data.loader_threads", threads)
}

fn validate_channels(channels: usize) -> Result<(), Violation> {
    validate_channels_of("model.channels", channels)
}

fn validate_channels_of(key: &str, channels: usize) -> Result<(), Violation> {
    require(channels > 0 && channels.is_multiple_of(2), key, || {
        format!("a reduction cannot halve {channels} channels; state an even number above 0")
    })?;
    require(channels <= MAX_CHANNELS, key, || {
        format!("{channels} channels are too many; state {MAX_CHANNELS} or fewer")
    })
}

fn validate_pixels(key: &str, pixels: usize, side: usize) -> Result<(), Violation> {
    require(pixels <= side, key, || format!("{pixels} pixels exceed the image; state 0 to {side}"))
}

fn validate_data(data: &SearchDataSection) -> Result<(), Violation> {
    shares::validate_fractions(data)?;
    validate_images(data.dataset, &data.images, data.crop_padding, SearchDataSection::default().crop_padding)?;
    validate_pixels("data.crop_padding", data.crop_padding, data.side())?;
    validate_pixels("data.cutout", data.cutout, data.side())?;
    validate_loader_threads(data.loader_threads)
}

fn validate_search(search: &SearchSection) -> Result<(), Violation> {
    validate_parts("search.accumulate_steps", search.accumulate_steps, "search.global_batch", search.global_batch)?;
    validate_epochs("search.epochs", search.epochs, search.stages.len())?;
    at_least_one("search.validate_every_epochs", search.validate_every_epochs)?;
    let (start, epochs) = (search.alpha_start_epoch, search.epochs);
    require(start <= epochs, "search.alpha_start_epoch", || {
        format!("{start} is beyond search.epochs = {epochs}; state 0 to {epochs}")
    })?;
    zero_or_more("search.alpha_init_scale", search.alpha_init_scale)
}

fn validate_skips(search: &SearchSection) -> Result<(), Violation> {
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

fn validate_stages(search: &SearchSection) -> Result<(), Violation> {
    let stages = &search.stages;
    require(!stages.is_empty(), "search.stages", || "a search needs at least one stage".to_owned())?;
    let has_none = search.operations.contains(&Operation::None);
    let mut start = search.operations.len();
    for (index, stage) in stages.iter().enumerate() {
        let key = |name: &str| format!("search.stages.{index}.{name}");
        let (cells, keep) = (stage.cells, stage.keep);
        let is_last = index + 1 == stages.len();
        validate_cells(&key("cells"), cells)?;
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

fn validate_cells(key: &str, cells: usize) -> Result<(), Violation> {
    require(cells >= MIN_CELLS, key, || {
        format!("{cells} cells are too few for two reductions; state {MIN_CELLS} or more")
    })?;
    require(cells <= MAX_CELLS, key, || format!("{cells} cells are too many; state {MAX_CELLS} or fewer"))
}

fn validate_weight_optimizer(weights: &WeightOptimizerSection) -> Result<(), Violation> {
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

fn validate_alpha_optimizer(alphas: &AlphaOptimizerSection) -> Result<(), Violation> {
    positive("optimizer.alphas.learning_rate", alphas.learning_rate)?;
    fraction_below_one("optimizer.alphas.beta1", alphas.beta1)?;
    fraction_below_one("optimizer.alphas.beta2", alphas.beta2)?;
    zero_or_more("optimizer.alphas.weight_decay", alphas.weight_decay)?;
    positive("optimizer.alphas.gradient_clip", alphas.gradient_clip)
}

fn threads_exist(key: &str, threads: usize) -> Result<(), Violation> {
    require(threads <= MAX_THREADS, key, || format!("{threads} are too many; state at most {MAX_THREADS}"))
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

mod cells;
pub(super) mod compare;
mod image_sizes;
mod images;
mod optimizer;
mod regularisers;
pub(super) mod shares;
mod strategy;
mod train;

#[cfg(test)]
mod tests;
