//! Optimizers over flat parameters: a step is a handful of whole-buffer operations.
//!
//! - `flat`: the buffers, `gradients`: how gradients come into theirs
//! - `groups`: which tensors share settings, `segments`: norms of the single tensors
//! - `optimizer`: what all optimizers have in common; `sgd`, `lars`, `lamb`, `adam`
//! - `schedule`: the learning rate of every step
//! - `clip`: the gradient's norm, `ema`: running averages of weights

mod adam;
mod clip;
mod ema;
mod flat;
mod gradients;
mod groups;
mod lamb;
mod lars;
mod moments;
mod optimizer;
mod schedule;
mod segments;
mod sgd;

#[cfg(test)]
mod tests;

pub use adam::{Adam, AdamDecay};
pub use clip::{clip_gradient_norm, gradient_norm, limit_gradient_norm};
pub use ema::Ema;
pub use flat::{FlatParameters, FlatStatistics};
pub use gradients::FlatGradients;
pub use groups::{ParameterGroup, ParameterGroups, WeightDecay};
pub use lamb::Lamb;
pub use lars::{Lars, LarsOptions};
pub use moments::MomentOptions;
pub use optimizer::{Optimizer, StepNumbers};
pub use schedule::{
    AuthorsLinear, Constant, Cosine, CoursePlace, LearningRate, Polynomial, Schedule, StepDecay, Stretch, WarmUp,
    batch_factor,
};
pub use sgd::{Sgd, SgdOptions};
