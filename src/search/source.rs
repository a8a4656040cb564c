//! Everything that leaves one state of a supernet cell: where the supernet spends its time.
//!
//! The state's pools are computed once for all edges; a convolution that several edges keep is one function that reads the
//! state once, with a group of channels for each edge, and those of all operations are computed together. The last
//! BatchNorm, the architecture weight and the sum over operations are one function for all of them (see `torch::mix`). This
//! equals one module per edge and operation exactly; the gain is in memory traffic and in the number of kernels.

use tch::Tensor;

use super::layout::{LiveEdge, OperationEdges};
use super::supernet::ForwardMode;
use crate::genotype::{NUM_NODES, Operation};
use crate::model::{
    BatchNorm, FactorizedReduce, ParameterStore, SeparableChain, SeparableConv, SeparableLayer, drop_path_mask,
    forward_chains,
};
use crate::torch::{Branch, DepthwiseGeometry, TorchError, as_autocast, avg_pool_3x3, dropouts, max_pool_3x3, mix};

/// The operations that leave one state, with their parameters.
#[derive(Debug)]
pub struct SourceOperations {
    pub(super) groups: Vec<Group>,
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
    /// sep_conv: two layers; dil_conv: one.
    Separable(Vec<SeparableLayer>),
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

    /// Adds to the sums of the nodes what the operations make of `x` `[N, C, H, W]`; `weights`: `[E]` over the edges of
    /// all operations in turn. Drop path leaves out what all operations of an edge give together.
    ///
    /// # Errors
    /// When `x` does not fit the operations.
    pub fn forward(
        &self,
        x: &Tensor,
        weights: &Tensor,
        mode: ForwardMode,
        sums: &mut NodeSums,
    ) -> Result<(), TorchError> {
        // Operations may compute in bfloat16; sums and statistics do not.
        let x = as_autocast(x)?;
        let branches = self.branches(&x, mode)?;
        if branches.is_empty() {
            return Ok(());
        }
        if !mode.training || mode.drop_path == 0.0 {
            return mix(&mut sums.sums, &branches, weights, mode.training);
        }
        // One edge leads to each node.
        let mut of_edges = NodeSums::default();
        mix(&mut of_edges.sums, &branches, weights, mode.training)?;
        sums.add_edges(of_edges, mode.drop_path)
    }

    /// What the operations make of `x`, before their last BatchNorms.
    fn branches(&self, x: &Tensor, mode: ForwardMode) -> Result<Vec<Branch<'_>>, TorchError> {
        let mut branches: Vec<Vec<Branch<'_>>> =
            self.groups.iter().map(|group| group.branches(x, mode)).collect::<Result<_, _>>()?;
        let convolutions = self.groups.iter().enumerate().filter_map(|(index, group)| match &group.kernel {
            Kernel::Separable(layers) => Some((index, layers)),
            _ => None,
        });
        let chains: Vec<_> = convolutions.clone().map(|(_, layers)| SeparableChain { x, layers }).collect();
        for ((index, layers), y) in convolutions.zip(forward_chains(&chains, mode.training)?) {
            branches[index].push(self.groups[index].per_edge(y, &layers[layers.len() - 1].bn));
        }
        Ok(branches.into_iter().flatten().collect())
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
            let names = ["depthwise", "pointwise"].map(|part| format!("{name}.{part}"));
            let geometry = DepthwiseGeometry { stride, dilation };
            SeparableLayer {
                conv: SeparableConv::new(store, &names, num_edges, channels, kernel, geometry),
                bn: BatchNorm::plain(store, &format!("{name}.bn"), num_edges * channels),
            }
        };
        let mut sep_conv = |kernel: i64| Kernel::Separable(vec![layer(0, kernel, 1, stride), layer(1, kernel, 1, 1)]);
        match operation {
            Operation::MaxPool3x3 => {
                Kernel::MaxPool { stride, bn: BatchNorm::plain(store, &format!("{name}.bn"), channels) }
            }
            Operation::AvgPool3x3 => {
                Kernel::AvgPool { stride, bn: BatchNorm::plain(store, &format!("{name}.bn"), channels) }
            }
            Operation::SepConv3x3 => sep_conv(3),
            Operation::SepConv5x5 => sep_conv(5),
            Operation::SepConv7x7 => sep_conv(7),
            Operation::DilConv3x3 => Kernel::Separable(vec![layer(0, 3, 2, stride)]),
            Operation::DilConv5x5 => Kernel::Separable(vec![layer(0, 5, 2, stride)]),
            Operation::SkipConnect if stride == 2 => {
                Kernel::Reduce(FactorizedReduce::new(store, name, (channels, channels), num_edges))
            }
            // The layout holds operations of the search space without `none`: what is left is the identity.
            Operation::SkipConnect | Operation::None | Operation::Conv7x1_1x7 => Kernel::Identity,
        }
    }
}

impl Group {
    /// What the operation makes of `x` on all its edges, before the last BatchNorm; nothing of convolutions, which those of all
    /// groups compute together.
    fn branches(&self, x: &Tensor, mode: ForwardMode) -> Result<Vec<Branch<'_>>, TorchError> {
        let branch = match &self.kernel {
            Kernel::MaxPool { stride, bn } => self.shared(max_pool_3x3(x, *stride)?, Some(bn)),
            Kernel::AvgPool { stride, bn } => self.shared(avg_pool_3x3(x, *stride)?, Some(bn)),
            Kernel::Identity if mode.training && mode.skip_dropout > 0.0 => {
                return self.dropped_identities(x, mode.skip_dropout);
            }
            Kernel::Identity => self.shared(x.shallow_clone(), None),
            Kernel::Reduce(reduce) => self.per_edge(reduce.reduce(&x.f_relu()?)?, &reduce.bn),
            Kernel::Separable(_) => return Ok(Vec::new()),
        };
        Ok(vec![branch])
    }

    /// An operation without parameters: `y` `[N, C, H, W]` for all edges.
    fn shared<'a>(&self, y: Tensor, bn: Option<&'a BatchNorm>) -> Branch<'a> {
        Branch { y, per_edge: false, running: bn.map(BatchNorm::running), nodes: self.nodes() }
    }

    /// `y`: `[N, E * C, H, W]`, a block for each edge.
    fn per_edge<'a>(&self, y: Tensor, bn: &'a BatchNorm) -> Branch<'a> {
        Branch { y, per_edge: true, running: Some(bn.running()), nodes: self.nodes() }
    }

    /// A skip connection drops other elements on every edge.
    fn dropped_identities(&self, x: &Tensor, probability: f64) -> Result<Vec<Branch<'_>>, TorchError> {
        let nodes = self.nodes();
        let on_edges = nodes.iter().zip(dropouts(x, probability, nodes.len())?);
        Ok(on_edges.map(|(node, y)| Branch { y, per_edge: false, running: None, nodes: vec![*node] }).collect())
    }

    fn nodes(&self) -> Vec<i64> {
        self.edges.iter().map(|live| live.node as i64).collect()
    }
}

/// The running sums of a cell's intermediate states.
#[derive(Default)]
pub struct NodeSums {
    sums: [Option<Tensor>; NUM_NODES],
}

impl NodeSums {
    /// Adds what single edges give, `of_edges` for the nodes that they lead to, each left out with probability `drop_path` image
    /// by image.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    pub fn add_edges(&mut self, of_edges: Self, drop_path: f64) -> Result<(), TorchError> {
        for (sum, of_edge) in self.sums.iter_mut().zip(of_edges.sums) {
            let Some(of_edge) = of_edge else { continue };
            let mask = drop_path_mask(&of_edge, drop_path)?;
            *sum = Some(match sum.take() {
                Some(sum) => sum.f_addcmul(&of_edge, &mask)?,
                None => of_edge.f_mul(&mask)?,
            });
        }
        Ok(())
    }

    /// The finished state of `node`, or `None` when no operation but `none` leads to it.
    pub fn take(&mut self, node: usize) -> Option<Tensor> {
        self.sums[node].take()
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn edges_are_left_out_image_by_image_and_scaled_to_keep_the_mean() {
        tch::manual_seed(3);
        let full = |value: f64| Tensor::full([20_000, 2, 1, 1], value, (Kind::Double, Device::Cpu));
        let mut sums = NodeSums { sums: [Some(full(1.0)), None, Some(full(5.0)), None] };
        let of_edges = NodeSums { sums: [Some(full(3.0)), Some(full(3.0)), None, None] };
        sums.add_edges(of_edges, 0.25).unwrap();
        let share = |sum: &Tensor, value: f64| {
            (sum - value).abs().lt(1e-9).to_kind(Kind::Double).mean(Kind::Double).double_value(&[])
        };
        let [added, first, untouched, nothing] = sums.sums;
        let (added, first) = (added.unwrap(), first.unwrap());
        assert!((share(&added, 5.0) - 0.75).abs() < 0.04 && share(&added, 1.0) + share(&added, 5.0) == 1.0);
        assert!((share(&first, 4.0) - 0.75).abs() < 0.04 && share(&first, 0.0) + share(&first, 4.0) == 1.0);
        assert_eq!((share(&untouched.unwrap(), 5.0), nothing.is_none()), (1.0, true));
    }
}
