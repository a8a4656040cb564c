//! The operation of one edge, with the parameters and names it has in the authors' evaluation networks.

use tch::{Tensor, nn::Module};

use super::separable::DepthwiseSeparable;
use super::state::State;
use crate::genotype::Operation;
use crate::model::{BatchNorm, Conv2d, FactorizedReduce, ParameterStore};
use crate::torch::{DepthwiseGeometry, TorchError};

/// An operation on one edge.
#[derive(Debug)]
pub(super) enum EdgeOperation {
    MaxPool {
        stride: i64,
    },
    AvgPool {
        stride: i64,
    },
    Identity,
    Reduce(FactorizedReduce),
    /// sep_conv: two layers; dil_conv: one.
    Separable(Vec<DepthwiseSeparable>),
    Conv7x1_1x7 {
        row: Conv2d,
        column: Conv2d,
        bn: BatchNorm,
    },
}

impl EdgeOperation {
    /// `operation` on states of `channels` channels; `name` is the module's, as `cells.3._ops.2`. `None` for the
    /// operation `none`, which no genotype has.
    pub fn new(
        store: &mut ParameterStore,
        name: &str,
        operation: Operation,
        channels: i64,
        stride: i64,
    ) -> Option<Self> {
        let mut layer = |first: usize, kernel: i64, dilation: i64, stride: i64| {
            DepthwiseSeparable::new(store, name, first, channels, kernel, DepthwiseGeometry { stride, dilation })
        };
        let mut sep_conv = |kernel: i64| vec![layer(1, kernel, 1, stride), layer(5, kernel, 1, 1)];
        Some(match operation {
            Operation::None => return None,
            Operation::MaxPool3x3 => Self::MaxPool { stride },
            Operation::AvgPool3x3 => Self::AvgPool { stride },
            Operation::SkipConnect if stride == 1 => Self::Identity,
            Operation::SkipConnect => Self::Reduce(FactorizedReduce::affine(store, name, (channels, channels))),
            Operation::SepConv3x3 => Self::Separable(sep_conv(3)),
            Operation::SepConv5x5 => Self::Separable(sep_conv(5)),
            Operation::SepConv7x7 => Self::Separable(sep_conv(7)),
            Operation::DilConv3x3 => Self::Separable(vec![layer(1, 3, 2, stride)]),
            Operation::DilConv5x5 => Self::Separable(vec![layer(1, 5, 2, stride)]),
            Operation::Conv7x1_1x7 => {
                let channels = (channels, channels);
                Self::Conv7x1_1x7 {
                    row: Conv2d::rectangular(store, &format!("{name}.1"), channels, [1, 7], [1, stride]),
                    column: Conv2d::rectangular(store, &format!("{name}.2"), channels, [7, 1], [stride, 1]),
                    bn: BatchNorm::affine(store, &format!("{name}.3"), channels.1),
                }
            }
        })
    }

    /// The state itself, which drop path spares.
    pub fn is_identity(&self) -> bool {
        matches!(self, Self::Identity)
    }

    /// `[N, C, H, W]` to `[N, C, H / stride, W / stride]`.
    ///
    /// # Errors
    /// When the state does not fit the weights.
    pub fn forward(&self, state: &State, training: bool) -> Result<Tensor, TorchError> {
        Ok(match self {
            Self::MaxPool { stride } => state.max_pool(*stride)?.shallow_clone(),
            Self::AvgPool { stride } => state.avg_pool(*stride)?.shallow_clone(),
            Self::Identity => state.value().shallow_clone(),
            Self::Reduce(reduce) => reduce.bn.forward(&reduce.reduce(state.relu()), training)?,
            Self::Separable(layers) => {
                let mut x = state.value().shallow_clone();
                for layer in layers {
                    x = layer.forward(&x, training)?;
                }
                x
            }
            Self::Conv7x1_1x7 { row, column, bn } => {
                bn.forward(&column.forward(&row.forward(state.relu())), training)?
            }
        })
    }
}
