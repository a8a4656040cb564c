//! Which configurations queue the same work at every step, so that a GPU can record it once and repeat it.

use super::{BatchNormMode, SearchConfig, TrainConfig};

/// Nobody need be told.
pub const GRAPHS_NOT_WANTED: &str = "run.cuda_graphs is false";
const CHECKPOINTS: &str = "cells are computed twice (model.checkpoint_cells)";
const SYNCHRONISES: &str = "BatchNorm asks the other ranks (model.batch_norm)";

impl SearchConfig {
    /// Why steps on one of `num_ranks` ranks are not recorded as CUDA graphs, with the key that says so.
    pub fn obstacle_to_graphs(&self, num_ranks: usize) -> Option<&'static str> {
        let (search, model) = (&self.search, &self.model);
        if !self.run.cuda_graphs {
            Some(GRAPHS_NOT_WANTED)
        } else if model.checkpoint_cells {
            Some(CHECKPOINTS)
        } else if search.strategy.draws() {
            Some("operations are drawn anew in every pass (search.strategy)")
        } else if search.drop_path > 0.0 {
            Some("paths are dropped (search.drop_path)")
        } else if model.batch_norm == BatchNormMode::Sync && num_ranks > 1 {
            Some(SYNCHRONISES)
        } else {
            None
        }
    }
}

impl TrainConfig {
    /// Why steps on one of `num_ranks` ranks are not recorded as CUDA graphs, with the key that says so.
    pub fn obstacle_to_graphs(&self, num_ranks: usize) -> Option<&'static str> {
        if !self.run.cuda_graphs {
            Some(GRAPHS_NOT_WANTED)
        } else if self.model.checkpoint_cells {
            Some(CHECKPOINTS)
        } else if self.model.batch_norm == BatchNormMode::Sync && num_ranks > 1 {
            Some(SYNCHRONISES)
        } else {
            None
        }
    }
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
        let mut config = TrainConfig::default();
        config.train.drop_path = 0.3;
        assert_eq!(config.obstacle_to_graphs(2), None);
        config.model.batch_norm = BatchNormMode::Sync;
        assert_eq!([1, 2].map(|ranks| config.obstacle_to_graphs(ranks)), [None, Some(SYNCHRONISES)]);
    }
}
