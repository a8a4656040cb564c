//! One cell of the supernet: two inputs brought to its width, then the states in order.

use tch::Tensor;

use super::layout::OperationEdges;
use super::mixing::MixingWeights;
use super::partial::PartialChannels;
use super::source::{NodeSums, SourceOperations};
use super::supernet::ForwardMode;
use crate::genotype::{NUM_INPUTS, NUM_NODES, edge_index};
use crate::model::{FactorizedReduce, ParameterStore, ReluConvBn};
use crate::torch::TorchError;

/// A normal or reduction cell.
#[derive(Debug)]
pub struct SearchCell {
    pub(super) older_input: OlderInput,
    pub(super) newer_input: ReluConvBn,
    pub(super) sources: Vec<SourceOperations>,
    partial: PartialChannels,
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
    /// Which of them operations work on.
    pub partial: PartialChannels,
    /// Whether this cell halves height and width.
    pub reduction: bool,
    /// Whether the previous cell did.
    pub after_reduction: bool,
}

impl SearchCell {
    /// A cell at `place` with the operations of `layout`.
    pub fn new(store: &mut ParameterStore, name: &str, place: CellPlace, layout: &[Vec<OperationEdges>]) -> Self {
        let CellPlace { older_channels, newer_channels, channels, partial, reduction, after_reduction } = place;
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
                let (stride, channels) = (stride_of(source, reduction), partial.num_mixed(channels));
                SourceOperations::new(store, &format!("{name}.source{source}"), operations, channels, stride)
            })
            .collect();
        Self { older_input, newer_input, sources, partial, reduction }
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
        let mut passing: Vec<Tensor> = Vec::new();
        for (source, operations) in self.sources.iter().enumerate() {
            let state = match source {
                0 => &older,
                1 => &newer,
                _ => &nodes[source - NUM_INPUTS],
            };
            let state_of_operations = self.partial.mixed(state)?;
            match weights.chosen() {
                None => operations.forward(&state_of_operations, weights.source(source), mode, &mut sums)?,
                Some(chosen) => {
                    let (operations, weights) = operations.chosen(weights.source(source), &chosen)?;
                    operations.forward(&state_of_operations, &weights, mode, &mut sums)?;
                }
            }
            if self.partial.has_passing() {
                passing.push(self.partial.passing(state, stride_of(source, self.reduction))?);
            }
            if source + 1 >= NUM_INPUTS {
                let node = source + 1 - NUM_INPUTS;
                let mixed = sums.take(node).map_or_else(|| self.zero_sum(&newer), Ok)?;
                nodes.push(match passing_sum(&passing, node, weights)? {
                    Some(passing) => self.partial.join(&mixed, &passing)?,
                    None => mixed,
                });
            }
        }
        Ok(Tensor::f_cat(&nodes, 1)?)
    }

    /// The sum of a node to which no operation but `none` leads; `input`: `[N, C, H, W]` before any stride.
    fn zero_sum(&self, input: &Tensor) -> Result<Tensor, TorchError> {
        let mut size = input.size();
        size[1] = self.partial.num_mixed(size[1]);
        if self.reduction {
            size[2] /= 2;
            size[3] /= 2;
        }
        Ok(Tensor::f_zeros(&size, (input.kind(), input.device()))?)
    }
}

/// Of the edges that leave state `source`.
fn stride_of(source: usize, reduction: bool) -> i64 {
    if reduction && source < NUM_INPUTS { 2 } else { 1 }
}

/// What passes the edges that lead to `node`, `passing` of each state before it; none if nothing does.
fn passing_sum(passing: &[Tensor], node: usize, weights: &MixingWeights) -> Result<Option<Tensor>, TorchError> {
    let mut sum: Option<Tensor> = None;
    for (source, passing) in passing.iter().enumerate() {
        let weighed = match weights.edge(edge_index(node, source))? {
            Some(weight) => passing.f_mul(&weight)?,
            None => passing.shallow_clone(),
        };
        sum = Some(match sum {
            Some(sum) => sum.f_add(&weighed)?,
            None => weighed,
        });
    }
    Ok(sum)
}
