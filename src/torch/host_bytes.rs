//! Bytes of host memory to a device, in one copy on the host.

use std::slice;

use tch::kind::Element;
use tch::{Device, Kind, Tensor};

use super::TorchError;

/// A tensor of bytes on `device` that holds `parts` one after the other.
///
/// To a GPU they go from page-locked memory, and this does not wait for their copy. libtorch gives such memory out again
/// only when the copies from it have ended: one batch is written while another is on its way.
///
/// # Errors
/// When libtorch has no memory for them.
pub fn bytes_to_device(parts: &[&[u8]], device: Device) -> Result<Tensor, TorchError> {
    let num_bytes = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut host = Tensor::f_empty([num_bytes as i64], (Kind::Uint8, Device::Cpu))?;
    if device.is_cuda() {
        // What libtorch's `pin_memory` calls, without the warning that it has for every argument.
        host = host.f_internal_pin_memory(device)?;
    }
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
    fn parts_follow_each_other() {
        let tensor = bytes_to_device(&[&[1, 2], &[], &[255, 0, 7]], Device::Cpu).unwrap();
        assert_eq!(Vec::<u8>::try_from(tensor).unwrap(), [1, 2, 255, 0, 7]);
        assert_eq!(bytes_to_device(&[], Device::Cpu).unwrap().size(), [0]);
    }
}
