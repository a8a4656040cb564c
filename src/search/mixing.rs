//! The weights of all mixed edges of a cell, gathered once for all cells of one kind and width.

use tch::Tensor;

use super::layout::OperationEdges;

/// For every operation of every source state, in the order of the layout: its edges' weights in the two forms that
/// the cell needs.
pub struct MixingWeights {
    groups: Vec<Vec<GroupWeights>>,
}

/// The weights of one operation on the edges that leave one state.
pub struct GroupWeights {
    /// `[E]`.
    pub per_edge: Tensor,
    /// `[E * C]`, each edge's weight repeated for its channels: the scale of a BatchNorm.
    pub per_channel: Tensor,
}

impl MixingWeights {
    /// `weights`: `[14, K]`, relaxed; `channels`: C of the cells; `layout`: their operations by source state.
    pub fn gather(weights: &Tensor, channels: i64, layout: &[Vec<OperationEdges>]) -> Self {
        let num_live = weights.size()[1];
        let groups = || layout.iter().flatten();
        let indices: Vec<i64> = groups()
            .flat_map(|group| &group.edges)
            .map(|live| live.edge as i64 * num_live + live.position as i64)
            .collect();
        let sizes: Vec<i64> = groups().map(|group| group.edges.len() as i64).collect();
        let index = Tensor::from_slice(&indices).to_device(weights.device());
        let gathered = weights.flatten(0, 1).index_select(0, &index); // [sum of E]
        let repeated = gathered.unsqueeze(1).expand([-1, channels], false).reshape([-1]); // [sum of E * C]
        let repeated_sizes: Vec<i64> = sizes.iter().map(|size| size * channels).collect();
        let mut pairs = gathered
            .split_with_sizes(&sizes, 0)
            .into_iter()
            .zip(repeated.split_with_sizes(&repeated_sizes, 0))
            .map(|(per_edge, per_channel)| GroupWeights { per_edge, per_channel });
        let groups = layout.iter().map(|source| pairs.by_ref().take(source.len()).collect()).collect();
        Self { groups }
    }

    /// The weights of the operations that leave state `source`, in the order of the layout.
    pub fn source(&self, source: usize) -> &[GroupWeights] {
        &self.groups[source]
    }
}
