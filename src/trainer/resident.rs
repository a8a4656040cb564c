//! Small images that lie on a GPU for as long as their source is used, so that a step sends it nothing but windows.

use std::any::Any;
use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind, Tensor};

use crate::data::{CHANNELS, Pixels, Source};
use crate::torch::{TorchError, gpu_kernels_serve};

/// Most bytes of a set that a GPU keeps: CIFAR's 50,000 training images are 154 MB, little beside what a step's activations
/// take. Larger images are files, which the loader decodes.
const MOST_BYTES: usize = 256 << 20;

/// Whether the images of `source` shall lie on `device`: on a GPU that cuts windows out of them by a kernel.
pub(super) fn stays_on(source: &dyn Source, device: Device) -> bool {
    let is_small = |pixels: &Pixels| pixels.bytes().len() <= MOST_BYTES;
    device.is_cuda() && source.pixels().is_some_and(is_small) && gpu_kernels_serve()
}

/// All images of `source`, of which there are [`Source::pixels`], on `device` `[M, side, side, 3]`: copied there the first
/// time, and kept with it.
///
/// # Errors
/// When libtorch has no memory for them.
pub(super) fn images_on(device: Device, source: &dyn Source) -> Result<Tensor, TorchError> {
    let (Some(pixels), Some(side)) = (source.pixels(), source.side()) else {
        return Err(TorchError::Shim("images are asked for that are not in memory".into()));
    };
    let kept = pixels.copy().get().and_then(|kept| kept.downcast_ref::<Mutex<Tensor>>());
    let kept = kept.map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner).shallow_clone());
    if let Some(images) = kept.filter(|images| images.device() == device) {
        return Ok(images);
    }
    let size = [-1, side as i64, side as i64, CHANNELS as i64];
    let bytes = pixels.bytes();
    // From memory that is not page-locked, for libtorch would keep as much of that until the run ends.
    let images =
        Tensor::f_from_data_size(bytes, &[bytes.len() as i64], Kind::Uint8)?.f_to_device(device)?.f_view(size)?;
    let kept: Box<dyn Any + Send + Sync> = Box::new(Mutex::new(images.shallow_clone()));
    let _ = pixels.copy().set(kept); // a process has one device: what there is stays
    Ok(images)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::{DatasetKind, Split, open};

    #[test]
    fn images_are_copied_once_and_stay_as_they_are() {
        let source = open(DatasetKind::Photodigits, Path::new(""), Split::Test).unwrap();
        let [first, second] = [0, 1].map(|_| images_on(Device::Cpu, &*source).unwrap());
        assert_eq!((first.size(), first.data_ptr()), (vec![500, 32, 32, 3], second.data_ptr()));
        assert_eq!(Vec::<u8>::try_from(first.flatten(0, -1)).unwrap(), source.pixels().unwrap().bytes());
        // A CPU cuts them where they are.
        assert!(!stays_on(&*source, Device::Cpu));
    }
}
