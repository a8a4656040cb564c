//! One image file as a network sees it in evaluation: decoded, resized, cropped, normalised.

use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use crate::data::byte_table::{ByteTable, byte_table};
use crate::data::{CHANNELS, DataError, encoded};

/// The middle of an image whose shorter side is first brought to a given length, bilinear with antialiasing, as in
/// torchvision's `Resize` and `CenterCrop` of PIL images.
#[derive(Debug)]
pub(super) struct CentreView {
    /// Length of the shorter side, in pixels.
    pub resize: usize,
    /// Height and width of the result.
    pub crop: usize,
    normalised: ByteTable,
}

impl CentreView {
    pub fn new(resize: usize, crop: usize, mean: [f32; CHANNELS], std: [f32; CHANNELS]) -> Self {
        Self { resize, crop, normalised: byte_table(mean, std) }
    }

    /// What the ImageNet networks of the paper are evaluated on.
    pub fn imagenet() -> Self {
        Self::new(256, 224, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    }

    /// Appends the view of the image in a file, `[crop, crop, 3]`.
    ///
    /// # Errors
    /// When it cannot be read or decoded.
    pub fn append(&self, path: &Path, pixels: &mut Vec<f32>) -> Result<(), DataError> {
        let refused = |reason: String| DataError::Image { path: path.into(), reason };
        let bytes = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
        let image = encoded::decode(&bytes).map_err(refused)?;
        let resized = self.resized(&image).map_err(refused)?;
        pixels.extend(self.cropped(&resized));
        Ok(())
    }

    fn resized(&self, image: &RgbImage) -> Result<RgbImage, String> {
        let (width, height) = image.dimensions();
        let (resize, shorter) = (self.resize as u64, u64::from(width.min(height)));
        // As torchvision does, the longer side is rounded down.
        let scaled = |side: u32| u32::try_from(u64::from(side) * resize / shorter).unwrap_or(u32::MAX);
        let (new_width, new_height) = (scaled(width), scaled(height));
        let source =
            ImageRef::new(width, height, image.as_raw(), PixelType::U8x3).map_err(|error| error.to_string())?;
        let mut target = Image::new(new_width, new_height, PixelType::U8x3);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        Resizer::new().resize(&source, &mut target, &options).map_err(|error| error.to_string())?;
        RgbImage::from_raw(new_width, new_height, target.into_vec()).ok_or_else(|| "has no pixels".to_owned())
    }

    /// The middle, normalised; pixel by pixel, channels last.
    fn cropped(&self, image: &RgbImage) -> impl Iterator<Item = f32> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let (left, top) = (middle(width, self.crop), middle(height, self.crop));
        let row_bytes = self.crop * CHANNELS;
        let rows = image.as_raw().chunks_exact(width * CHANNELS).skip(top).take(self.crop);
        let bytes = rows.flat_map(move |row| row.iter().skip(left * CHANNELS).take(row_bytes));
        bytes.enumerate().map(|(position, &byte)| self.normalised[position % CHANNELS][usize::from(byte)])
    }
}

/// Where a crop begins, as in torchvision: Python's rounding, halves to even.
fn middle(size: usize, crop: usize) -> usize {
    let difference = size.saturating_sub(crop);
    let half = difference / 2;
    if difference % 2 == 1 && half % 2 == 1 { half + 1 } else { half }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    /// Resized by the Python Imaging Library and cropped by torchvision's rule: `tests/fixtures/resize/pil.safetensors`.
    #[test]
    fn view_is_that_of_pil() {
        let bytes =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/resize/pil.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let view = CentreView::new(40, 32, [0.0; 3], [1.0; 3]);
        for name in ["wide", "tall", "small"] {
            let input = file.tensor(&format!("{name}.input")).unwrap();
            let [height, width, _] = input.shape().try_into().unwrap();
            let image = RgbImage::from_raw(width as u32, height as u32, input.data().to_vec()).unwrap();
            let found: Vec<u8> =
                view.cropped(&view.resized(&image).unwrap()).map(|value| (value * 255.0).round() as u8).collect();
            let expected = file.tensor(&format!("{name}.output")).unwrap();
            assert_eq!(expected.shape(), [32, 32, 3]);
            let differences = found.iter().zip(expected.data()).map(|(&a, &b)| a.abs_diff(b));
            assert!(differences.max().unwrap() <= 1, "{name}");
        }
    }

    #[test]
    fn crops_begin_where_torchvision_begins_them() {
        // round((size - crop) / 2.0) of Python
        assert_eq!([32, 33, 34, 35, 36, 37].map(|size| middle(size, 32)), [0, 0, 1, 2, 2, 2]);
    }
}
