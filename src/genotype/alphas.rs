//! Architecture parameters as numbers: one alpha per live operation of each edge.
//!
//! The search keeps alphas as tensors; here are the values that leave it, to derive cells, to be
//! drawn, and to be written to files.

use serde::{Deserialize, Serialize};

use super::cell::{CellKind, NUM_EDGES, edges};
use super::error::GenotypeError;
use super::operation::Operation;
use super::switches::{CellSwitches, Switches};

/// Alphas of one cell, before the softmax: `[edge][position among the live operations]`.
pub type CellAlphas = Vec<Vec<f64>>;

/// Alphas of both cells.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alphas {
    /// Shared by all normal cells.
    pub normal: CellAlphas,
    /// Shared by all reduction cells.
    pub reduction: CellAlphas,
    /// Of the edges, where they are weighed too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub betas: Option<Betas>,
}

/// One parameter an edge of both cells, before the softmax over the edges that lead to one node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Betas {
    /// Shared by all normal cells.
    pub normal: Vec<f64>,
    /// Shared by all reduction cells.
    pub reduction: Vec<f64>,
}

impl Betas {
    /// Those of one cell.
    pub fn cell(&self, kind: CellKind) -> &[f64] {
        match kind {
            CellKind::Normal => &self.normal,
            CellKind::Reduction => &self.reduction,
        }
    }

    /// The weight of every edge of a cell: its share among those that lead to the same node.
    fn weights(&self, kind: CellKind) -> Vec<f64> {
        let betas = self.cell(kind);
        let edges: Vec<_> = edges().collect();
        edges
            .chunk_by(|a, b| a.node == b.node)
            .flat_map(|edges| softmax(&betas[edges[0].index..][..edges.len()]))
            .collect()
    }
}

impl Alphas {
    /// Those of one cell.
    pub fn cell(&self, kind: CellKind) -> &CellAlphas {
        match kind {
            CellKind::Normal => &self.normal,
            CellKind::Reduction => &self.reduction,
        }
    }

    /// How strong every live operation of a cell is: its share of its edge, times the edge's share of its node where edges
    /// are weighed.
    pub fn strengths(&self, kind: CellKind) -> Vec<Vec<f64>> {
        let mut strengths: Vec<Vec<f64>> = self.cell(kind).iter().map(|alphas| softmax(alphas)).collect();
        if let Some(betas) = &self.betas {
            let edges = strengths.iter_mut().zip(betas.weights(kind));
            edges.for_each(|(edge, weight)| edge.iter_mut().for_each(|strength| *strength *= weight));
        }
        strengths
    }

    /// Checks that there is one finite alpha for each live operation, and one finite beta for each edge if there are any.
    ///
    /// # Errors
    /// [`GenotypeError::InvalidAlphas`] with the edge and what was expected and found there.
    pub fn check(&self, switches: &Switches) -> Result<(), GenotypeError> {
        for cell in CellKind::ALL {
            let (live, alphas) = (switches.cell(cell), self.cell(cell));
            let invalid = |problem| Err(GenotypeError::InvalidAlphas { cell, problem });
            if let Some(betas) = self.betas.as_ref().map(|betas| betas.cell(cell)) {
                if betas.len() != NUM_EDGES {
                    return invalid(format!("expected {NUM_EDGES} betas, found {}", betas.len()));
                }
                if let Some(edge) = betas.iter().position(|beta| !beta.is_finite()) {
                    return invalid(format!("the beta of edge {edge} is {}: the search has diverged", betas[edge]));
                }
            }
            if alphas.len() != NUM_EDGES {
                return invalid(format!("expected {NUM_EDGES} edges, found {}", alphas.len()));
            }
            for (edge, (live, alphas)) in live.iter().zip(alphas).enumerate() {
                if alphas.len() != live.len() {
                    return invalid(format!(
                        "edge {edge} has {} live operations but {} alphas",
                        live.len(),
                        alphas.len()
                    ));
                }
                if let Some(at) = alphas.iter().position(|alpha| !alpha.is_finite()) {
                    return invalid(format!(
                        "`{}` on edge {edge} is {}: the search has diverged",
                        live[at], alphas[at]
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The probabilities of an edge's operations: softmax of its alphas.
pub fn softmax(alphas: &[f64]) -> Vec<f64> {
    let max = alphas.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = alphas.iter().map(|alpha| (alpha - max).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}

/// The share of each operation in a cell, on average over its edges, the largest first; `none`, which cannot be chosen, is
/// left out.
pub fn operation_shares(live: &CellSwitches, alphas: &CellAlphas) -> Vec<(Operation, f64)> {
    let mut shares: Vec<(Operation, f64)> = Vec::new();
    for (operations, alphas) in live.iter().zip(alphas) {
        for (operation, share) in operations.iter().zip(softmax(alphas)) {
            match shares.iter_mut().find(|(known, _)| known == operation) {
                Some((_, sum)) => *sum += share,
                None => shares.push((*operation, share)),
            }
        }
    }
    shares.retain(|(operation, _)| *operation != Operation::None);
    shares.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    shares.into_iter().map(|(operation, sum)| (operation, sum / alphas.len() as f64)).collect()
}

/// Mean entropy of the edges' operation probabilities, in nats: ln(number of live operations)
/// while nothing is decided, 0 when every edge has settled on one.
pub fn mean_entropy(alphas: &CellAlphas) -> f64 {
    let entropy = |alphas: &Vec<f64>| -> f64 {
        let probabilities = softmax(alphas).into_iter().filter(|&p| p > 0.0);
        -probabilities.map(|p| p * p.ln()).sum::<f64>()
    };
    alphas.iter().map(entropy).sum::<f64>() / alphas.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn even() -> (Switches, Alphas) {
        let cell = vec![vec![0.0; 8]; NUM_EDGES];
        let alphas = Alphas { normal: cell.clone(), reduction: cell, betas: None };
        (Switches::full(&Operation::SEARCH_SPACE).unwrap(), alphas)
    }

    #[test]
    fn softmax_survives_large_alphas() {
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5]);
    }

    #[test]
    fn entropy_runs_from_ln_of_the_live_operations_to_zero() {
        assert!((mean_entropy(&vec![vec![0.3; 8]; 14]) - 8f64.ln()).abs() < 1e-12);
        assert_eq!(mean_entropy(&vec![vec![0.0, 1e4]; 14]), 0.0);
    }

    #[test]
    fn shares_are_means_over_edges_without_none() {
        let live = CellSwitches::full(&[Operation::None, Operation::SkipConnect, Operation::SepConv3x3]).unwrap();
        let mut alphas = vec![vec![0.0; 3]; NUM_EDGES];
        alphas[0] = vec![-1e3, -1e3, 0.0];
        let shares = operation_shares(&live, &alphas);
        assert_eq!(
            shares.iter().map(|(operation, _)| *operation).collect::<Vec<_>>(),
            [Operation::SepConv3x3, Operation::SkipConnect]
        );
        assert!((shares[0].1 - (1.0 + 13.0 / 3.0) / 14.0).abs() < 1e-12);
    }

    #[test]
    fn missing_alpha_is_reported_with_its_edge() {
        let (switches, mut alphas) = even();
        alphas.reduction[5].pop();
        assert_eq!(
            alphas.check(&switches).unwrap_err().to_string(),
            "alphas of the reduction cell: edge 5 has 8 live operations but 7 alphas"
        );
    }

    #[test]
    fn alpha_that_is_not_finite_is_reported_with_its_operation() {
        let (switches, mut alphas) = even();
        alphas.normal[2][3] = f64::NAN;
        assert_eq!(
            alphas.check(&switches).unwrap_err().to_string(),
            "alphas of the normal cell: `skip_connect` on edge 2 is NaN: the search has diverged"
        );
    }
}
