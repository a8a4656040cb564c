//! The topology every searched cell shares: its states and edges, and where cells reduce.
//!
//! States 0 and 1 are the cell's inputs; node `i` computes state `i + 2` from all earlier states.
//! Source: P-DARTS (arXiv:1904.12760), section 3.1.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Input states of a cell: the outputs of the two cells before it.
pub const NUM_INPUTS: usize = 2;
/// Nodes (intermediate states) of a searched cell.
pub const NUM_NODES: usize = 4;
/// Edges of a searched cell while it is being searched: 2 + 3 + 4 + 5.
pub const NUM_EDGES: usize = 14;

/// Which of the two searched cells.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellKind {
    /// Keeps resolution and channels.
    Normal,
    /// Halves the resolution and doubles the channels.
    Reduction,
}

impl CellKind {
    /// Both kinds, normal first.
    pub const ALL: [CellKind; 2] = [CellKind::Normal, CellKind::Reduction];

    /// The cells that reduce in a network of `num_cells`: those at one and at two thirds (rounded down).
    pub const fn reductions(num_cells: usize) -> [usize; 2] {
        [num_cells / 3, 2 * num_cells / 3]
    }

    /// The kind of cell `index` in a network of `num_cells`.
    pub fn at(index: usize, num_cells: usize) -> CellKind {
        if CellKind::reductions(num_cells).contains(&index) { CellKind::Reduction } else { CellKind::Normal }
    }
}

impl fmt::Display for CellKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            CellKind::Normal => "normal",
            CellKind::Reduction => "reduction",
        })
    }
}

/// A connection of a searched cell, from an earlier state to a node.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Edge {
    /// Position among all edges, `0..NUM_EDGES`: by node, then by source.
    pub index: usize,
    /// The node it ends in, `0..NUM_NODES`; the node's state is `node + NUM_INPUTS`.
    pub node: usize,
    /// The state it starts from, `0..node + NUM_INPUTS`.
    pub source: usize,
}

/// The position of the edge from state `source` to `node` among all edges.
pub const fn edge_index(node: usize, source: usize) -> usize {
    // Nodes before this one have 2, 3, 4, ... edges.
    node * (node + 3) / 2 + source
}

/// All edges of a searched cell, in order of their index.
pub fn edges() -> impl Iterator<Item = Edge> {
    (0..NUM_NODES).flat_map(|node| {
        (0..node + NUM_INPUTS).map(move |source| Edge { index: edge_index(node, source), node, source })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_numbered_by_node_then_source() {
        let all: Vec<Edge> = edges().collect();
        assert_eq!(all.len(), NUM_EDGES);
        assert!(all.iter().enumerate().all(|(i, edge)| edge.index == i));
        assert!(all.is_sorted_by_key(|edge| (edge.node, edge.source)));
    }

    #[test]
    fn cells_reduce_at_one_and_two_thirds() {
        let reducing = |num_cells: usize| -> Vec<usize> {
            (0..num_cells).filter(|&index| CellKind::at(index, num_cells) == CellKind::Reduction).collect()
        };
        assert_eq!(reducing(5), [1, 3]);
        assert_eq!(reducing(11), [3, 7]);
        assert_eq!(reducing(17), [5, 11]);
        assert_eq!(reducing(20), [6, 13]);
        assert_eq!(reducing(14), [4, 9]);
    }
}
