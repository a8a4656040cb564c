//! Bytes of host memory to a device, in one copy on the host.

use std::ffi::c_char;
use std::{ptr, slice};

use tch::kind::Element;
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::{TorchError, take_message};

unsafe extern "C" {
    fn pdarts_page_locked_bytes(num_bytes: i64, bytes: *mut *mut C_tensor) -> *mut c_char;
}

/// A tensor of bytes on `device` that holds `parts` one after the other.
///
/// To a GPU they go from page-locked memory, and this does not wait for their copy. libtorch gives such memory out again
/// only when the copies from it have ended: one batch is written while another is on its way.
///
/// # Errors
/// When libtorch has no memory for them.
pub fn bytes_to_device(parts: &[&[u8]], device: Device) -> Result<Tensor, TorchError> {
    let num_bytes = parts.iter().map(|part| part.len()).sum::<usize>();
    let host = match device.is_cuda() {
        true => page_locked(num_bytes as i64)?,
        false => Tensor::f_empty([num_bytes as i64], (Kind::Uint8, Device::Cpu))?,
    };
    if num_bytes > 0 {
        // SAFETY: a contiguous tensor of so many bytes in host memory that nobody else knows yet; every byte is a valid
        // `u8`, and all are written before they are read.
        let mut target = unsafe { slice::from_raw_parts_mut(host.data_ptr().cast::<u8>(), num_bytes) };
        for part in parts {
            let (head, tail) = target.split_at_mut(part.len());
            head.copy_from_slice(part);
            target = tail;
        }
    }
    Ok(host.f_to_device_(device, Kind::Uint8, device.is_cuda(), false)?)
}

/// `[num_bytes]` that a GPU can read by itself, whatever they are.
fn page_locked(num_bytes: i64) -> Result<Tensor, TorchError> {
    let mut bytes = ptr::null_mut();
    // SAFETY: on success the shim stores a new tensor in `bytes`.
    take_message(unsafe { pdarts_page_locked_bytes(num_bytes, &mut bytes) })?;
    // SAFETY: the shim succeeded, so `bytes` is a tensor that nobody else owns.
    Ok(unsafe { Tensor::from_ptr(bytes) })
}

/// `values` on `device`, as [`bytes_to_device`] copies them.
///
/// # Errors
/// When libtorch has no memory for them.
pub fn values_to_device<T: Element>(values: &[T], device: Device) -> Result<Tensor, TorchError> {
    // SAFETY: the slice's own bytes; libtorch's elements are plain numbers without padding, so that each may be read.
    let bytes = unsafe { slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
    Ok(bytes_to_device(&[bytes], device)?.f_view_dtype(T::KIND)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_type() {
        let labels = values_to_device(&[3i64, -1], Device::Cpu).unwrap();
        assert_eq!((labels.kind(), Vec::<i64>::try_from(labels).unwrap()), (Kind::Int64, vec![3, -1]));
        assert_eq!(Vec::<f32>::try_from(values_to_device(&[0.25f32], Device::Cpu).unwrap()).unwrap(), [0.25]);
    }

    #[test]
    fn memory_is_locked_for_a_gpu_or_told_not_to_be() {
        match page_locked(3) {
            Ok(bytes) => assert!(tch::Cuda::is_available() && bytes.size() == [3]),
            Err(error) => assert!(!tch::Cuda::is_available() && error.to_string().lines().count() == 1, "{error}"),
        }
    }

    #[test]
    fn parts_follow_each_other() {
        let tensor = bytes_to_device(&[&[1, 2], &[], &[255, 0, 7]], Device::Cpu).unwrap();
        assert_eq!(Vec::<u8>::try_from(tensor).unwrap(), [1, 2, 255, 0, 7]);
        assert_eq!(bytes_to_device(&[], Device::Cpu).unwrap().size(), [0]);
    }
}
