//! The typed configuration of a run.
//!
//! A TOML file states what differs from the defaults, `--set a.b=c` changes single keys, and
//! [`Config::load`] turns both into one validated [`Config`]. Everything after it may rely on the
//! relations checked here. Knows nothing of tensors or ranks.
//!
//! - `schema`: sections, keys, defaults and their documentation, each stated once
//! - `load`: file and overrides to `Config`
//! - `validate`: relations between keys
//! - `document`: `Config` to text, digest and differences
//! - `error`: what can be wrong, and where

mod document;
mod error;
mod load;
mod schema;
#[cfg(test)]
mod tests;
mod validate;

pub use error::{ConfigError, Origin, Violation};
pub use schema::{
    AlphaOptimizerConfig, BatchNormMode, CommunicatorChoice, Compression, Config, DataConfig, DatasetName,
    DeviceChoice, ModelConfig, OptimizerConfig, ParallelConfig, RunConfig, SearchConfig, SkipDropoutSchedule,
    StageConfig, WeightOptimizerConfig,
};
