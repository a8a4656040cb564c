//! A batch of images on the device: moved as bytes, or there already, cut and normalised there.

use tch::{Device, Kind, Tensor};

use super::resident;
use crate::data::{Batch, CHANNELS, Colours, Rectangle, Window};
use crate::torch::{ImageWindow, TorchError, bytes_to_device, normalised_windows, values_to_device};

/// Images and their classes, ready for a network.
#[derive(Debug)]
pub struct ImageBatch {
    /// `[N, 3, H, W]`, channels last.
    pub images: Tensor,
    /// `[N]`, int64.
    pub labels: Tensor,
}

impl ImageBatch {
    /// Copies a loaded batch to `device`, unless its source lies there, and normalises it there, with floating-point type `kind`.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of device memory.
    pub fn from_host(batch: &Batch, device: Device, kind: Kind) -> Result<Self, TorchError> {
        let images = match batch.source() {
            Some(source) => resident::images_on(device, source)?,
            None => {
                let (num_images, side) = (batch.len() as i64, batch.side() as i64);
                let pixels: Vec<&[u8]> = batch.pixels().collect();
                bytes_to_device(&pixels, device)?.f_view([num_images, side, side, CHANNELS as i64])?
            }
        };
        let Colours { mean, std } = batch.colours();
        Ok(Self {
            images: normalised_windows(&images, &windows(batch), mean, std, kind)?,
            labels: values_to_device(batch.labels(), device)?,
        })
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

    /// The same tensors.
    pub fn shallow_clone(&self) -> Self {
        Self { images: self.images.shallow_clone(), labels: self.labels.shallow_clone() }
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

/// The windows of `batch` on the images of its source, or on its own, which are in order.
fn windows(batch: &Batch) -> Vec<ImageWindow> {
    let image = |place: usize, index: u32| if batch.source().is_some() { index } else { place as u32 };
    let windows = batch.indices().iter().zip(batch.windows()).enumerate();
    let window = |(place, (&index, window)): (usize, (&u32, &Window))| {
        let Rectangle { top, bottom, left, right } = window.erased;
        let erased = [top, bottom, left, right].map(|edge| edge as i32); // of an image's size at most
        ImageWindow {
            image: image(place, index),
            top: window.top,
            left: window.left,
            mirrored: window.mirrored,
            erased,
        }
    };
    windows.map(window).collect()
}
