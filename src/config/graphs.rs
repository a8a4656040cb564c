//! Which configurations queue the same work at every step, so that a GPU can record it once and repeat it.

use super::{BatchNormMode, RunSection, SearchConfig, TrainConfig};

/// The user's own wish, of which nobody need be told.
pub const GRAPHS_NOT_WANTED: &str = "run.cuda_graphs is false";
const SYNCHRONISES: &str = "BatchNorm asks the other ranks (model.batch_norm)";

impl SearchConfig {
    /// Why steps on one of `num_ranks` ranks are not recorded as CUDA graphs, with the key that says so.
    pub fn obstacle_to_graphs(&self, num_ranks: usize) -> Option<&'static str> {
        let draws = self.search.strategy.draws().then_some("operations are drawn anew in every pass (search.strategy)");
        let of_search = draws.or((self.search.drop_path > 0.0).then_some("paths are dropped (search.drop_path)"));
        first_obstacle(
            &self.run,
            self.model.checkpoint_cells,
            of_search,
            synchronises(self.model.batch_norm, num_ranks),
        )
    }

    /// Why passes that train weights are not recorded where those that train alphas are, with the key that says so.
    pub fn obstacle_to_weight_graphs(&self) -> Option<&'static str> {
        (self.search.perturbation > 0.0)
            .then_some("the weights of operations are changed at random (search.perturbation)")
    }
}

impl TrainConfig {
    /// Why steps on one of `num_ranks` ranks are not recorded as CUDA graphs, with the key that says so.
    pub fn obstacle_to_graphs(&self, num_ranks: usize) -> Option<&'static str> {
        first_obstacle(&self.run, self.model.checkpoint_cells, None, synchronises(self.model.batch_norm, num_ranks))
    }
}

/// What both kinds of run have in common, with what is `of_kind` alone in its place.
fn first_obstacle(
    run: &RunSection,
    checkpoint_cells: bool,
    of_kind: Option<&'static str>,
    synchronises: bool,
) -> Option<&'static str> {
    if !run.cuda_graphs {
        Some(GRAPHS_NOT_WANTED)
    } else if checkpoint_cells {
        Some("cells are computed twice (model.checkpoint_cells)")
    } else {
        of_kind.or(synchronises.then_some(SYNCHRONISES))
    }
}

fn synchronises(mode: BatchNormMode, num_ranks: usize) -> bool {
    mode == BatchNormMode::Sync && num_ranks > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StrategyName;

    #[test]
    fn steps_that_differ_are_not_recorded_and_the_key_is_named() {
        let search = |change: fn(&mut SearchConfig)| {
            let mut config = SearchConfig::default();
            change(&mut config);
            [1, 2].map(|num_ranks| config.obstacle_to_graphs(num_ranks))
        };
        assert_eq!(search(|_| {}), [None; 2]);
        assert_eq!(search(|config| config.search.strategy = StrategyName::PcDarts), [None; 2]);
        assert_eq!(search(|config| config.model.batch_norm = BatchNormMode::Sync), [None, Some(SYNCHRONISES)]);
        for (key, change) in [
            ("run.cuda_graphs", (|config| config.run.cuda_graphs = false) as fn(&mut SearchConfig)),
            ("model.checkpoint_cells", |config| config.model.checkpoint_cells = true),
            ("search.strategy", |config| config.search.strategy = StrategyName::Gdas),
            ("search.strategy", |config| config.search.strategy = StrategyName::Snas),
            ("search.drop_path", |config| config.search.drop_path = 0.1),
        ] {
            for told in search(change) {
                assert!(told.is_some_and(|told| told.contains(key)), "{key}: {told:?}");
            }
        }
        let mut config = SearchConfig::default();
        assert_eq!(config.obstacle_to_weight_graphs(), None);
        config.search.perturbation = 0.3;
        assert_eq!(config.obstacle_to_graphs(1), None);
        assert!(config.obstacle_to_weight_graphs().is_some_and(|told| told.contains("search.perturbation")));
        let mut config = TrainConfig::default();
        config.train.drop_path = 0.3;
        assert_eq!(config.obstacle_to_graphs(2), None);
        config.model.batch_norm = BatchNormMode::Sync;
        assert_eq!([1, 2].map(|ranks| config.obstacle_to_graphs(ranks)), [None, Some(SYNCHRONISES)]);
    }
}
