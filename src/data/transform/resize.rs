//! Resizing with a filter that grows with the reduction ("antialiased"), as the Python Imaging Library does it.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use pdarts_jpeg::Shrink;
use serde::{Deserialize, Serialize};

use super::decode::{Decoded, ImageError};

/// How pixels are interpolated.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// A triangle of twice the reduction's width.
    #[default]
    Bilinear,
    /// The cubic of Catmull and Rom, four times as wide as the reduction.
    Bicubic,
}

impl Filter {
    /// How far it reaches, in pixels of the result, or of the source where that is the coarser.
    pub(super) fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }
}

/// A rectangle between pixels.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) struct Region {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// The most by which an image may be decoded smaller when `reduction` source pixels become one.
///
/// A reduction by 2 or 3 is left, so that the filter, not the decoder, decides what is seen. On photos of ImageNet that
/// changes the bilinear view by 0.3 (a quarter, from a reduction of 12 on) to 0.6 (a half, from 4 on) of 255 in the mean
/// at most, 1.0 in the worst photo; going to a quarter at 8 already would change it by 1.0, 1.5 in the worst.
pub(super) fn shrink_for(reduction: f64) -> Shrink {
    let fitting = [(Shrink::Eighth, 24.0), (Shrink::Quarter, 12.0), (Shrink::Half, 4.0)];
    let fitting = fitting.into_iter().find(|&(_, least)| reduction >= least);
    fitting.map_or(Shrink::Full, |(shrink, _)| shrink)
}

/// Resizes `region`, in pixels of the picture, to `out` of `[out_height, out_width, 3]`.
///
/// What of `decoded` lies beside the region is what the filter sees there; beyond `decoded` it sees nothing.
///
/// # Errors
/// When `decoded` does not cover the region.
pub(super) fn resize(
    resizer: &mut Resizer,
    decoded: &Decoded,
    region: &Region,
    filter: Filter,
    (out_width, out_height): (usize, usize),
    out: &mut [u8],
) -> Result<(), ImageError> {
    let failed = |error: &dyn std::fmt::Display| ImageError::Resize(error.to_string());
    let side = |pixels: usize| u32::try_from(pixels).map_err(|error| failed(&error));
    let area = &decoded.area;
    let (width, height) = (side(area.width)?, side(area.height)?);
    let source = ImageRef::new(width, height, decoded.pixels, PixelType::U8x3).map_err(|error| failed(&error))?;
    let mut target = Image::from_slice_u8(side(out_width)?, side(out_height)?, out, PixelType::U8x3)
        .map_err(|error| failed(&error))?;
    let divisor = f64::from(decoded.shrink as u8);
    // Rounding must not lead out of the image.
    let within = |start: f64, length: f64, offset: usize, size: usize| {
        let start = (start / divisor - offset as f64).clamp(0.0, size as f64);
        (start, (length / divisor).min(size as f64 - start))
    };
    let (left, width) = within(region.left, region.width, area.left, area.width);
    let (top, height) = within(region.top, region.height, area.top, area.height);
    let filter = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Bicubic => FilterType::CatmullRom,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(left, top, width, height);
    resizer.resize(&source, &mut target, &options).map_err(|error| failed(&error))
}
