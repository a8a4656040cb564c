//! Safetensors: a header in JSON, then the tensors' bytes; no code, no strides.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use safetensors::{Dtype, SafeTensorError, SafeTensors, View};
use tch::{Device, Tensor};

use super::error::quoted;
use super::{WeightsProblem, kinds};

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
        let kind = kinds::of_safetensors(view.dtype()).ok_or_else(|| {
            WeightsProblem::unsupported(format!("{} has the type {}, unknown here", quoted(name), view.dtype()))
        })?;
        let shape: Vec<i64> = view.shape().iter().map(|&length| length as i64).collect();
        tensors.insert(name.to_owned(), Tensor::f_from_data_size(view.data(), &shape, kind)?);
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
    let copies = tensors.iter().map(|(name, tensor)| Ok((name, HostTensor::copy(name, tensor)?)));
    let copies: Vec<_> = copies.collect::<Result<_, WeightsProblem>>()?;
    let views = copies.iter().map(|(name, copy)| (name.as_str(), copy));
    safetensors::serialize(views, Some(metadata)).map_err(|error| WeightsProblem::unsupported(error.to_string()))
}

/// A tensor's elements in row-major order.
struct HostTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl HostTensor {
    fn copy(name: &str, tensor: &Tensor) -> Result<Self, WeightsProblem> {
        let kind = tensor.f_kind()?;
        let dtype = kinds::to_safetensors(kind).ok_or_else(|| {
            WeightsProblem::unsupported(format!(
                "{} is of type {kind:?}, which safetensors does not have",
                quoted(name)
            ))
        })?;
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let mut bytes = vec![0; tensor.numel() * kind.elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
        let shape = tensor.size().iter().map(|&length| length as usize).collect();
        Ok(Self { dtype, shape, bytes })
    }
}

impl View for &HostTensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
