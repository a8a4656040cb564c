//! What a search leaves behind: its course recorded in the run directory, figures, and the result.

mod figures;
mod recorder;
mod summary;

pub use recorder::RunRecorder;
pub use summary::{SearchSummary, Status};
