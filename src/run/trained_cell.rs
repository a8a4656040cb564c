//! `genotype.json` of a retraining: the cell, what it is called, and the search that found it.

use serde::{Deserialize, Serialize};

use super::Provenance;
use crate::genotype::Genotype;

/// A cell that is trained.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TrainedCell {
    /// A published cell's name, or the file it was read from.
    pub name: String,
    /// The cell.
    pub genotype: Genotype,
    /// The genotype as the Python text of the field's codes.
    pub python: String,
    /// The search that found it, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

impl TrainedCell {
    /// The cell `genotype`, called `name`.
    pub fn new(name: String, genotype: Genotype, provenance: Option<Provenance>) -> Self {
        Self { name, python: genotype.to_string(), genotype, provenance }
    }
}
