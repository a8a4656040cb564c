//! Safetensors: a header in JSON, then the tensors' bytes; no code, no strides.

use std::collections::{BTreeMap, HashMap};

use safetensors::{SafeTensorError, SafeTensors};
use tch::Tensor;

use super::WeightsProblem;
use super::error::quoted;
use super::host_tensor::{HostTensor, safetensors_bytes, tensor_of};

/// Tensors by name, and the texts that a file says about itself.
type Content = (BTreeMap<String, Tensor>, HashMap<String, String>);

/// Whether `bytes` starts as a safetensors file does: the length of the header, then an object.
pub(super) fn recognises(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

/// Everything in the file `bytes`.
///
/// # Errors
/// A damaged file, or a type that libtorch does not have.
pub(super) fn read(bytes: &[u8]) -> Result<Content, WeightsProblem> {
    let damaged = |error: SafeTensorError| WeightsProblem::damaged(quoted(&error.to_string()));
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        tensors.insert(name.to_owned(), tensor_of(name, view.dtype(), view.shape(), view.data())?);
    }
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

/// The bytes of a safetensors file with `tensors` and `metadata`.
///
/// Python reads it with `safetensors.torch.load_file`. Tensors may lie on any device, with any strides.
///
/// # Errors
/// A type that safetensors has no name for.
pub fn to_safetensors(
    tensors: &BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, WeightsProblem> {
    let copies = tensors.iter().map(|(name, tensor)| HostTensor::copy(name, tensor));
    safetensors_bytes(&copies.collect::<Result<Vec<_>, _>>()?, metadata)
}
