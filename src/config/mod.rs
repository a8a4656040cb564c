//! The typed configuration of a run.
//!
//! A TOML file states what differs from the defaults, `--set a.b=c` changes single keys, and
//! [`Settings::load`] turns both into one validated [`SearchConfig`] (of a search) or [`TrainConfig`] (of a
//! retraining). Everything after it may rely on the relations checked here. Knows nothing of tensors or ranks.
//!
//! A type whose name ends in `Config` is a whole file, one that ends in `Section` a table of it. `Search` and `Train` in
//! front say of which kind of run; what both share has neither. `Keys` are part of a table that both have.
//!
//! - `schema`: sections, keys, defaults and their documentation, each stated once
//! - `settings`: what both kinds of configuration can do
//! - `kind`: whether a file is of a search or of a training
//! - `load`: file and overrides to a configuration
//! - `validate`: relations between keys
//! - `document`: a configuration to text, digest and differences
//! - `error`: what can be wrong, and where
//! - `graphs`: which steps a GPU can record and repeat
//! - `home`: `~` in paths

mod document;
mod early_end;
mod error;
mod graphs;
mod home;
mod kind;
mod load;
mod markdown;
mod schema;
mod settings;
#[cfg(test)]
mod tests;
mod validate;

pub use error::{ConfigError, Origin, Violation};
pub use graphs::GRAPHS_NOT_WANTED;
pub use home::{NoHome, expand_home};
pub use kind::ConfigKind;
pub use schema::{
    AlphaOptimizerSection, BatchNormMode, CommunicatorChoice, Compression, DatasetName, DeviceChoice, DivergencePolicy,
    EvaluationSection, EvolutionSection, ParallelSection, Precision, RunSection, SearchConfig, SearchDataSection,
    SearchModelSection, SearchOptimizerSection, SearchSection, SkipDropoutSchedule, StageSection, StrategyName,
    WeightOptimizerSection,
    compare::{CommonSearchSection, CommonTrainSection, CompareConfig, CompareSection, ComparedSection},
    image_sizes::{ImageSizeSection, image_size_at},
    images::{ImageKeys, Interpolation, NetworkChoice, OnBadImage},
    train::{
        AugmentationPolicy, BatchScaling, OptimizerKind, ScheduleKind, ScheduleUpdate, TrainConfig, TrainDataSection,
        TrainModelSection, TrainOptimizerSection, TrainScheduleSection, TrainSection, WarmUpForm,
    },
};
pub use settings::{Change, Difference, Settings};
pub use validate::compare::{validate_seeds, validate_strategies};
pub use validate::shares::ClassShares;
