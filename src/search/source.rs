//! Everything that leaves one state of a supernet cell: where the supernet spends its time.
//!
//! The state's pools are computed once for all edges; a convolution that several edges keep is one depthwise convolution
//! that reads the state once, one grouped pointwise convolution and one BatchNorm, whose scale is the architecture
//! weight. This equals one module per edge and operation exactly; the gain is in memory traffic and
//! in the number of kernels.

use tch::{Tensor, nn::Module};

use super::layout::{LiveEdge, OperationEdges};
use super::mixing::GroupWeights;
use super::supernet::ForwardMode;
use crate::genotype::{NUM_NODES, Operation};
use crate::model::{BatchNorm, Conv2d, FactorizedReduce, ParameterStore, ReluDepthwise};
use crate::torch::{DepthwiseGeometry, TorchError};

/// The operations that leave one state, with their parameters.
#[derive(Debug)]
pub struct SourceOperations {
    groups: Vec<Group>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub edges: Vec<LiveEdge>,
    pub kernel: Kernel,
}

/// One operation on all its edges `E`.
#[derive(Debug)]
pub(super) enum Kernel {
    MaxPool {
        stride: i64,
        bn: BatchNorm,
    },
    AvgPool {
        stride: i64,
        bn: BatchNorm,
    },
    Identity,
    Reduce(FactorizedReduce),
    /// ReLU, depthwise, pointwise and BatchNorm, twice.
    Separable([DepthwisePointwise; 2]),
    /// ReLU, dilated depthwise, pointwise and BatchNorm.
    Dilated(DepthwisePointwise),
}

/// ReLU and depthwise to `E * C` channels, pointwise in `E` groups of `C`, BatchNorm.
#[derive(Debug)]
pub(super) struct DepthwisePointwise {
    pub depthwise: ReluDepthwise,
    pub pointwise: Conv2d,
    pub bn: BatchNorm,
}

impl SourceOperations {
    /// The operations `layout` names, from a state of `channels` channels, at `stride` 1 or 2.
    pub fn new(store: &mut ParameterStore, name: &str, layout: &[OperationEdges], channels: i64, stride: i64) -> Self {
        let groups = layout
            .iter()
            .map(|OperationEdges { operation, edges }| Group {
                edges: edges.clone(),
                kernel: Kernel::new(store, &format!("{name}.{operation}"), *operation, edges, channels, stride),
            })
            .collect();
        Self { groups }
    }

    /// Adds to the sums of the nodes what the operations make of `x` `[N, C, H, W]`, weighted by `weights`.
    ///
    /// # Errors
    /// When `x` does not fit the operations.
    pub fn forward(
        &self,
        x: &Tensor,
        weights: &[GroupWeights],
        mode: ForwardMode,
        sums: &mut NodeSums,
    ) -> Result<(), TorchError> {
        self.groups.iter().zip(weights).try_for_each(|(group, weights)| group.forward(x, weights, mode, sums))
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }
}

impl Kernel {
    fn new(
        store: &mut ParameterStore,
        name: &str,
        operation: Operation,
        edges: &[LiveEdge],
        channels: i64,
        stride: i64,
    ) -> Self {
        let num_edges = edges.len() as i64;
        let mut layer = |index: usize, kernel: i64, dilation: i64, stride: i64| {
            let name = format!("{name}.{index}");
            DepthwisePointwise::new(store, &name, num_edges, channels, kernel, DepthwiseGeometry { stride, dilation })
        };
        let mut separable = |kernel: i64| Kernel::Separable([layer(0, kernel, 1, stride), layer(1, kernel, 1, 1)]);
        match operation {
            Operation::MaxPool3x3 => {
                Kernel::MaxPool { stride, bn: BatchNorm::plain(store, &format!("{name}.bn"), channels) }
            }
            Operation::AvgPool3x3 => {
                Kernel::AvgPool { stride, bn: BatchNorm::plain(store, &format!("{name}.bn"), channels) }
            }
            Operation::SepConv3x3 => separable(3),
            Operation::SepConv5x5 => separable(5),
            Operation::SepConv7x7 => separable(7),
            Operation::DilConv3x3 => Kernel::Dilated(layer(0, 3, 2, stride)),
            Operation::DilConv5x5 => Kernel::Dilated(layer(0, 5, 2, stride)),
            Operation::SkipConnect if stride == 2 => {
                Kernel::Reduce(FactorizedReduce::new(store, name, (channels, channels), num_edges))
            }
            // The layout holds operations of the search space without `none`: what is left is the identity.
            Operation::SkipConnect | Operation::None | Operation::Conv7x1_1x7 => Kernel::Identity,
        }
    }
}

impl DepthwisePointwise {
    fn new(
        store: &mut ParameterStore,
        name: &str,
        num_edges: i64,
        channels: i64,
        kernel: i64,
        geometry: DepthwiseGeometry,
    ) -> Self {
        let all = num_edges * channels;
        Self {
            depthwise: ReluDepthwise::new(store, &format!("{name}.depthwise"), all, kernel, geometry),
            pointwise: Conv2d::pointwise(store, &format!("{name}.pointwise"), (channels, channels), num_edges, 1),
            bn: BatchNorm::plain(store, &format!("{name}.bn"), all),
        }
    }

    /// `x`: `[N, C, H, W]` for all edges, or `[N, E * C, H, W]` with the input of each.
    fn convolve(&self, x: &Tensor) -> Result<Tensor, TorchError> {
        Ok(self.pointwise.forward(&self.depthwise.forward(x)?))
    }
}

impl Group {
    fn forward(
        &self,
        x: &Tensor,
        weights: &GroupWeights,
        mode: ForwardMode,
        sums: &mut NodeSums,
    ) -> Result<(), TorchError> {
        let train = mode.training;
        match &self.kernel {
            Kernel::MaxPool { stride, bn } => {
                let pooled = x.max_pool2d([3, 3], [*stride; 2], [1, 1], [1, 1], false);
                sums.add_shared(&self.edges, &bn.forward(&pooled, train), &weights.per_edge);
            }
            Kernel::AvgPool { stride, bn } => {
                let pooled = x.avg_pool2d([3, 3], [*stride; 2], [1, 1], false, false, None);
                sums.add_shared(&self.edges, &bn.forward(&pooled, train), &weights.per_edge);
            }
            Kernel::Identity if train && mode.skip_dropout > 0.0 => {
                for (live, weight) in self.edges.iter().zip(weights.per_edge.unbind(0)) {
                    sums.add(live.node, x.dropout(mode.skip_dropout, true) * weight);
                }
            }
            Kernel::Identity => sums.add_shared(&self.edges, x, &weights.per_edge),
            Kernel::Reduce(reduce) => {
                let (num_edges, channels) = (self.edges.len() as i64, x.size()[1]);
                // The halves of the channels lie apart: [E, C] -> [half, E, C / 2].
                let scale = weights.per_channel.view([num_edges, 2, channels / 2]).transpose(0, 1).reshape([-1]);
                let y = reduce.bn.forward_scaled(&reduce.reduce(&x.relu()), &scale, train);
                let halves = y.split(channels / 2, 1);
                for (index, live) in self.edges.iter().enumerate() {
                    let edge = [&halves[index], &halves[self.edges.len() + index]];
                    sums.add(live.node, Tensor::cat(&edge, 1));
                }
            }
            Kernel::Separable([first, last]) => {
                let middle = first.bn.forward(&first.convolve(x)?, train);
                let y = last.bn.forward_scaled(&last.convolve(&middle)?, &weights.per_channel, train);
                sums.add_blocks(&self.edges, &y);
            }
            Kernel::Dilated(layer) => {
                let y = layer.bn.forward_scaled(&layer.convolve(x)?, &weights.per_channel, train);
                sums.add_blocks(&self.edges, &y);
            }
        }
        Ok(())
    }
}

/// The running sums of a cell's intermediate states.
#[derive(Default)]
pub struct NodeSums {
    sums: [Option<Tensor>; NUM_NODES],
}

impl NodeSums {
    /// Adds `value` `[N, C, H, W]` to the sum of `node`.
    fn add(&mut self, node: usize, value: Tensor) {
        self.sums[node] = Some(match self.sums[node].take() {
            Some(sum) => sum + value,
            None => value,
        });
    }

    /// Adds `weights[e] * x` for each edge: an operation without parameters, computed once for all its edges.
    fn add_shared(&mut self, edges: &[LiveEdge], x: &Tensor, weights: &Tensor) {
        for (live, weight) in edges.iter().zip(weights.unbind(0)) {
            self.add(live.node, x * weight);
        }
    }

    /// Adds block `e` of the channels of `y` `[N, E * C, H, W]` for each edge.
    fn add_blocks(&mut self, edges: &[LiveEdge], y: &Tensor) {
        let channels = y.size()[1] / edges.len() as i64;
        for (live, block) in edges.iter().zip(y.split(channels, 1)) {
            self.add(live.node, block);
        }
    }

    /// The finished state of `node`, or `None` when no operation but `none` leads to it.
    pub fn take(&mut self, node: usize) -> Option<Tensor> {
        self.sums[node].take()
    }
}
