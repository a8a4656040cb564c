//! Optimizers over flat parameters: a step is a handful of whole-buffer operations.

mod adam;
mod clip;
mod ema;
mod flat;
mod schedule;
mod sgd;

pub use adam::{Adam, AdamOptions};
pub use clip::clip_gradient_norm;
pub use ema::Ema;
pub use flat::{FlatParameters, FlatStatistics};
pub use schedule::cosine;
pub use sgd::{Sgd, SgdOptions};
