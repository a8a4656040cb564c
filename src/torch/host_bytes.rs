//! Bytes of host memory to a device, in one copy on the host.

use std::slice;

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::{TorchError, c_char, ptr, take_message};

unsafe extern "C" {
    fn pdarts_pinned_bytes(num_bytes: i64, output: *mut *mut C_tensor) -> *mut c_char;
}

/// A tensor of bytes on `device` that holds `parts` one after the other.
///
/// To a GPU they travel through pinned memory, which libtorch uses again: the call returns before they are there, and what
/// is queued next on the device waits for them.
///
/// # Errors
/// When libtorch has no memory for them.
pub fn bytes_to_device(parts: &[&[u8]], device: Device) -> Result<Tensor, TorchError> {
    let num_bytes = parts.iter().map(|part| part.len()).sum::<usize>() as i64;
    let host = match device {
        Device::Cuda(_) => pinned_bytes(num_bytes)?,
        _ => Tensor::f_empty([num_bytes], (Kind::Uint8, Device::Cpu))?,
    };
    // SAFETY: a contiguous tensor of bytes in host memory of this length, that nobody else knows yet; every byte value is
    // a `u8`, and the bytes are written before they are read.
    let mut target = unsafe { slice::from_raw_parts_mut(host.data_ptr().cast::<u8>(), host.numel()) };
    for part in parts {
        let (head, tail) = target.split_at_mut(part.len());
        head.copy_from_slice(part);
        target = tail;
    }
    Ok(host.f_to_device_(device, Kind::Uint8, true, false)?)
}

/// Memory that a GPU reads by itself.
fn pinned_bytes(num_bytes: i64) -> Result<Tensor, TorchError> {
    let mut output = ptr::null_mut();
    // SAFETY: `output` has room for one pointer.
    take_message(unsafe { pdarts_pinned_bytes(num_bytes, &mut output) })?;
    // SAFETY: the shim succeeded, so this is a tensor that nobody else owns.
    Ok(unsafe { Tensor::from_ptr(output) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other() {
        let tensor = bytes_to_device(&[&[1, 2], &[], &[255, 0, 7]], Device::Cpu).unwrap();
        assert_eq!(Vec::<u8>::try_from(tensor).unwrap(), [1, 2, 255, 0, 7]);
        assert_eq!(bytes_to_device(&[], Device::Cpu).unwrap().size(), [0]);
    }
}
