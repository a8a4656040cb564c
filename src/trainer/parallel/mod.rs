//! How ranks work together in a run: gradients that become those of all, and replicas that stay one.

mod rank_averages;
mod reducer;
mod replicas;

pub(super) use rank_averages::RankAverages;
pub use reducer::{Reducer, ReducerOptions};
pub use replicas::BatchNormOverRanks;
pub(super) use replicas::{average_local_buffers, check_common_buffers, check_derived};
