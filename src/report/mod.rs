//! What a search or a retraining leaves behind: its course recorded in the run directory, figures, the
//! result, and all of it as a page.

mod cell_recorder;
mod compare;
mod course;
mod figures;
mod metrics;
mod page;
mod progress_line;
mod results;
mod search_recorder;
mod search_summary;
mod stray;
mod tolerance;
mod train_recorder;
mod train_summary;

pub use cell_recorder::CellRecorder;
pub use compare::{ComparedRun, ComparedRuns, ComparedStrategy, Comparison, Significance};
pub use page::{PageError, duration, page};
pub use results::{ResultRow, ResultsError, collect as collect_results};
pub use search_recorder::SearchRecorder;
pub use search_summary::{Effort, EvaluatedCells, SearchSummary, Status};
pub use stray::Stray;
pub use train_recorder::TrainRecorder;
pub use train_summary::{NetworkSize, SeedsSummary, Spread, TrainSummary};
