//! `alphas/*.json`: the architecture parameters after an epoch, with all that is needed to derive a cell from them.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::RunError;
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

impl AlphasFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`RunError::Read`] when it cannot be read or is not such a file.
    pub fn read(path: &Path) -> Result<Self, RunError> {
        let text = fs::read_to_string(path).map_err(RunError::read(path))?;
        serde_json::from_str(&text).map_err(|error| RunError::read(path)(error.into()))
    }
}
