//! A tensor's bytes on the host, as safetensors files keep them.

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, View};
use tch::{Device, Tensor};

use super::error::quoted;
use super::{WeightsProblem, kinds};

/// A named tensor's elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// In its file.
    pub name: String,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Lengths of its dimensions.
    pub shape: Vec<usize>,
    /// The elements.
    pub bytes: Vec<u8>,
}

impl HostTensor {
    /// A copy of `tensor`, which may lie on any device, with any strides.
    ///
    /// # Errors
    /// A type that safetensors has no name for, and when libtorch refuses to copy.
    pub fn copy(name: &str, tensor: &Tensor) -> Result<Self, WeightsProblem> {
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
        Ok(Self { name: name.to_owned(), dtype, shape, bytes })
    }

    /// A copy of the tensor `name` of a file.
    pub fn of_file(name: &str, view: &TensorView<'_>) -> Self {
        Self { name: name.to_owned(), dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() }
    }

    /// Its values for libtorch, on the host.
    ///
    /// # Errors
    /// A type that libtorch does not have, and when it refuses to build the tensor.
    pub fn values(&self) -> Result<Tensor, WeightsProblem> {
        tensor_of(&self.name, self.dtype, &self.shape, &self.bytes)
    }

    /// Whether its dimensions have the lengths `shape`.
    pub fn has_shape(&self, shape: &[i64]) -> bool {
        self.shape.iter().map(|&length| length as i64).eq(shape.iter().copied())
    }
}

/// The tensor `name` with these `bytes`.
///
/// # Errors
/// A type that libtorch does not have, and when it refuses to build the tensor.
pub(super) fn tensor_of(name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<Tensor, WeightsProblem> {
    let kind = kinds::of_safetensors(dtype)
        .ok_or_else(|| WeightsProblem::unsupported(format!("{} has the type {dtype}, unknown here", quoted(name))))?;
    let shape: Vec<i64> = shape.iter().map(|&length| length as i64).collect();
    Ok(Tensor::f_from_data_size(bytes, &shape, kind)?)
}

/// The bytes of a safetensors file with `tensors` and `metadata`.
///
/// # Errors
/// When two tensors have one name, or sizes that no file can have.
pub fn safetensors_bytes(tensors: &[HostTensor], metadata: HashMap<String, String>) -> Result<Vec<u8>, WeightsProblem> {
    let views = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor));
    safetensors::serialize(views, Some(metadata)).map_err(|error| WeightsProblem::unsupported(error.to_string()))
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
