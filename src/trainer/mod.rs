//! The step loops: what is done with a network, batch by batch and epoch by epoch.
//!
//! Read `search` from the top: stages, epochs, steps. The other files are one thing each that it uses.

mod architecture_step;
mod batch;
mod checkpoint;
mod error;
mod evaluate;
mod observer;
mod progress;
mod reducer;
mod replicas;
mod search;
mod search_data;
mod search_state;
mod seed;
mod stop;
mod tally;

pub use architecture_step::{ArchitectureStep, FirstOrder, StepInputs};
pub use batch::ImageBatch;
pub use checkpoint::{Checkpoint, CheckpointHeader};
pub use error::TrainError;
pub use evaluate::evaluate;
pub use observer::{SearchObserver, Silent};
pub use progress::{EpochRecord, IntervalStart, SearchProgress, StageRecord, StepRecord};
pub use reducer::{Reducer, ReducerOptions};
pub use replicas::{ReplicaHashes, synchronise_batch_norm};
pub use search::{ResumePoint, Search, SearchEnd, SearchResult};
pub use search_data::{SearchData, SearchDataError};
pub use search_state::{SearchState, StepResult};
pub use seed::derive_seed;
pub use stop::{Signal, StopSignal};
pub use tally::{Tally, TallySums};
