//! The step loops: what is done with a network, batch by batch and epoch by epoch.
//!
//! - `search`: a search (stages, epochs, steps); read it from the top
//! - `retrain`: the retraining of a cell (epochs, steps); likewise
//! - `cells`: searches that train single cells, each as a retraining does
//! - `epoch`: the loop that both are written against
//! - `parallel`: how ranks work together in both
//!
//! The files beside these folders are one thing each that both use.

mod accumulate;
mod bad_images;
mod batch;
mod batch_norm_values;
mod cells;
mod checkpoint;
mod divergence;
mod epoch;
mod error;
mod evaluate;
mod fault;
mod hits;
mod observer;
mod open;
mod optimizer_state;
mod parallel;
mod precision;
mod predictions;
mod progress;
mod recovery;
mod rehearsal;
mod replay;
mod resident;
mod retrain;
mod save_clock;
mod search;
mod seed;
mod step_images;
mod stop;
mod tally;
mod test_data;
mod views;

pub use batch::ImageBatch;
pub use cells::{
    CellData, CellObserver, CellRecord, CellSearch, CellSearchEnd, CellSearchError, Proposal, best_of, check_records,
};
pub use checkpoint::{Checkpoint, CheckpointHeader, Counters, Resumable, ResumePoint, RunProgress, checkpoint_format};
pub use divergence::{Divergence, DivergenceSite, NotFinite};
pub use error::{BatchSection, TrainError};
pub use evaluate::{Evaluated, evaluate};
pub use observer::{Incident, Observer, Silent};
pub use open::dataset_kind;
pub use parallel::{BatchNormOverRanks, Reducer, ReducerOptions};
pub use predictions::{Accuracy, ClassAccuracy, PredictionError, Predictions};
pub use progress::{Interval, IntervalStart, Progress, Records, Totals};
pub use rehearsal::Rehearsal;
pub use retrain::{
    MixedBatch, Mixing, MixingOptions, Scores, StepSettings, TrainData, TrainEnd, TrainEpochRecord, TrainObserver,
    TrainProgress, TrainRecords, TrainResult, TrainState, TrainStepRecord, Training,
};
pub use search::{
    ArchitectureStep, FirstOrder, Joint, MeasuredAlphas, ReplicaHashes, Search, SearchData, SearchDataError, SearchEnd,
    SearchEpochRecord, SearchObserver, SearchProgress, SearchRecords, SearchResult, SearchState, SearchStepRecord,
    SecondOrder, StageRecord, StepInputs, Stepped, architecture_step, largest_eigenvalue, share_sizes,
};
pub use seed::derive_seed;
pub use step_images::StepImages;
pub use stop::{Signal, StopSignal};
pub use tally::{EpochSums, EpochTally, ForwardResult, StepKind, StepResult, Tally, TallySums};
pub use test_data::TestData;
