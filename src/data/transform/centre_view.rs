//! The middle of an image, as networks see it in evaluation on ImageNet.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use super::{Draw, Rectangle, Scratch, Transform, UnreadableImage};
use crate::data::{CHANNELS, StoredImage, encoded};

/// The middle of an image whose shorter side is first brought to a given length, bilinear with antialiasing, as in
/// torchvision's `Resize` and `CenterCrop` of PIL images.
#[derive(Copy, Clone, Debug)]
pub struct CentreView {
    /// Length of the shorter side, in pixels.
    pub resize: usize,
    /// Height and width of the result; at most `resize`.
    pub crop: usize,
}

impl CentreView {
    /// What the ImageNet networks of the paper are evaluated on.
    pub const IMAGENET: CentreView = CentreView { resize: 256, crop: 224 };

    fn resized(&self, image: &RgbImage, resizer: &mut Resizer) -> Result<RgbImage, String> {
        let (width, height) = image.dimensions();
        let (resize, shorter) = (self.resize as u64, u64::from(width.min(height)));
        // As torchvision does, the longer side is rounded down.
        let scaled = |side: u32| u32::try_from(u64::from(side) * resize / shorter).unwrap_or(u32::MAX);
        let (new_width, new_height) = (scaled(width), scaled(height));
        let source =
            ImageRef::new(width, height, image.as_raw(), PixelType::U8x3).map_err(|error| error.to_string())?;
        let mut target = Image::new(new_width, new_height, PixelType::U8x3);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        resizer.resize(&source, &mut target, &options).map_err(|error| error.to_string())?;
        RgbImage::from_raw(new_width, new_height, target.into_vec()).ok_or_else(|| "has no pixels".to_owned())
    }

    /// Copies the middle to `out`, `[crop, crop, 3]`.
    fn cropped(&self, image: &RgbImage, out: &mut [u8]) {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let (left, top) = (middle(width, self.crop), middle(height, self.crop));
        let rows = image.as_raw().chunks_exact(width * CHANNELS).skip(top);
        for (out, row) in out.chunks_exact_mut(self.crop * CHANNELS).zip(rows) {
            out.copy_from_slice(&row[left * CHANNELS..][..self.crop * CHANNELS]);
        }
    }
}

impl Transform for CentreView {
    fn side(&self) -> usize {
        self.crop
    }

    fn apply(
        &self,
        image: StoredImage<'_>,
        _draw: Draw,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<Rectangle, UnreadableImage> {
        let decoded = decoded(image).map_err(UnreadableImage)?;
        let resized = self.resized(&decoded, &mut scratch.resizer).map_err(UnreadableImage)?;
        self.cropped(&resized, out);
        Ok(Rectangle::default())
    }
}

fn decoded(image: StoredImage<'_>) -> Result<RgbImage, String> {
    match image {
        StoredImage::Pixels { bytes, width, height } => RgbImage::from_raw(width as u32, height as u32, bytes.to_vec())
            .ok_or_else(|| format!("{} bytes are not {width}x{height} pixels", bytes.len())),
        StoredImage::Encoded(bytes) => encoded::decode(bytes),
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
        let view = CentreView { resize: 40, crop: 32 };
        for name in ["wide", "tall", "small"] {
            let input = file.tensor(&format!("{name}.input")).unwrap();
            let [height, width, _] = input.shape().try_into().unwrap();
            let stored = StoredImage::Pixels { bytes: input.data(), width, height };
            let mut found = vec![0; 32 * 32 * CHANNELS];
            view.apply(stored, Draw { epoch: 0, index: 0 }, &mut Scratch::default(), &mut found).unwrap();
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
