//! Each relation that a configuration can violate, with its message.

use super::*;
use crate::config::{StageSection, StrategyName};

/// The message for the defaults after one change.
fn violation(change: impl FnOnce(&mut SearchConfig)) -> String {
    let mut config = SearchConfig::default();
    change(&mut config);
    config.validate().unwrap_err().to_string()
}

fn stage(cells: usize, keep: usize) -> StageSection {
    StageSection { cells, keep, skip_dropout: 0.0 }
}

#[test]
fn defaults_are_valid() {
    assert_eq!(SearchConfig::default().validate(), Ok(()));
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
fn refuses_networks_that_no_memory_holds() {
    assert_eq!(
        violation(|config| config.model.channels = 5000),
        "model.channels: 5000 channels are too many; state 4096 or fewer"
    );
    assert_eq!(
        violation(|config| config.search.stages[0].cells = 999_999),
        "search.stages.0.cells: 999999 cells are too many; state 1000 or fewer"
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
    assert_eq!(violation(|config| config.data.cutout = 33), "data.cutout: 33 pixels exceed the image; state 0 to 32");
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
fn refuses_counts_that_no_run_comes_to_the_end_of() {
    assert_eq!(
        violation(|config| config.search.epochs = 10_000_000_000),
        "search.epochs: 10000000000 are too many; state 333333 or fewer"
    );
    assert_eq!(
        violation(|config| config.search.accumulate_steps = 1 << 62),
        "search.accumulate_steps: 4611686018427387904 parts cannot share 96 images equally; state a divisor of \
         search.global_batch"
    );
    let of_cells = |change: fn(&mut SearchConfig)| {
        violation(|config| {
            config.search.strategy = StrategyName::Random;
            change(config);
        })
    };
    assert_eq!(
        of_cells(|config| config.evaluation.candidates = 1 << 62),
        "evaluation.candidates: 4611686018427387904 are too many; state 1000000 or fewer"
    );
    assert_eq!(
        of_cells(|config| config.evaluation.epochs = 1 << 62),
        "evaluation.epochs: 4611686018427387904 are too many; state 1000000 or fewer"
    );
    let mut config = SearchConfig::default();
    (config.search.eigenvalue_every_epochs, config.search.eigenvalue_stop) = (1 << 62, 1.3);
    assert!(config.validate().is_err());
    // Whatever there is of both, ranks and parts are multiplied without harm.
    (config.search.global_batch, config.search.accumulate_steps) = (1 << 62, 1 << 62);
    assert!(config.validate_with_ranks(4).is_err());
    // A tiny set is passed over often.
    config = SearchConfig::default();
    config.search.epochs = 300_000;
    assert_eq!(config.validate(), Ok(()));
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
    let stages = |stages: &[StageSection]| {
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
    let mut config = SearchConfig::default();
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
    let mut config = SearchConfig::default();
    assert!(config.validate_with_dataset(192).is_ok());
    let message = |config: &SearchConfig, num_images| {
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
