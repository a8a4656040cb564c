//! Layers that the supernet and the networks to be retrained share.

mod depthwise;
mod layers;
mod parameters;

pub use depthwise::ReluDepthwise;
pub use layers::{BatchNorm, Conv2d, FactorizedReduce, Linear, ReluConvBn, channels_last};
pub use parameters::{NamedTensor, ParameterStore};
