//! All that is needed to build a network: what files of weights say about theirs.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use super::network::total_stride;
use super::{EvaluationNetwork, NetworkError};
use crate::genotype::{Genotype, NetworkShape};

/// A cell and the network it is repeated in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDescription {
    /// The cell.
    pub genotype: Genotype,
    /// The network's size.
    #[serde(flatten)]
    pub shape: NetworkShape,
    /// Whether it has an auxiliary head.
    pub auxiliary_head: bool,
}

impl NetworkDescription {
    /// See [`EvaluationNetwork::new`].
    ///
    /// # Errors
    /// [`NetworkError::Shape`] when no network has this shape.
    pub fn build(&self, device: Device, kind: Kind) -> Result<EvaluationNetwork, NetworkError> {
        EvaluationNetwork::new(&self.genotype, &self.shape, self.auxiliary_head, device, kind)
    }

    /// Pixels of the smallest state that a BatchNorm normalises in training: a single one in the auxiliary head, else the
    /// last cell's.
    pub fn smallest_normalised_area(&self) -> u64 {
        match self.auxiliary_head {
            true => 1,
            false => (self.shape.image_size / total_stride(&self.shape) as u64).pow(2),
        }
    }
}
