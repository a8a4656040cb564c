//! The networks that a found cell is retrained in: stem, cells, auxiliary head, linear layer.
//!
//! They are the authors' (`NetworkCIFAR` and `NetworkImageNet`), tensor by tensor under the authors' state-dict names,
//! arranged to compute each thing once: every reader of a cell's output begins with a ReLU, so the ReLU of it is what
//! cells pass on; depthwise convolutions apply their ReLU while they read; a pooling of a state that two edges share is
//! computed once.
//!
//! Source: P-DARTS (arXiv:1904.12760), section 4.3, and the authors' code.

mod auxiliary;
mod cell;
mod description;
mod drop_path;
mod network;
mod operation;
mod state;

pub use description::NetworkDescription;
pub use network::{EvaluationNetwork, NetworkError, NetworkMode, NetworkOutput};
