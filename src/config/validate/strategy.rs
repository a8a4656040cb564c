//! What each search strategy can do.

use super::require;
use crate::config::{BatchNormMode, SearchSection, StrategyName, Violation};

/// Samples at lower temperatures, or at higher ones than its inverse, have no gradients in single precision.
const LEAST_TEMPERATURE: f64 = 1e-3;

/// The keys whose values `search.strategy` does not know.
pub(super) fn validate_strategy(search: &SearchSection, channels: usize) -> Result<(), Violation> {
    let SearchSection { strategy, order, stages, .. } = search;
    if strategy.trains_cells() {
        return Ok(());
    }
    let orders: &[usize] = if *strategy == StrategyName::Darts { &[1, 2] } else { &[1] };
    require(orders.contains(order), "search.order", || match orders {
        [1] => {
            format!("{strategy} steps alphas by the first order, not {order}; state 1, or search.strategy = \"darts\"")
        }
        _ => format!("there is no order {order}; state 1 or 2"),
    })?;
    validate_partial_channels(*strategy, search.partial_channels, channels)?;
    validate_temperatures(search)?;
    if matches!(strategy, StrategyName::PDarts | StrategyName::PcDarts) {
        return Ok(());
    }
    require(stages.len() == 1, "search.stages", || {
        format!("{strategy} searches in one stage, not {}; state one with keep = 1", stages.len())
    })?;
    let dropout = stages[0].skip_dropout;
    require(dropout == 0.0, "search.stages.0.skip_dropout", || {
        format!("{strategy} has no dropout on skip_connect; state 0, not {dropout}")
    })
}

/// Whether the strategy can take BatchNorm's statistics over all ranks.
pub(super) fn validate_batch_norm(strategy: StrategyName, mode: BatchNormMode) -> Result<(), Violation> {
    let can = strategy != StrategyName::Gdas || mode == BatchNormMode::Rank;
    require(can, "model.batch_norm", || {
        format!("{strategy} normalises by the statistics of each rank; state \"rank\", not \"sync\"")
    })
}

fn validate_partial_channels(strategy: StrategyName, parts: usize, channels: usize) -> Result<(), Violation> {
    let key = "search.partial_channels";
    if strategy != StrategyName::PcDarts {
        return require(parts == 1, key, || {
            format!(
                "{strategy} mixes all channels, not one of {parts} parts; state 1, or search.strategy = \"pc-darts\""
            )
        });
    }
    require(parts >= 2, key, || {
        format!("{parts} leaves no channels that pass; state 4 as on CIFAR, or 2 as on ImageNet")
    })?;
    require(channels.is_multiple_of(parts.saturating_mul(2)), key, || {
        format!(
            "a reduction cannot halve one of {parts} parts of model.channels = {channels}; state half a divisor of it"
        )
    })
}

fn validate_temperatures(search: &SearchSection) -> Result<(), Violation> {
    let SearchSection { strategy, temperature, temperature_end, .. } = search;
    let defaults = SearchSection::default();
    for (key, value, default) in [
        ("search.temperature", *temperature, defaults.temperature),
        ("search.temperature_end", *temperature_end, defaults.temperature_end),
    ] {
        let is_usable = (LEAST_TEMPERATURE..=1.0 / LEAST_TEMPERATURE).contains(&value);
        require(is_usable, key, || {
            format!(
                "{value} cannot be used; state a finite number above 0, from {LEAST_TEMPERATURE} to {}",
                1.0 / LEAST_TEMPERATURE
            )
        })?;
        require(matches!(strategy, StrategyName::Snas | StrategyName::Gdas) || value == default, key, || {
            format!(
                "{strategy} draws no samples; leave it at {default}, or state search.strategy = \"snas\" or \"gdas\""
            )
        })?;
    }
    require(temperature_end <= temperature, "search.temperature_end", || {
        format!("{temperature_end} is above search.temperature; state a number above 0, at most {temperature}")
    })
}
