//! One cell of an evaluation network, built from a genotype.

use tch::Tensor;

use super::drop_path::add_branches;
use super::network::NetworkMode;
use super::operation::EdgeOperation;
use super::state::State;
use crate::genotype::{CellKind, EDGES_PER_NODE, Genotype, NUM_INPUTS};
use crate::model::{BatchNorm, Conv2d, FactorizedReduce, ParameterStore, SeparableChain, forward_chains};
use crate::torch::TorchError;

/// The place of a cell in its network.
#[derive(Copy, Clone, Debug)]
pub(super) struct CellPlace {
    pub kind: CellKind,
    /// Channels of the output of the cell before the previous one.
    pub older_channels: i64,
    /// Channels of the previous cell's output.
    pub newer_channels: i64,
    /// Channels of each state of this cell.
    pub channels: i64,
    /// Whether the previous cell reduced: the older input is still twice as large.
    pub after_reduction: bool,
}

/// A normal or reduction cell.
#[derive(Debug)]
pub(super) struct EvaluationCell {
    older_input: InputBlock,
    newer_input: InputBlock,
    edges: Vec<CellEdge>,
    concat: Vec<usize>,
}

#[derive(Debug)]
struct CellEdge {
    operation: EdgeOperation,
    source: usize,
}

/// Brings an input, already through its ReLU, to the cell's size and width.
#[derive(Debug)]
enum InputBlock {
    Same { conv: Conv2d, bn: BatchNorm },
    Larger(FactorizedReduce),
}

impl InputBlock {
    fn same(store: &mut ParameterStore, name: &str, channels: (i64, i64)) -> Self {
        Self::Same {
            conv: Conv2d::pointwise(store, &format!("{name}.op.1"), channels, 1, 1),
            bn: BatchNorm::affine(store, &format!("{name}.op.2"), channels.1),
        }
    }

    fn forward(&self, relu: &Tensor, training: bool) -> Result<Tensor, TorchError> {
        match self {
            Self::Same { conv, bn } => bn.forward(&conv.forward(relu)?, training),
            Self::Larger(reduce) => reduce.bn.forward(&reduce.reduce(relu)?, training),
        }
    }
}

impl EvaluationCell {
    /// A cell of `genotype` at `place`; `name` as `cells.3`.
    pub fn new(store: &mut ParameterStore, name: &str, genotype: &Genotype, place: CellPlace) -> Self {
        let CellPlace { kind, older_channels, newer_channels, channels, after_reduction } = place;
        let older_name = format!("{name}.preprocess0");
        let older_input = if after_reduction {
            InputBlock::Larger(FactorizedReduce::affine(store, &older_name, (older_channels, channels)))
        } else {
            InputBlock::same(store, &older_name, (older_channels, channels))
        };
        let newer_input = InputBlock::same(store, &format!("{name}.preprocess1"), (newer_channels, channels));
        let mut edges = Vec::new();
        for (index, &(operation, source)) in genotype.edges(kind).iter().enumerate() {
            let stride = if kind == CellKind::Reduction && source < NUM_INPUTS { 2 } else { 1 };
            let operation = EdgeOperation::new(store, &format!("{name}._ops.{index}"), operation, channels, stride);
            edges.extend(operation.map(|operation| CellEdge { operation, source }));
        }
        Self { older_input, newer_input, edges, concat: genotype.concat(kind).to_vec() }
    }

    /// `older` and `newer`: the outputs of the two previous cells, each through a ReLU. Returns
    /// `[N, concat * C, H', W']`, before any ReLU.
    ///
    /// # Errors
    /// When the inputs do not fit the cell, or as [`BatchNorm::forward`].
    pub fn forward(&self, older: &Tensor, newer: &Tensor, mode: NetworkMode) -> Result<Tensor, TorchError> {
        let training = mode.is_training();
        let mut states = vec![
            State::new(self.older_input.forward(older, training)?),
            State::new(self.newer_input.forward(newer, training)?),
        ];
        let mut convolved: Vec<Option<Tensor>> = self.edges.iter().map(|_| None).collect();
        for node in 0..self.edges.len() / EDGES_PER_NODE {
            let first = node * EDGES_PER_NODE;
            self.convolve(&states, first, &mut convolved, training)?;
            let mut branch = |index: usize| {
                let CellEdge { operation, source } = &self.edges[index];
                operation.forward(&states[*source], convolved[index].take(), training)
            };
            let branches = [branch(first)?, branch(first + 1)?];
            states.push(State::new(add_branches(branches, mode.drop_path(), training)?));
        }
        let outputs: Vec<&Tensor> = self.concat.iter().map(|&state| states[state].value()).collect();
        Ok(Tensor::f_cat(&outputs, 1)?)
    }

    /// Computes together all separable convolutions of `states` that edges from `first` on still lack.
    fn convolve(
        &self,
        states: &[State],
        first: usize,
        convolved: &mut [Option<Tensor>],
        training: bool,
    ) -> Result<(), TorchError> {
        let lacks = |&index: &usize| convolved[index].is_none() && self.edges[index].source < states.len();
        let chain = |index: usize| {
            let CellEdge { operation, source } = &self.edges[index];
            Some((index, operation.chain(&states[*source])?))
        };
        let (indices, chains): (Vec<usize>, Vec<SeparableChain<'_>>) =
            (first..self.edges.len()).filter(lacks).filter_map(chain).unzip();
        for (index, value) in indices.into_iter().zip(forward_chains(&chains, training)?) {
            convolved[index] = Some(value);
        }
        Ok(())
    }
}
