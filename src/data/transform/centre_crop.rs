//! The view that ImageNet networks are evaluated on: the image resized, and its middle.
//!
//! As torchvision's `Resize` and `CenterCrop` have it, for which the published figures hold. Only what of the image the
//! middle shows is decoded and resized.

use super::{
    decode::{ImageError, Picture},
    jpeg::Area,
    resize::{Filter, Region, resize, shrink_for},
    workspace::Workspace,
};

/// A resized image's middle.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct CentreCrop {
    /// What the shorter side becomes, in pixels.
    pub resize: usize,
    /// Height and width of the result; what it has more than the resized image is black.
    pub side: usize,
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

impl CentreCrop {
    /// What the ImageNet networks of the paper are evaluated on.
    pub fn imagenet() -> Self {
        Self { resize: 256, side: 224, filter: Filter::Bilinear }
    }

    /// Writes the view of `picture`, which `workspace` has opened, to `out` `[side, side, 3]`.
    ///
    /// # Errors
    /// When the file was cut short or is damaged.
    pub fn apply(&self, picture: &Picture, workspace: &mut Workspace, out: &mut [u8]) -> Result<(), ImageError> {
        let shorter = picture.width.min(picture.height);
        let [across, down] = [picture.width, picture.height].map(|size| self.span(size, shorter));
        let area = covered(picture, &across, &down, self.filter);
        let Workspace { decoder, resizer } = workspace;
        let decoded = decoder.decode(picture, &area, shrink_for(across.reduction.min(down.reduction)))?;
        let region = Region {
            left: across.source_start,
            top: down.source_start,
            width: across.source_length,
            height: down.source_length,
        };
        let size = (across.length, down.length);
        if size == (self.side, self.side) {
            return resize(resizer, &decoded, &region, self.filter, size, out);
        }
        let mut seen = vec![0; across.length * down.length * 3];
        resize(resizer, &decoded, &region, self.filter, size, &mut seen)?;
        out.fill(0);
        let rows = out.chunks_exact_mut(self.side * 3).skip(down.start);
        for (row, seen) in rows.zip(seen.chunks_exact(across.length * 3)) {
            row[across.start * 3..][..seen.len()].copy_from_slice(seen);
        }
        Ok(())
    }

    /// What is seen of a side of `size` pixels when the image's `shorter` side becomes `resize`.
    fn span(&self, size: usize, shorter: usize) -> Span {
        // As torchvision does, the longer side is rounded down.
        let resized = size * self.resize / shorter;
        let reduction = size as f64 / resized as f64;
        let length = resized.min(self.side);
        let (start, first) = if resized < self.side {
            // torchvision pads on both sides, the greater half behind.
            ((self.side - resized) / 2, 0)
        } else {
            (0, middle(resized, self.side))
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
