//! Layers that the supernet and the evaluation networks share, and the evaluation networks: a found cell, retrained.

mod checkpointed;
mod drop_path;
mod evaluation;
mod layers;
mod loss;
mod parameters;
mod separable;
mod stem;

pub use checkpointed::Checkpointed;
pub use drop_path::drop_path_mask;
pub use evaluation::{EvaluationNetwork, NetworkDescription, NetworkError, NetworkMode, NetworkOutput};
pub use layers::{BatchNorm, Conv2d, FactorizedReduce, Linear, ReluConvBn, channels_last};
pub use loss::cross_entropy;
pub use parameters::{NamedTensor, ParameterStore};
pub use separable::{SeparableChain, SeparableConv, SeparableLayer, forward_chains};
pub use stem::{ConvBn, Stem, StemOutput};
