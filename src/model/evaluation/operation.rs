//! The operation of one edge, with the parameters and names it has in the authors' evaluation networks.

use tch::Tensor;

use super::drop_path::BranchOutput;
use super::state::State;
use crate::genotype::Operation;
use crate::model::{
    BatchNorm, Conv2d, FactorizedReduce, ParameterStore, SeparableChain, SeparableConv, SeparableLayer, forward_chains,
};
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
    Separable(Vec<SeparableLayer>),
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
        let mut separable = |kernel: i64, geometries: &[DepthwiseGeometry]| {
            Self::Separable(separable_layers(store, name, channels, kernel, geometries))
        };
        let sep_conv = [stride, 1].map(|stride| DepthwiseGeometry { stride, dilation: 1 });
        let dil_conv = [DepthwiseGeometry { stride, dilation: 2 }];
        Some(match operation {
            Operation::None => return None,
            Operation::MaxPool3x3 => Self::MaxPool { stride },
            Operation::AvgPool3x3 => Self::AvgPool { stride },
            Operation::SkipConnect if stride == 1 => Self::Identity,
            Operation::SkipConnect => Self::Reduce(FactorizedReduce::affine(store, name, (channels, channels))),
            Operation::SepConv3x3 => separable(3, &sep_conv),
            Operation::SepConv5x5 => separable(5, &sep_conv),
            Operation::SepConv7x7 => separable(7, &sep_conv),
            Operation::DilConv3x3 => separable(3, &dil_conv),
            Operation::DilConv5x5 => separable(5, &dil_conv),
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

    /// As the layers of a separable convolution of `state`, which can be computed together with others.
    pub fn chain<'a>(&'a self, state: &'a State) -> Option<SeparableChain<'a>> {
        match self {
            Self::Separable(layers) => Some(SeparableChain { x: state.value(), layers }),
            _ => None,
        }
    }

    /// `[N, C, H, W]` to `[N, C, H / stride, W / stride]`, before the last BatchNorm. `convolved` is what has been computed of
    /// [`EdgeOperation::chain`], if anything was.
    ///
    /// # Errors
    /// When the state does not fit the weights.
    pub fn forward(
        &self,
        state: &State,
        convolved: Option<Tensor>,
        training: bool,
    ) -> Result<BranchOutput<'_>, TorchError> {
        let (value, norm) = match self {
            Self::MaxPool { stride } => (state.max_pool(*stride)?.shallow_clone(), None),
            Self::AvgPool { stride } => (state.avg_pool(*stride)?.shallow_clone(), None),
            Self::Identity => (state.value().shallow_clone(), None),
            Self::Reduce(reduce) => (reduce.reduce(state.relu()?)?, Some(&reduce.bn)),
            Self::Separable(layers) => {
                let value = match convolved {
                    Some(value) => value,
                    None => forward_chains(&[SeparableChain { x: state.value(), layers }], training)?.remove(0),
                };
                (value, layers.last().map(|layer| &layer.bn))
            }
            Self::Conv7x1_1x7 { row, column, bn } => (column.forward(&row.forward(state.relu()?)?)?, Some(bn)),
        };
        Ok(BranchOutput { value, norm, droppable: !matches!(self, Self::Identity) })
    }
}

/// One layer for each of `geometries`. Layer `i` is the authors' modules `4 * i + 1` (depthwise), `4 * i + 2` and `4 * i + 3` of
/// `{name}.op`.
fn separable_layers(
    store: &mut ParameterStore,
    name: &str,
    channels: i64,
    kernel: i64,
    geometries: &[DepthwiseGeometry],
) -> Vec<SeparableLayer> {
    let layers = geometries.iter().enumerate().map(|(index, &geometry)| {
        let module = |offset: usize| format!("{name}.op.{}", 4 * index + offset);
        SeparableLayer {
            conv: SeparableConv::new(store, &[module(1), module(2)], 1, channels, kernel, geometry),
            bn: BatchNorm::affine(store, &module(3), channels),
        }
    });
    layers.collect()
}
