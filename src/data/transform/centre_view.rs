//! The view that ImageNet networks are evaluated on: the image resized, and its middle.
//!
//! As torchvision's `Resize` and `CenterCrop` have it, for which the published figures hold. Only what of the image the
//! middle shows is decoded and resized.

use pdarts_jpeg::Area;

use super::decode::{ImageError, Picture};
use super::resize::{Filter, Region, resize, shrink_for};
use super::{Draw, Rectangle, Scratch, Transform, UnreadableImage};
use crate::data::{CHANNELS, StoredImage};

/// A resized image's middle.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct CentreView {
    /// What the shorter side becomes, in pixels.
    pub resize: usize,
    /// Height and width of the result; what it has more than the resized image is black.
    pub crop: usize,
    /// How pixels are interpolated.
    pub filter: Filter,
}

/// What of one dimension is seen, and where.
struct Span {
    /// In pixels of the result.
    start: usize,
    length: usize,
    /// In pixels of the source.
    source_start: f64,
    source_length: f64,
    /// Source pixels that become one.
    reduction: f64,
}

impl CentreView {
    /// What the ImageNet networks of the paper are evaluated on.
    pub const IMAGENET: CentreView = CentreView { resize: 256, crop: 224, filter: Filter::Bilinear };

    /// What the shorter side becomes where nothing else is said, for a view of `crop` pixels: in proportion to
    /// [`CentreView::IMAGENET`].
    pub const fn usual_resize(crop: usize) -> usize {
        (crop * Self::IMAGENET.resize + Self::IMAGENET.crop / 2) / Self::IMAGENET.crop
    }

    /// Writes the view of `picture` to `out` `[crop, crop, 3]`.
    fn view(&self, picture: &Picture, scratch: &mut Scratch, out: &mut [u8]) -> Result<(), ImageError> {
        let shorter = picture.width.min(picture.height);
        let [across, down] = [picture.width, picture.height].map(|size| self.span(size, shorter));
        let area = covered(picture, &across, &down, self.filter);
        let Scratch { decoder, resizer } = scratch;
        let decoded = decoder.decode(picture, &area, shrink_for(across.reduction.min(down.reduction)))?;
        let region = Region {
            left: across.source_start,
            top: down.source_start,
            width: across.source_length,
            height: down.source_length,
        };
        let size = (across.length, down.length);
        if size == (self.crop, self.crop) {
            return resize(resizer, &decoded, &region, self.filter, size, out);
        }
        let mut seen = vec![0; across.length * down.length * CHANNELS];
        resize(resizer, &decoded, &region, self.filter, size, &mut seen)?;
        out.fill(0);
        let rows = out.chunks_exact_mut(self.crop * CHANNELS).skip(down.start);
        for (row, seen) in rows.zip(seen.chunks_exact(across.length * CHANNELS)) {
            row[across.start * CHANNELS..][..seen.len()].copy_from_slice(seen);
        }
        Ok(())
    }

    /// What is seen of a side of `size` pixels when the image's `shorter` side becomes `resize`.
    fn span(&self, size: usize, shorter: usize) -> Span {
        // As torchvision does, the longer side is rounded down.
        let resized = size * self.resize / shorter;
        let reduction = size as f64 / resized as f64;
        let length = resized.min(self.crop);
        let (start, first) = if resized < self.crop {
            // torchvision pads on both sides, the greater half behind.
            ((self.crop - resized) / 2, 0)
        } else {
            (0, middle(resized, self.crop))
        };
        Span {
            start,
            length,
            source_start: first as f64 * reduction,
            source_length: length as f64 * reduction,
            reduction,
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
        let picture = scratch.decoder.open(image)?;
        self.view(&picture, scratch, out)?;
        Ok(Rectangle::default())
    }
}

/// The pixels that the filter looks at.
fn covered(picture: &Picture, across: &Span, down: &Span, filter: Filter) -> Area {
    let range = |span: &Span, size: usize| {
        let reach = filter.support() * span.reduction.max(1.0) + 1.0;
        let start = (span.source_start - reach).floor().max(0.0) as usize;
        let end = ((span.source_start + span.source_length + reach).ceil() as usize).min(size);
        (start, end - start)
    };
    let ((left, width), (top, height)) = (range(across, picture.width), range(down, picture.height));
    Area { left, top, width, height }
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
        let view = CentreView { resize: 40, crop: 32, filter: Filter::Bilinear };
        for name in ["wide", "tall", "small"] {
            let input = file.tensor(&format!("{name}.input")).unwrap();
            let [height, width, _] = input.shape().try_into().unwrap();
            let image = StoredImage::Pixels { bytes: input.data(), width, height };
            let mut found = vec![0; 32 * 32 * CHANNELS];
            view.apply(image, Draw { epoch: 0, index: 0 }, &mut Scratch::default(), &mut found).unwrap();
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
