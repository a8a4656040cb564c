//! Weight files: a network's tensors by name, read from and written to what the field exchanges.
//!
//! [`StateDict::read`] tells three formats apart by their content:
//! - safetensors;
//! - `torch.save`'s zip archive (PyTorch 1.6 and later);
//! - `torch.save`'s older stream, which the authors' checkpoints of 2019 use.
//!
//! The two of `torch.save` describe their tensors in Python's pickle language, whose objects can run any command when
//! Python reads them. Here `pickle` reads it: a machine of our own that knows tensors, containers, numbers and text,
//! and refuses all else by name. Nothing in a file is ever executed, lengths are checked against the file before memory
//! is taken for them, and a damaged file is an error.
//!
//! [`StateDict::build`] makes the network of the tensors, once it is known of which cell they are.

mod error;
mod fit;
mod host_tensor;
mod images;
mod kinds;
mod pickle;
mod safetensors_file;
mod state_dict;
mod storage;
mod torch_legacy;
mod torch_zip;

#[cfg(test)]
mod tests;

pub use error::{WeightsError, WeightsProblem};
pub use fit::{Mismatch, NETWORK_KEY};
pub use host_tensor::{HostTensor, safetensors_bytes};
pub use images::{COLOURS_KEY, IMAGES_KEY, TrainedOn};
pub use safetensors_file::to_safetensors;
pub use state_dict::{Format, StateDict};
