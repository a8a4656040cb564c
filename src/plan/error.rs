//! Why there is no estimate.

use crate::config::{ConfigError, StrategyName};

/// What does not fit together.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The configuration fits neither the data nor the ranks.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A search without a supernet.
    #[error(
        "search.strategy = \"{0}\" trains single cells, whose trainings can be planned one by one: give a configuration of a \
         training with --genotype, or call pdarts search with --dry-run"
    )]
    SingleCells(StrategyName),
    /// GPUs that cannot be spread over nodes.
    #[error("--gpus {ranks} cannot be spread equally over --nodes {nodes}; state a multiple of {nodes}")]
    Nodes {
        /// In all.
        ranks: usize,
        /// Machines.
        nodes: usize,
    },
    /// No GPU, or no node.
    #[error("{what}: state 1 or more")]
    Zero {
        /// Which number.
        what: &'static str,
    },
}
