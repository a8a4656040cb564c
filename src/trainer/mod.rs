//! The step loops: what is done with a network, batch by batch and epoch by epoch.
//!
//! Read `search` (stages, epochs, steps) or `train` (epochs, steps) from the top. The other files are one thing each
//! that they use.

mod accumulate;
mod architecture_step;
mod batch;
mod checkpoint;
mod error;
mod evaluate;
mod observer;
mod predictions;
mod progress;
mod rank_averages;
mod reducer;
mod replicas;
mod search;
mod search_data;
mod search_state;
mod seed;
mod stop;
mod tally;
mod train;
mod train_data;
mod train_progress;
mod train_state;

pub use architecture_step::{ArchitectureStep, FirstOrder, StepInputs};
pub use batch::ImageBatch;
pub use checkpoint::{Checkpoint, CheckpointHeader, Resumable, ResumePoint, RunProgress, weights_file};
pub use error::TrainError;
pub use evaluate::{Evaluated, evaluate};
pub use observer::{SearchObserver, Silent, TrainObserver};
pub use predictions::{Accuracy, ClassAccuracy, PredictionError, Predictions};
pub use progress::{EpochRecord, IntervalStart, SearchProgress, StageRecord, StepRecord};
pub use reducer::{Reducer, ReducerOptions};
pub use replicas::{ReplicaHashes, synchronise_batch_norm};
pub use search::{Search, SearchEnd, SearchResult};
pub use search_data::{SearchData, SearchDataError};
pub use search_state::{SearchState, StepResult};
pub use seed::derive_seed;
pub use stop::{Signal, StopSignal};
pub use tally::{Tally, TallySums};
pub use train::{TrainEnd, TrainResult, Training};
pub use train_data::TrainData;
pub use train_progress::{Scores, TrainEpochRecord, TrainIntervalStart, TrainProgress, TrainStepRecord};
pub use train_state::TrainState;
