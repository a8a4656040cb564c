//! Layers that the supernet and the evaluation networks share, and the evaluation networks: a found cell, retrained.

mod checkpointed;
mod depthwise;
mod evaluation;
mod layers;
mod loss;
mod parameters;

pub use checkpointed::Checkpointed;
pub use depthwise::ReluDepthwise;
pub use evaluation::{EvaluationNetwork, NetworkDescription, NetworkError, NetworkMode, NetworkOutput};
pub use layers::{BatchNorm, Conv2d, FactorizedReduce, Linear, ReluConvBn, channels_last};
pub use loss::cross_entropy;
pub use parameters::{NamedTensor, ParameterStore};
