//! One cell of the supernet: two inputs brought to its width, then the states in order.

use tch::Tensor;

use super::layout::OperationEdges;
use super::mixing::MixingWeights;
use super::source::{NodeSums, SourceOperations};
use super::supernet::ForwardMode;
use crate::genotype::{NUM_INPUTS, NUM_NODES};
use crate::model::{FactorizedReduce, ParameterStore, ReluConvBn};
use crate::torch::TorchError;

/// A normal or reduction cell.
#[derive(Debug)]
pub struct SearchCell {
    pub(super) older_input: OlderInput,
    pub(super) newer_input: ReluConvBn,
    pub(super) sources: Vec<SourceOperations>,
    reduction: bool,
}

/// How the output of the cell before the previous one is brought to this cell's size and width.
#[derive(Debug)]
pub(super) enum OlderInput {
    Same(ReluConvBn),
    /// After a reduction cell: it is still twice as large.
    Larger(FactorizedReduce),
}

/// The place of a cell in its network.
#[derive(Copy, Clone, Debug)]
pub struct CellPlace {
    /// Channels of the output of the cell before the previous one.
    pub older_channels: i64,
    /// Channels of the previous cell's output.
    pub newer_channels: i64,
    /// Channels of each state of this cell.
    pub channels: i64,
    /// Whether this cell halves height and width.
    pub reduction: bool,
    /// Whether the previous cell did.
    pub after_reduction: bool,
}

impl SearchCell {
    /// A cell at `place` with the operations of `layout`.
    pub fn new(store: &mut ParameterStore, name: &str, place: CellPlace, layout: &[Vec<OperationEdges>]) -> Self {
        let CellPlace { older_channels, newer_channels, channels, reduction, after_reduction } = place;
        let older_name = format!("{name}.preprocess0");
        let older_input = if after_reduction {
            OlderInput::Larger(FactorizedReduce::new(store, &older_name, (older_channels, channels), 1))
        } else {
            OlderInput::Same(ReluConvBn::new(store, &older_name, (older_channels, channels)))
        };
        let newer_input = ReluConvBn::new(store, &format!("{name}.preprocess1"), (newer_channels, channels));
        let sources = layout
            .iter()
            .enumerate()
            .map(|(source, operations)| {
                let stride = if reduction && source < NUM_INPUTS { 2 } else { 1 };
                SourceOperations::new(store, &format!("{name}.source{source}"), operations, channels, stride)
            })
            .collect();
        Self { older_input, newer_input, sources, reduction }
    }

    /// `older` and `newer`: outputs of the two previous cells. Returns `[N, 4 * C, H', W']`.
    ///
    /// # Errors
    /// When the inputs do not fit the cell.
    pub fn forward(
        &self,
        older: &Tensor,
        newer: &Tensor,
        weights: &MixingWeights,
        mode: ForwardMode,
    ) -> Result<Tensor, TorchError> {
        let older = match &self.older_input {
            OlderInput::Same(block) => block.forward(older, mode.training)?,
            OlderInput::Larger(block) => block.forward(older, mode.training)?,
        };
        let newer = self.newer_input.forward(newer, mode.training)?;
        let mut sums = NodeSums::default();
        let mut nodes: Vec<Tensor> = Vec::with_capacity(NUM_NODES);
        for (source, operations) in self.sources.iter().enumerate() {
            let state = match source {
                0 => &older,
                1 => &newer,
                _ => &nodes[source - NUM_INPUTS],
            };
            operations.forward(state, weights.source(source), mode, &mut sums)?;
            if source + 1 >= NUM_INPUTS {
                let node = sums.take(source + 1 - NUM_INPUTS);
                nodes.push(node.map_or_else(|| self.zero_state(&newer), Ok)?);
            }
        }
        Ok(Tensor::f_cat(&nodes, 1)?)
    }

    /// The state of a node to which no operation but `none` leads; `input`: `[N, C, H, W]` before any stride.
    fn zero_state(&self, input: &Tensor) -> Result<Tensor, TorchError> {
        let mut size = input.size();
        if self.reduction {
            size[2] /= 2;
            size[3] /= 2;
        }
        Ok(Tensor::f_zeros(&size, (input.kind(), input.device()))?)
    }
}
