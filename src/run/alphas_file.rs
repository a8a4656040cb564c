//! `alphas/*.json`: the architecture parameters after an epoch, with all that is needed to derive a cell from them.

use serde::{Deserialize, Serialize};

use crate::genotype::{Alphas, Switches};

/// The content of one file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlphasFile {
    /// Stage, from 1.
    pub stage: usize,
    /// Whole epochs of the stage.
    pub epoch: usize,
    /// The operations that the alphas weigh.
    pub live: Switches,
    /// Before the softmax.
    pub alphas: Alphas,
}
