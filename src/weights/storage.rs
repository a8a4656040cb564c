//! Tensors laid over the storages of a `torch.save` file.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use super::WeightsProblem;
use super::error::quoted;
use super::pickle::{StorageRef, TensorRef};

/// Where a file keeps the bytes of its storages.
pub(super) trait StorageSource {
    /// The bytes of the whole storage under `key`, which the pickle says has `num_bytes`.
    ///
    /// # Errors
    /// When the file does not have them.
    fn bytes(&mut self, key: &str, num_bytes: u64) -> Result<Vec<u8>, WeightsProblem>;
}

/// Storages in libtorch's memory, each read once however many tensors share it.
pub(super) struct Storages<'a> {
    source: Box<dyn StorageSource + 'a>,
    /// By key, as bytes.
    read: HashMap<String, Tensor>,
}

impl<'a> Storages<'a> {
    pub fn new(source: impl StorageSource + 'a) -> Self {
        Self { source: Box::new(source), read: HashMap::new() }
    }

    /// The tensor that `description` describes: a view, with its strides, into the storage.
    ///
    /// # Errors
    /// A tensor that reaches beyond its storage or has an impossible shape, and a storage that the file does not have.
    pub fn tensor(&mut self, name: &str, description: &TensorRef<'_>) -> Result<Tensor, WeightsProblem> {
        let TensorRef { storage, kind, offset, size, stride } = description;
        let wrong = |what: &str| WeightsProblem::damaged(format!("{} {what}", quoted(name)));
        let extent = extent(*offset, size, stride).ok_or_else(|| wrong("has an impossible shape"))?;
        if size.contains(&0) {
            return Ok(Tensor::f_empty(size, (*kind, Device::Cpu))?);
        }
        let (start, length) = storage.part;
        let element = kind.elt_size_in_bytes() as u64;
        let available = (length / element).min(i64::MAX as u64) as i64;
        let end = start.checked_add(length).filter(|end| *end <= storage.num_bytes);
        if extent > available || end.is_none() {
            return Err(wrong("reaches beyond its storage"));
        }
        let whole = self.storage(storage)?;
        // Both below the length of the bytes that were read.
        let bytes = whole.f_narrow(0, start as i64, available * element as i64)?;
        let elements = if *kind == Kind::Uint8 { bytes } else { bytes.f_view_dtype(*kind)? };
        // A position within `elements`, which may start inside its storage.
        let offset = elements.f_storage_offset()? + offset;
        Ok(elements.f_as_strided(size, stride, offset)?)
    }

    fn storage(&mut self, storage: &StorageRef<'_>) -> Result<&Tensor, WeightsProblem> {
        if !self.read.contains_key(storage.key) {
            let bytes = self.source.bytes(storage.key, storage.num_bytes)?;
            let tensor = Tensor::f_from_data_size(&bytes, &[bytes.len() as i64], Kind::Uint8)?;
            self.read.insert(storage.key.to_owned(), tensor);
        }
        let tensor = &self.read[storage.key];
        if tensor.numel() as u64 != storage.num_bytes {
            return Err(WeightsProblem::damaged(format!("storage {} has two sizes", quoted(storage.key))));
        }
        Ok(tensor)
    }
}

/// How many elements of a storage a tensor needs; `None` for a shape that no tensor has.
fn extent(offset: i64, size: &[i64], stride: &[i64]) -> Option<i64> {
    if size.len() != stride.len() || offset < 0 || size.iter().chain(stride).any(|&value| value < 0) {
        return None;
    }
    size.iter().try_fold(1i64, |product, &length| product.checked_mul(length.max(1)))?;
    if size.contains(&0) {
        return Some(0);
    }
    let reach = |last: i64, (&length, &step): (&i64, &i64)| last.checked_add((length - 1).checked_mul(step)?);
    size.iter().zip(stride).try_fold(offset, reach)?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extent_is_the_last_element_plus_one() {
        assert_eq!(extent(0, &[2, 3], &[3, 1]), Some(6));
        assert_eq!(extent(4, &[2, 3], &[1, 2]), Some(10));
        assert_eq!(extent(7, &[], &[]), Some(8));
        assert_eq!(extent(0, &[1000, 2], &[0, 1]), Some(2));
        assert_eq!(extent(9, &[0, 5], &[5, 1]), Some(0));
    }

    #[test]
    fn impossible_shapes_have_no_extent() {
        let huge = i64::MAX / 2;
        for (offset, size, stride) in [
            (-1, vec![1], vec![1]),
            (0, vec![-1], vec![1]),
            (0, vec![2], vec![-1]),
            (0, vec![2], vec![]),
            (i64::MAX, vec![2], vec![1]),
            (0, vec![huge, huge], vec![0, 0]),
            (0, vec![huge, 0, huge], vec![0, 0, 0]),
            (0, vec![3], vec![huge + 1]),
        ] {
            assert_eq!(extent(offset, &size, &stride), None, "{offset} {size:?} {stride:?}");
        }
    }
}
