//! What is known of a cell that was evaluated: a line of `metrics.jsonl`.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::evaluation::Evaluation;
use crate::genotype::{Genotype, NetworkShape, count};

/// A cell with what its evaluation came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellRecord {
    /// From 1.
    pub number: usize,
    /// Number of the cell that it descends from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<usize>,
    /// Number of the same cell before, which would give the same result if it was trained again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub same_as: Option<usize>,
    /// Skip connections of the normal cell.
    pub skip_connects: usize,
    /// Of the network that the limits are on.
    pub parameters: u64,
    /// Of that network.
    pub multiply_adds: u64,
    /// How good it is.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// The cell.
    pub genotype: Genotype,
}

impl CellRecord {
    /// `same_as` is an index, from 0; sizes are those of a network of `shape`.
    pub(super) fn new(
        number: usize,
        genotype: Genotype,
        parent: Option<usize>,
        same_as: Option<usize>,
        shape: &NetworkShape,
        evaluation: Evaluation,
    ) -> Self {
        let cost = count(&genotype, shape);
        Self {
            number,
            parent,
            same_as: same_as.map(|index| index + 1),
            skip_connects: genotype.skip_connects(),
            parameters: cost.parameters,
            multiply_adds: cost.multiply_adds,
            evaluation,
            genotype,
        }
    }

    /// Percent on the validation images; none of a cell whose training diverged, and of one that was not trained.
    pub fn valid_top1(&self) -> Option<f64> {
        self.evaluation.valid.map(|valid| valid.top1)
    }

    fn is_better_than(&self, other: &Self) -> bool {
        match (&self.evaluation.valid, &other.evaluation.valid) {
            (Some(own), Some(others)) => {
                own.top1.total_cmp(&others.top1).then(others.loss.total_cmp(&own.loss)) == Ordering::Greater
            }
            (own, others) => own.is_some() && others.is_none(),
        }
    }
}

/// The cell with the best validation accuracy, of equal ones that with the lowest loss, of these the first.
pub fn best_of<'a>(records: impl IntoIterator<Item = &'a CellRecord>) -> Option<&'a CellRecord> {
    records.into_iter().reduce(|best, record| if record.is_better_than(best) { record } else { best })
}
