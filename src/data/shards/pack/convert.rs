//! One image on its way into a shard: checked, and made smaller where that is asked for.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat, RgbImage};

use super::PackOptions;
use crate::data::encoded;

/// An image file.
pub(super) struct Converted {
    pub bytes: Vec<u8>,
    /// `jpg` or `png`.
    pub extension: &'static str,
}

/// Decodes the file `bytes` and returns it as it is, or smaller if its longer side is beyond the limit.
///
/// # Errors
/// Why it is not a whole image, as the rest of a line.
pub(super) fn convert(bytes: &[u8], options: &PackOptions) -> Result<Converted, String> {
    let image = encoded::decode(bytes)?;
    let longer = image.width().max(image.height());
    if let Some(limit) = options.max_side.filter(|&limit| longer > limit) {
        return shrunk(&image, limit, options.quality);
    }
    let extension = if encoded::format(bytes) == Some(ImageFormat::Png) { "png" } else { "jpg" };
    Ok(Converted { bytes: bytes.to_vec(), extension })
}

/// The image with its longer side brought to `limit`, as JPEG.
fn shrunk(image: &RgbImage, limit: u32, quality: u8) -> Result<Converted, String> {
    let (width, height) = image.dimensions();
    let longer = u64::from(width.max(height));
    // Rounded to the nearest pixel.
    let scaled = |side: u32| ((u64::from(side) * u64::from(limit) * 2 + longer) / (2 * longer)).max(1) as u32;
    let (new_width, new_height) = (scaled(width), scaled(height));
    let source = ImageRef::new(width, height, image.as_raw(), PixelType::U8x3).map_err(|error| error.to_string())?;
    let mut target = Image::new(new_width, new_height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    Resizer::new().resize(&source, &mut target, &options).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(target.buffer(), new_width, new_height, ExtendedColorType::Rgb8)
        .map_err(|error| error.to_string())?;
    Ok(Converted { bytes, extension: "jpg" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(max_side: Option<u32>) -> PackOptions {
        PackOptions { max_side, ..PackOptions::default() }
    }

    fn jpeg(width: u32, height: u32) -> Vec<u8> {
        let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 128]));
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 95).encode_image(&image).unwrap();
        bytes
    }

    #[test]
    fn images_within_the_limit_stay_as_they_are() {
        let bytes = jpeg(100, 60);
        for limit in [None, Some(100), Some(500)] {
            assert_eq!(convert(&bytes, &options(limit)).unwrap().bytes, bytes);
        }
    }

    #[test]
    fn larger_images_keep_their_shape_and_look() {
        let bytes = jpeg(200, 130);
        let small = encoded::decode(&convert(&bytes, &options(Some(50))).unwrap().bytes).unwrap();
        assert_eq!(small.dimensions(), (50, 33));
        for (x, y) in [(10, 10), (25, 16), (40, 30)] {
            let [red, green, _] = small.get_pixel(x, y).0;
            assert!(red.abs_diff((x * 4 + 2) as u8) < 8 && green.abs_diff((y * 4 + 2) as u8) < 8, "{red} {green}");
        }
        assert_eq!(encoded::decode(&convert(&jpeg(900, 1), &options(Some(50))).unwrap().bytes).unwrap().height(), 1);
    }
}
