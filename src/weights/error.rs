//! What can be wrong with a weight file.

use std::io;
use std::path::PathBuf;

use super::Mismatch;

/// A weight file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct WeightsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: WeightsProblem,
}

/// What is wrong, without the file's name.
#[derive(Debug, thiserror::Error)]
pub enum WeightsProblem {
    /// The system does not give the file.
    #[error("cannot be read ({0})")]
    Read(io::Error),
    /// Neither safetensors nor a file of `torch.save`.
    #[error("{looks_like}, not a file of weights: give a safetensors file or one that torch.save wrote")]
    OtherFormat {
        /// What it is instead, as the start of a sentence.
        looks_like: String,
    },
    /// The content contradicts itself or ends too early.
    #[error("damaged or cut off ({what}); copy it again")]
    Damaged {
        /// What does not fit.
        what: String,
    },
    /// The file asks for a Python object that is no part of weights.
    #[error(
        "it holds the Python object `{global}`, which is refused, for unpickling it could run any code (nothing was \
         run); save only the weights: torch.save(model.state_dict(), FILE)"
    )]
    Refused {
        /// Its module and name.
        global: String,
    },
    /// Correct, but nothing that can be read here.
    #[error("{what}")]
    Unsupported {
        /// What it is, and what to do.
        what: String,
    },
    /// No dictionary of tensors where one would stand.
    #[error("there is no state dict in it: {found}")]
    NoStateDict {
        /// What is there instead.
        found: String,
    },
    /// Weights of another network.
    #[error("its weights are of another cell or network than the one given: {0}")]
    Mismatch(Box<Mismatch>),
    /// libtorch refuses to build or to copy a tensor of it.
    #[error("libtorch refuses its tensors ({0})")]
    Torch(#[from] tch::TchError),
}

impl WeightsProblem {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }

    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }
}

/// Text from a file, fit to stand in a line: escaped and not endless.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut short: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push_str("...");
    }
    short
}
