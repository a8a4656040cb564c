//! The step loops: what is done with a network, batch by batch and epoch by epoch.
//!
//! - `search`: a search (stages, epochs, steps); read it from the top
//! - `retrain`: the retraining of a cell (epochs, steps); likewise
//! - `parallel`: how ranks work together in both
//!
//! The files beside these folders are one thing each that both use.

mod accumulate;
mod batch;
mod checkpoint;
mod error;
mod evaluate;
mod observer;
mod optimizer_state;
mod parallel;
mod predictions;
mod retrain;
mod search;
mod seed;
mod stop;
mod tally;

pub use batch::ImageBatch;
pub use checkpoint::{Checkpoint, CheckpointHeader, Counters, Resumable, ResumePoint, RunProgress, weights_file};
pub use error::TrainError;
pub use evaluate::{Evaluated, evaluate};
pub use observer::{SearchObserver, Silent, TrainObserver};
pub use parallel::{Reducer, ReducerOptions, ReplicaHashes, synchronise_batch_norm};
pub use predictions::{Accuracy, ClassAccuracy, PredictionError, Predictions};
pub use retrain::{
    MixedBatch, Mixing, MixingOptions, Scores, StepSettings, TrainData, TrainEnd, TrainEpochRecord, TrainIntervalStart,
    TrainProgress, TrainResult, TrainState, TrainStepRecord, Training, check_normalised_values,
};
pub use search::{
    ArchitectureStep, EpochRecord, FirstOrder, IntervalStart, Search, SearchData, SearchDataError, SearchEnd,
    SearchProgress, SearchResult, SearchState, StageRecord, StepInputs, StepRecord,
};
pub use seed::derive_seed;
pub use stop::{Signal, StopSignal};
pub use tally::{StepResult, Tally, TallySums};
