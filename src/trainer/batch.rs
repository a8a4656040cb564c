//! A batch of images on the device.

use tch::{Device, Kind, Tensor};

use crate::data::{Batch, CHANNELS};
use crate::torch::TorchError;

/// Images and their classes, ready for a network.
#[derive(Debug)]
pub struct ImageBatch {
    /// `[N, 3, H, W]`, channels last.
    pub images: Tensor,
    /// `[N]`, int64.
    pub labels: Tensor,
}

impl ImageBatch {
    /// Copies a loaded batch to `device` with floating-point type `kind`.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of device memory.
    pub fn from_host(batch: &Batch, device: Device, kind: Kind) -> Result<Self, TorchError> {
        let (num_images, height, width) = (batch.len() as i64, batch.height as i64, batch.width as i64);
        let pixels = Tensor::f_from_slice(&batch.pixels)?;
        let images = pixels
            .f_view([num_images, height, width, CHANNELS as i64])?
            .f_permute([0, 3, 1, 2])?
            .f_to_device(device)?
            .f_to_kind(kind)?;
        Ok(Self { images, labels: Tensor::f_from_slice(&batch.labels)?.f_to_device(device)? })
    }

    /// The images in `count` equal parts, in order.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn parts(&self, count: usize) -> Result<Vec<ImageBatch>, TorchError> {
        let count = count.max(1) as i64;
        let (images, labels) = (self.images.f_chunk(count, 0)?, self.labels.f_chunk(count, 0)?);
        Ok(images.into_iter().zip(labels).map(|(images, labels)| ImageBatch { images, labels }).collect())
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.numel()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
