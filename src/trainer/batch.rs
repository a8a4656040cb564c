//! A batch of images on the device: moved as bytes, normalised there.

use tch::{Device, Kind, Tensor};

use crate::data::{Batch, CHANNELS, Colours, Rectangle};
use crate::torch::{TorchError, bytes_to_device, values_to_device};

/// Images and their classes, ready for a network.
#[derive(Debug)]
pub struct ImageBatch {
    /// `[N, 3, H, W]`, channels last.
    pub images: Tensor,
    /// `[N]`, int64.
    pub labels: Tensor,
}

impl ImageBatch {
    /// Copies a loaded batch to `device` and normalises it there, with floating-point type `kind`.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of device memory.
    pub fn from_host(batch: &Batch, device: Device, kind: Kind) -> Result<Self, TorchError> {
        let (num_images, side) = (batch.len() as i64, batch.side() as i64);
        let pixels: Vec<&[u8]> = batch.pixels().collect();
        let bytes = bytes_to_device(&pixels, device)?.f_view([num_images, side, side, CHANNELS as i64])?;
        let mut images = normalised(&bytes, batch.colours())?;
        if batch.erased().iter().any(|rectangle| !rectangle.is_empty()) {
            images = erase(images, batch.erased())?;
        }
        Ok(Self {
            images: images.f_permute([0, 3, 1, 2])?.f_to_kind(kind)?,
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

/// `(byte / 255 - mean) / std` of `[N, H, W, 3]` bytes, each operation rounded to float32.
///
/// The operands are tensors on the device: libtorch's CUDA kernels multiply by the rounded inverse of a number that they
/// are to divide by.
fn normalised(bytes: &Tensor, colours: Colours) -> Result<Tensor, TorchError> {
    let (size, device) = (bytes.size(), bytes.device());
    let row = size[2] * size[3]; // rows of whole images: long loops over contiguous memory
    let by_channel = |values: [f32; CHANNELS]| -> Result<_, TorchError> {
        Ok(values_to_device(&values, device)?.f_repeat([size[2]])?)
    };
    let largest = Tensor::f_full([1], 255.0, (Kind::Float, device))?;
    let mut values = bytes.f_view([-1, row])?.f_to_kind(Kind::Float)?;
    let _ = values.f_div_(&largest)?;
    let _ = values.f_sub_(&by_channel(colours.mean)?)?;
    let _ = values.f_div_(&by_channel(colours.std)?)?;
    Ok(values.f_view(&size[..])?)
}

/// Fills a rectangle of each of `images` `[N, H, W, 3]` with zeros, the mean of normalised images.
fn erase(mut images: Tensor, rectangles: &[Rectangle]) -> Result<Tensor, TorchError> {
    let (size, device) = (images.size(), images.device());
    let edges: Vec<i64> = rectangles
        .iter()
        .flat_map(|edge| [edge.top, edge.bottom, edge.left, edge.right])
        .map(|edge| edge as i64)
        .collect();
    let edges = values_to_device(&edges, device)?.f_view([-1, 4, 1])?;
    let between = |first: i64, length: i64| {
        let place = Tensor::f_arange(length, (Kind::Int64, device))?;
        let (start, end) = (edges.f_select(1, first)?, edges.f_select(1, first + 1)?); // [N, 1]
        place.f_ge_tensor(&start)?.f_logical_and(&place.f_lt_tensor(&end)?)
    };
    let (rows, columns) = (between(0, size[1])?, between(2, size[2])?); // [N, H], [N, W]
    let mask = rows.f_unsqueeze(2)?.f_logical_and(&columns.f_unsqueeze(1)?)?;
    Ok(images.f_masked_fill_(&mask.f_unsqueeze(3)?, 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of ImageNet, CIFAR-10, CIFAR-100, and two that are easy to compute with.
    const COLOURS: [Colours; 5] = [
        Colours::IMAGENET,
        Colours { mean: [0.491_399_68, 0.482_158_27, 0.446_531_24], std: [0.247_032_33, 0.243_485_05, 0.261_587_68] },
        Colours { mean: [0.5071, 0.4867, 0.4408], std: [0.2675, 0.2565, 0.2761] },
        Colours { mean: [0.0; 3], std: [1.0; 3] },
        Colours { mean: [0.5, 0.25, 0.0], std: [0.5, 0.25, 1.0] },
    ];

    /// `[1, 16, 16, 3]`: every value in every channel.
    fn all_bytes() -> Tensor {
        let values: Vec<u8> = (0..=255).flat_map(|byte| [byte; CHANNELS]).collect();
        Tensor::from_slice(&values).view([1, 16, 16, 3])
    }

    #[test]
    fn every_byte_of_every_channel_is_normalised_to_the_same_bits_as_one_by_one() {
        for colours in COLOURS {
            let found = Vec::<f32>::try_from(normalised(&all_bytes(), colours).unwrap().flatten(0, -1)).unwrap();
            for (position, found) in found.iter().enumerate() {
                let (byte, channel) = (position / CHANNELS, position % CHANNELS);
                let expected = (byte as f32 / 255.0 - colours.mean[channel]) / colours.std[channel];
                assert_eq!(found.to_bits(), expected.to_bits(), "byte {byte}, channel {channel}");
            }
        }
    }

    #[test]
    fn images_of_any_size_are_normalised_alike() {
        let bytes = Tensor::randint(256, [3, 7, 7, 3], (Kind::Uint8, Device::Cpu));
        let colours = Colours::IMAGENET;
        let [mean, std] = [colours.mean, colours.std].map(|values| Tensor::from_slice(&values));
        let expected = (bytes.to_kind(Kind::Float) / Tensor::from(255.0f32) - mean) / std;
        assert!(normalised(&bytes, colours).unwrap().equal(&expected));
    }

    #[test]
    fn rectangles_are_erased_from_their_images_alone() {
        let rectangles = [
            Rectangle::default(),
            Rectangle { top: 1, bottom: 3, left: 0, right: 5 },
            Rectangle { top: 0, bottom: 5, left: 4, right: 5 },
        ];
        let images = erase(Tensor::ones([3, 5, 5, 2], (Kind::Float, Device::Cpu)), &rectangles).unwrap();
        for (image, rectangle) in rectangles.iter().enumerate() {
            for (row, column) in (0..25).map(|place| (place / 5, place % 5)) {
                let rows = rectangle.top..rectangle.bottom;
                let inside = rows.contains(&row) && (rectangle.left..rectangle.right).contains(&column);
                for channel in 0..2 {
                    let value = images.double_value(&[image as i64, row as i64, column as i64, channel]);
                    assert_eq!(value, if inside { 0.0 } else { 1.0 }, "image {image}, {row}, {column}");
                }
            }
        }
    }
}
