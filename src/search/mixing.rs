//! The weights of all mixed edges of a cell, as a strategy gives them and gathered once for all cells of one kind.

use tch::{Device, Tensor};

use super::layout::{Chosen, NUM_SOURCES, OperationEdges};
use crate::torch::TorchError;

/// What a strategy makes of its parameters for one forward pass.
#[derive(Debug)]
pub struct Mixing {
    /// Of normal cells.
    pub normal: CellMixing,
    /// Of reduction cells.
    pub reduction: CellMixing,
}

impl Mixing {
    /// By these weights `[14, K]` of the operations alone.
    pub fn of_operations(normal: Tensor, reduction: Tensor) -> Self {
        let cell = |operations| CellMixing { operations, edges: None, chosen: None };
        Self { normal: cell(normal), reduction: cell(reduction) }
    }
}

/// The weights of all cells of one kind.
#[derive(Debug)]
pub struct CellMixing {
    /// `[14, K]`: of the live operations of each edge, the edge's own weight included.
    pub operations: Tensor,
    /// `[14]`: of the edges themselves, where they are weighed; otherwise 1 each.
    pub edges: Option<Tensor>,
    /// The one operation of each edge that is computed; none where all are.
    pub chosen: Option<Chosen>,
}

/// For every source state the weights of the operations that leave it: those of the first operation's edges, then
/// those of the next, in the order of the layout.
pub struct MixingWeights {
    sources: Vec<Tensor>,
    edges: Option<Tensor>,
    chosen: Option<Chosen>,
}

/// Where the weights of each source state stand among those of a cell.
#[derive(Debug)]
pub struct SourceOrder {
    /// Positions among the weights `[14 * K]`, of all source states in turn.
    index: Tensor,
    /// How many of them each source state has.
    sizes: Vec<i64>,
}

impl SourceOrder {
    /// `layout`: the cells' operations by source state; `num_live`: `K`, those of each edge.
    ///
    /// # Errors
    /// When libtorch has no memory for it.
    pub fn new(layout: &[Vec<OperationEdges>], num_live: usize, device: Device) -> Result<Self, TorchError> {
        let edges_of = |source: &[OperationEdges]| source.iter().map(|group| group.edges.len() as i64).sum();
        let sizes: Vec<i64> = layout.iter().map(|source| edges_of(source)).collect();
        let live = layout.iter().flatten().flat_map(|group| &group.edges);
        let places: Vec<i64> = live.map(|live| (live.edge * num_live + live.position) as i64).collect();
        Ok(Self { index: Tensor::f_from_slice(&places)?.f_to_device(device)?, sizes })
    }
}

impl MixingWeights {
    /// Those of `mixing`, in this order.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    pub fn gather(mixing: &CellMixing, SourceOrder { index, sizes }: &SourceOrder) -> Result<Self, TorchError> {
        let sources =
            mixing.operations.f_flatten(0, 1)?.f_index_select(0, index)?.f_split_with_sizes(sizes.as_slice(), 0)?;
        let edges = mixing.edges.as_ref().map(Tensor::shallow_clone);
        Ok(Self { sources, edges, chosen: mixing.chosen })
    }

    /// As [`tensors`](Self::tensors) and [`chosen`](Self::chosen) gave them.
    pub fn from_tensors(tensors: &[Tensor], chosen: Option<Chosen>) -> Self {
        let (sources, edges) = tensors.split_at(NUM_SOURCES.min(tensors.len()));
        Self {
            sources: sources.iter().map(Tensor::shallow_clone).collect(),
            edges: edges.first().map(Tensor::shallow_clone),
            chosen,
        }
    }

    /// Those of every state in turn, then those of the edges, if there are any.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.sources.iter().chain(&self.edges)
    }

    /// The one operation of each edge that is computed; none where all are.
    pub fn chosen(&self) -> Option<Chosen> {
        self.chosen
    }

    /// The weight of edge `edge`, a scalar; none where edges are not weighed.
    pub fn edge(&self, edge: usize) -> Result<Option<Tensor>, TorchError> {
        Ok(self.edges.as_ref().map(|edges| edges.f_get(edge as i64)).transpose()?)
    }

    /// Those of state `source`: `[E]` over the edges of all its operations.
    pub fn source(&self, source: usize) -> &Tensor {
        &self.sources[source]
    }
}
