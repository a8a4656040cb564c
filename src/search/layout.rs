//! Which operations leave which state: the supernet's cells arranged by source state instead of by edge.
//!
//! All edges that leave one state have one stride and one input, so what they have in common is computed once and what
//! is alike is computed together. This file is the pure part: it turns the switches of a cell into that arrangement.

use crate::genotype::{CellSwitches, NUM_EDGES, NUM_INPUTS, NUM_NODES, Operation, edge_index};

/// States that edges leave: the inputs of a cell and all its nodes but the last.
pub const NUM_SOURCES: usize = NUM_INPUTS + NUM_NODES - 1;

/// For each edge the position of one operation among its live ones.
pub type Chosen = [usize; NUM_EDGES];

/// An operation that is live on one edge.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LiveEdge {
    /// Index among the cell's 14 edges.
    pub edge: usize,
    /// The intermediate state, 0 to 3, that the edge leads to.
    pub node: usize,
    /// Position of the operation among the edge's live operations: the column of its alpha.
    pub position: usize,
}

/// One operation with the edges of a source state on which it is live, in the order of their nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationEdges {
    /// Never `none`, which adds nothing and is never computed.
    pub operation: Operation,
    /// At least one.
    pub edges: Vec<LiveEdge>,
}

/// The operations that leave each source state of a cell: states 0 and 1 are its inputs, 2 to 4 its first three nodes
/// (no edge leaves the last node).
pub fn operations_by_source(switches: &CellSwitches) -> Vec<Vec<OperationEdges>> {
    (0..NUM_SOURCES).map(|source| operations_leaving(switches, source)).collect()
}

fn operations_leaving(switches: &CellSwitches, source: usize) -> Vec<OperationEdges> {
    let first_node = (source + 1).saturating_sub(NUM_INPUTS);
    let live = |operation: Operation| {
        (first_node..NUM_NODES)
            .filter_map(|node| {
                let edge = edge_index(node, source);
                let position = switches.live(edge).iter().position(|&live| live == operation)?;
                Some(LiveEdge { edge, node, position })
            })
            .collect::<Vec<_>>()
    };
    Operation::SEARCH_SPACE
        .into_iter()
        .filter(|&operation| operation != Operation::None)
        .map(|operation| OperationEdges { operation, edges: live(operation) })
        .filter(|group| !group.edges.is_empty())
        .collect()
}
