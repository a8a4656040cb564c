//! What keeps a search from cells that only look good in the supernet, and from dear ones.

use super::{fraction_below_one, require, zero_or_more};
use crate::config::{SearchSection, StrategyName, Violation};

/// Strategies that weigh all operations of an edge in every pass.
const WEIGH_ALL: [StrategyName; 3] = [StrategyName::PDarts, StrategyName::Darts, StrategyName::PcDarts];

/// Those of them in which all that leaves an edge is mixed.
const MIX_ALL: [StrategyName; 2] = [StrategyName::PDarts, StrategyName::Darts];

/// Beyond any loss that a network begins with.
const MOST_PENALTY: f64 = 1000.0;

/// Checks the keys, each of which is off by default, and that `search.strategy` knows what they ask for.
pub(super) fn validate_regularisers(search: &SearchSection) -> Result<(), Violation> {
    let SearchSection { drop_path, perturbation, eigenvalue_every_epochs, eigenvalue_stop, .. } = *search;
    for (key, penalty) in [
        ("search.parameters_penalty", search.parameters_penalty),
        ("search.multiply_adds_penalty", search.multiply_adds_penalty),
    ] {
        zero_or_more(key, penalty)?;
        require(penalty <= MOST_PENALTY, key, || {
            format!(
                "{penalty} would drown the loss; state 0 to {MOST_PENALTY}, where 1 weighs the dearest cell as a loss of 1"
            )
        })?;
        require(penalty == 0.0 || !search.strategy.trains_cells(), key, || {
            format!(
                "{} has no alphas that a penalty could move; state 0, and search.max_parameters or \
                 search.max_multiply_adds",
                search.strategy
            )
        })?;
    }
    fraction_below_one("search.drop_path", drop_path)?;
    known_to(search, &MIX_ALL, "search.drop_path", drop_path == 0.0)?;
    require((0.0..=1.0).contains(&perturbation), "search.perturbation", || {
        format!("{perturbation} is out of range; state a number from 0 to 1 (0.3 as in the paper)")
    })?;
    known_to(search, &WEIGH_ALL, "search.perturbation", perturbation == 0.0)?;
    known_to(search, &WEIGH_ALL, "search.eigenvalue_every_epochs", eigenvalue_every_epochs == 0)?;
    zero_or_more("search.eigenvalue_stop", eigenvalue_stop)?;
    require(eigenvalue_stop == 0.0 || eigenvalue_stop > 1.0, "search.eigenvalue_stop", || {
        format!("{eigenvalue_stop} would end every stage; state a number above 1 (1.3 as in the paper), or 0")
    })?;
    require(eigenvalue_stop == 0.0 || eigenvalue_every_epochs > 0, "search.eigenvalue_stop", || {
        "nothing is measured; state search.eigenvalue_every_epochs too (2 as in the paper)".to_owned()
    })?;
    if eigenvalue_stop == 0.0 {
        return Ok(());
    }
    let (epochs, shortest) = (search.epochs, search.shortest_early_stage());
    require(epochs >= shortest, "search.eigenvalue_stop", || {
        format!(
            "no stage of search.epochs = {epochs} can end early, the first could with epoch {shortest}; state more epochs, or an \
             earlier search.alpha_start_epoch"
        )
    })
}

/// Whether `key` is off or `search.strategy` among `strategies`.
fn known_to(search: &SearchSection, strategies: &[StrategyName], key: &str, is_off: bool) -> Result<(), Violation> {
    require(is_off || strategies.contains(&search.strategy), key, || {
        let names: Vec<String> = strategies.iter().map(|name| format!("\"{name}\"")).collect();
        format!("{} does not know it; state 0, or search.strategy = {}", search.strategy, names.join(" or "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(change: impl FnOnce(&mut SearchSection)) -> Option<String> {
        let mut search = SearchSection::default();
        change(&mut search);
        validate_regularisers(&search).err().map(|violation| violation.key)
    }

    #[test]
    fn each_key_is_off_by_default_and_refused_where_the_strategy_does_not_know_it() {
        assert_eq!(key_of(|_| {}), None);
        let all = |search: &mut SearchSection| {
            (search.drop_path, search.perturbation) = (0.3, 0.3);
            (search.eigenvalue_every_epochs, search.eigenvalue_stop, search.epochs) = (2, 1.3, 50);
            (search.parameters_penalty, search.multiply_adds_penalty) = (0.5, 0.5);
        };
        let of = |strategy| key_of(|search| (all(search), search.strategy = strategy).1);
        assert_eq!((of(StrategyName::PDarts), of(StrategyName::Darts)), (None, None));
        assert_eq!(of(StrategyName::PcDarts).as_deref(), Some("search.drop_path"));
        assert_eq!(of(StrategyName::Gdas).as_deref(), Some("search.drop_path"));
        assert_eq!(of(StrategyName::Random).as_deref(), Some("search.parameters_penalty"));
        let snas = |search: &mut SearchSection| search.strategy = StrategyName::Snas;
        let key = key_of(|search| (snas(search), search.perturbation = 0.1).1);
        assert_eq!(key.as_deref(), Some("search.perturbation"));
        let key = key_of(|search| (snas(search), search.eigenvalue_every_epochs = 1).1);
        assert_eq!(key.as_deref(), Some("search.eigenvalue_every_epochs"));
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        assert_eq!(key_of(|search| search.drop_path = 1.0).as_deref(), Some("search.drop_path"));
        assert_eq!(key_of(|search| search.perturbation = -0.1).as_deref(), Some("search.perturbation"));
        assert_eq!(key_of(|search| search.perturbation = f64::NAN).as_deref(), Some("search.perturbation"));
        assert_eq!(key_of(|search| search.eigenvalue_stop = 1.3).as_deref(), Some("search.eigenvalue_stop"));
        let both = |search: &mut SearchSection| (search.eigenvalue_every_epochs, search.eigenvalue_stop) = (2, 0.9);
        assert_eq!(key_of(both).as_deref(), Some("search.eigenvalue_stop"));
        let of_epochs = |epochs| {
            key_of(|search| {
                (search.eigenvalue_every_epochs, search.eigenvalue_stop) = (2, 1.3);
                (search.epochs, search.alpha_start_epoch) = (epochs, 10);
            })
        };
        assert_eq!((of_epochs(33).as_deref(), of_epochs(34)), (Some("search.eigenvalue_stop"), None));
        assert_eq!(key_of(|search| search.parameters_penalty = -1.0).as_deref(), Some("search.parameters_penalty"));
    }
}
