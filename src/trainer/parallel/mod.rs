//! How ranks work together in a run: gradients that become those of all, and replicas that stay one.

mod rank_averages;
mod reducer;
mod replicas;

pub(super) use rank_averages::RankAverages;
pub use reducer::{Reducer, ReducerOptions};
pub use replicas::{ReplicaHashes, synchronise_batch_norm};
pub(super) use replicas::{check_buffers, check_derived, check_replicas};
