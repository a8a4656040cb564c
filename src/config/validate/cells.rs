//! Searches that train single cells, and limits on the network of a cell.

use super::{at_least_one, fraction_below_one, require, validate_cells, validate_channels_of, validate_epochs};
use crate::config::{
    DatasetName, EvaluationSection, EvolutionSection, SearchConfig, SearchDataSection, SearchModelSection,
    SearchOptimizerSection, SearchSection, StrategyName, TrainConfig, Violation,
};
use crate::genotype::{CellSpace, CostLimits, NetworkKind, NetworkShape, TooSmall, check_limits};

/// Cells beyond any search: all of them are kept in memory.
const MAX_CANDIDATES: usize = 1_000_000;

impl SearchConfig {
    /// The limits on the network that papers evaluate cells in.
    pub fn cost_limits(&self) -> CostLimits {
        let SearchSection { max_parameters, max_multiply_adds, limit_network, .. } = self.search;
        let shape = match limit_network.of_side(self.data.side()) {
            NetworkKind::Cifar if self.data.dataset == DatasetName::Cifar100 => NetworkShape::cifar(100),
            NetworkKind::Cifar => NetworkShape::cifar(10),
            NetworkKind::ImageNet => NetworkShape::imagenet(),
        };
        let limit = |most: u64| (most > 0).then_some(most);
        CostLimits { shape, max_parameters: limit(max_parameters), max_multiply_adds: limit(max_multiply_adds) }
    }

    /// The cells that a search of single cells chooses among.
    pub fn cell_space(&self) -> CellSpace {
        CellSpace::new(&self.search.operations, self.search.max_skip_connects, self.cost_limits())
    }

    /// How a search of single cells trains one of them: as a retraining, on the images that train weights.
    pub fn evaluation_config(&self) -> TrainConfig {
        let (evaluation, weights) = (&self.evaluation, &self.optimizer.weights);
        let mut config =
            TrainConfig { run: self.run.clone(), parallel: self.parallel.clone(), ..TrainConfig::default() };
        // Nothing is kept of a training.
        config.run.checkpoint_every_epochs = evaluation.epochs;
        config.run.checkpoint_every_minutes = 0.0;
        config.run.keep_best_checkpoint = false;
        let SearchDataSection {
            dataset,
            train_fraction,
            crop_padding,
            horizontal_flip,
            cutout,
            loader_threads,
            limit,
            ..
        } = self.data;
        config.data.dir.clone_from(&self.data.dir);
        config.data.images = self.data.images.clone();
        (config.data.dataset, config.data.train_fraction, config.data.limit) = (dataset, train_fraction, limit);
        (config.data.crop_padding, config.data.horizontal_flip) = (crop_padding, horizontal_flip);
        (config.data.cutout, config.data.loader_threads) = (cutout, loader_threads);
        (config.model.network, config.model.batch_norm) = (self.model.network, self.model.batch_norm);
        config.model.checkpoint_cells = self.model.checkpoint_cells;
        (config.model.channels, config.model.cells) = (evaluation.channels, evaluation.cells);
        config.model.auxiliary_head = false;
        (config.train.global_batch, config.train.epochs) = (evaluation.global_batch, evaluation.epochs);
        config.train.precision = self.search.precision;
        (config.train.drop_path, config.train.validate_every_epochs) = (evaluation.drop_path, evaluation.epochs);
        config.optimizer.learning_rate = weights.learning_rate;
        config.optimizer.learning_rate_min = weights.learning_rate_min;
        config.optimizer.momentum = weights.momentum;
        config.optimizer.weight_decay = weights.weight_decay;
        config.optimizer.gradient_clip = weights.gradient_clip;
        config
    }
}

/// Keys that only searches of single cells have, and those that they do not have.
pub(super) fn validate_cells_alone(config: &SearchConfig) -> Result<(), Violation> {
    let strategy = config.search.strategy;
    if !strategy.trains_cells() {
        for (key, is_default) in [
            ("evaluation", config.evaluation == EvaluationSection::default()),
            ("evolution", config.evolution == EvolutionSection::default()),
        ] {
            require(is_default, key, || {
                let other = if key == "evolution" { StrategyName::Evolution } else { StrategyName::Random };
                format!(
                    "{strategy} trains a supernet, no single cells; leave the table out, or state search.strategy = \"{other}\""
                )
            })?;
        }
        return Ok(());
    }
    require(
        strategy == StrategyName::Evolution || config.evolution == EvolutionSection::default(),
        "evolution",
        || format!("{strategy} draws every cell anew; leave the table out, or state search.strategy = \"evolution\""),
    )?;
    refuse_keys_of_supernets(config)?;
    let evaluation = &config.evaluation;
    at_least_one("evaluation.candidates", evaluation.candidates)?;
    require(evaluation.candidates <= MAX_CANDIDATES, "evaluation.candidates", || {
        format!("{} are too many; state {MAX_CANDIDATES} or fewer", evaluation.candidates)
    })?;
    validate_epochs("evaluation.epochs", evaluation.epochs, 1)?;
    validate_cells("evaluation.cells", evaluation.cells)?;
    validate_channels_of("evaluation.channels", evaluation.channels)?;
    at_least_one("evaluation.global_batch", evaluation.global_batch)?;
    fraction_below_one("evaluation.drop_path", evaluation.drop_path)?;
    if strategy == StrategyName::Evolution {
        validate_evolution(&config.evolution, evaluation.candidates)?;
    }
    Ok(())
}

fn validate_evolution(evolution: &EvolutionSection, candidates: usize) -> Result<(), Violation> {
    let EvolutionSection { population, tournament, generation } = *evolution;
    at_least_one("evolution.population", population)?;
    require(population <= candidates, "evolution.population", || {
        format!("{population} cells live at a time, but evaluation.candidates = {candidates} in all; state fewer")
    })?;
    require((1..=population).contains(&tournament), "evolution.tournament", || {
        format!("{tournament} cells cannot be drawn from a population of {population}; state 1 to {population}")
    })?;
    require((1..=population).contains(&generation), "evolution.generation", || {
        format!("{generation} new cells would outnumber the population; state 1 to {population}")
    })
}

/// What a search without a supernet would have no use for.
fn refuse_keys_of_supernets(config: &SearchConfig) -> Result<(), Violation> {
    let (search, defaults) = (&config.search, SearchSection::default());
    let model = SearchModelSection { channels: SearchModelSection::default().channels, ..config.model.clone() };
    let rules = [
        ("search.order", search.order == defaults.order),
        ("search.partial_channels", search.partial_channels == defaults.partial_channels),
        ("search.temperature", search.temperature == defaults.temperature),
        ("search.temperature_end", search.temperature_end == defaults.temperature_end),
        ("search.stages", search.stages == defaults.stages),
        ("search.epochs", search.epochs == defaults.epochs),
        ("search.global_batch", search.global_batch == defaults.global_batch),
        ("search.accumulate_steps", search.accumulate_steps == defaults.accumulate_steps),
        ("search.alpha_start_epoch", search.alpha_start_epoch == defaults.alpha_start_epoch),
        ("search.alpha_init_scale", search.alpha_init_scale == defaults.alpha_init_scale),
        ("search.validate_every_epochs", search.validate_every_epochs == defaults.validate_every_epochs),
        ("search.skip_dropout_schedule", search.skip_dropout_schedule == defaults.skip_dropout_schedule),
        ("model.channels", model == config.model),
        ("data.alpha_fraction", config.data.alpha_fraction == 0.0),
        ("optimizer.alphas", config.optimizer.alphas == SearchOptimizerSection::default().alphas),
    ];
    for (key, is_default) in rules {
        require(is_default, key, || {
            format!("{} trains single cells, as [evaluation] says, and no supernet; leave it out", search.strategy)
        })?;
    }
    require(config.data.train_fraction < 1.0, "data.train_fraction", || {
        "1 leaves no images to choose cells by; state less".to_owned()
    })
}

/// Refuses limits that no cell of the search space is within.
pub(super) fn validate_limits(config: &SearchConfig) -> Result<(), Violation> {
    let (search, limits) = (&config.search, config.cost_limits());
    let problem = check_limits(&search.operations, search.max_skip_connects, limits)
        .map_err(|error| Violation { key: "search.operations".to_owned(), message: error.to_string() })?;
    let (key, message) = match problem {
        None => return Ok(()),
        Some(TooSmall::Parameters { smallest }) => (
            "search.max_parameters",
            format!(
                "no cell's network has so few parameters; the smallest has {smallest}: state that or more, or 0 for no limit"
            ),
        ),
        Some(TooSmall::MultiplyAdds { smallest }) => (
            "search.max_multiply_adds",
            format!(
                "no cell's network has so few multiply-adds; the smallest has {smallest}: state that or more, or 0 for no limit"
            ),
        ),
        Some(TooSmall::Both { parameters }) => (
            "search.max_parameters",
            format!(
                "no cell's network is within this limit and search.max_multiply_adds; the one with the fewest multiply-adds \
                 has {parameters} parameters: state that or more"
            ),
        ),
    };
    Err(Violation { key: key.to_owned(), message })
}
