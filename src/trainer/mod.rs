//! The step loops: what is done with a network, batch by batch and epoch by epoch.

mod architecture_step;
mod batch;
mod search_state;
mod seed;
mod tally;

pub use architecture_step::{ArchitectureStep, FirstOrder, StepInputs};
pub use batch::ImageBatch;
pub use search_state::SearchState;
pub use seed::derive_seed;
pub use tally::Tally;
