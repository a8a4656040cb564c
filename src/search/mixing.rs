//! The weights of all mixed edges of a cell, gathered once for all cells of one kind.

use tch::Tensor;

use super::layout::OperationEdges;

/// For every source state the weights of the operations that leave it: those of the first operation's edges, then
/// those of the next, in the order of the layout.
pub struct MixingWeights {
    sources: Vec<Tensor>,
}

impl MixingWeights {
    /// `weights`: `[14, K]`, relaxed; `layout`: the cells' operations by source state.
    pub fn gather(weights: &Tensor, layout: &[Vec<OperationEdges>]) -> Self {
        let num_live = weights.size()[1];
        let edges_of = |source: &[OperationEdges]| source.iter().map(|group| group.edges.len() as i64).sum();
        let sizes: Vec<i64> = layout.iter().map(|source| edges_of(source)).collect();
        let indices: Vec<i64> = layout
            .iter()
            .flatten()
            .flat_map(|group| &group.edges)
            .map(|live| live.edge as i64 * num_live + live.position as i64)
            .collect();
        let index = Tensor::from_slice(&indices).to_device(weights.device());
        let sources = weights.flatten(0, 1).index_select(0, &index).split_with_sizes(&sizes, 0);
        Self { sources }
    }

    /// As [`sources`](Self::sources) gave them.
    pub fn from_sources(sources: &[Tensor]) -> Self {
        Self { sources: sources.iter().map(Tensor::shallow_clone).collect() }
    }

    /// Those of every state in turn.
    pub fn sources(&self) -> &[Tensor] {
        &self.sources
    }

    /// Those of state `source`: `[E]` over the edges of all its operations.
    pub fn source(&self, source: usize) -> &Tensor {
        &self.sources[source]
    }
}
