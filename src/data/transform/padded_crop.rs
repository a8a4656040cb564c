//! A random window of an image with a black border, and perhaps its mirror image.

use std::ops::Range;

use rand::Rng;

use crate::data::CHANNELS;

/// The window of one image.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct PaddedCrop {
    /// Pixels of black on each side.
    padding: usize,
    /// Top left corner in the padded image.
    corner: (usize, usize),
    /// Whether it is mirrored left to right.
    flip: bool,
}

impl PaddedCrop {
    /// Draws, in this order and each only if it is on: row, column, flip.
    pub fn draw(padding: usize, flips: bool, rng: &mut impl Rng) -> Self {
        let corner = if padding > 0 { point_below(2 * padding + 1, rng) } else { (0, 0) };
        Self { padding, corner, flip: flips && rng.random() }
    }

    /// Writes the window of `image` to `out`; both are `[side, side, 3]`.
    pub fn apply(&self, image: &[u8], side: usize, out: &mut [u8]) {
        let row_bytes = side * CHANNELS;
        let columns = self.inside(self.corner.1, side);
        for (row, out) in out.chunks_exact_mut(row_bytes).enumerate() {
            let source = (row + self.corner.0).checked_sub(self.padding).filter(|&source| source < side);
            let Some(source) = source.filter(|_| !columns.is_empty()) else {
                out.fill(0);
                continue;
            };
            let first = columns.start + self.corner.1 - self.padding;
            let source = &image[source * row_bytes + first * CHANNELS..][..columns.len() * CHANNELS];
            out[..columns.start * CHANNELS].fill(0);
            out[columns.end * CHANNELS..].fill(0);
            out[columns.start * CHANNELS..columns.end * CHANNELS].copy_from_slice(source);
            if self.flip {
                mirror(out);
            }
        }
    }

    /// The columns of the window that are not border.
    fn inside(&self, corner: usize, side: usize) -> Range<usize> {
        let start = self.padding.saturating_sub(corner).min(side);
        let end = (side + self.padding).saturating_sub(corner).min(side);
        start..end.max(start)
    }
}

/// A row of pixels from its end to its start.
fn mirror(row: &mut [u8]) {
    let num_pixels = row.len() / CHANNELS;
    for left in 0..num_pixels / 2 {
        let right = num_pixels - 1 - left;
        for channel in 0..CHANNELS {
            row.swap(left * CHANNELS + channel, right * CHANNELS + channel);
        }
    }
}

/// Two coordinates below `end`, the row first.
pub(super) fn point_below(end: usize, rng: &mut impl Rng) -> (usize, usize) {
    (rng.random_range(0..end), rng.random_range(0..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixel by pixel, as the window is defined.
    fn reference(crop: PaddedCrop, image: &[u8], side: usize) -> Vec<u8> {
        let unpadded = |coordinate: usize| coordinate.checked_sub(crop.padding).filter(|&inside| inside < side);
        let pixel = |position: usize| {
            let (row, column) = (position / side, position % side);
            let column = if crop.flip { side - 1 - column } else { column };
            let source = unpadded(row + crop.corner.0).zip(unpadded(column + crop.corner.1));
            source.map_or([0; CHANNELS], |(row, column)| {
                std::array::from_fn(|channel| image[(row * side + column) * CHANNELS + channel])
            })
        };
        (0..side * side).flat_map(pixel).collect()
    }

    #[test]
    fn windows_of_every_corner_are_those_defined_pixel_by_pixel() {
        for (side, padding) in [(5, 0), (5, 2), (6, 4), (3, 5)] {
            let image: Vec<u8> = (0..side * side * CHANNELS).map(|position| position as u8 + 1).collect();
            let corners = 2 * padding + 1;
            for (row, column) in (0..corners * corners).map(|corner| (corner / corners, corner % corners)) {
                for flip in [false, true] {
                    let crop = PaddedCrop { padding, corner: (row, column), flip };
                    let mut out = vec![255; image.len()];
                    crop.apply(&image, side, &mut out);
                    assert_eq!(out, reference(crop, &image, side), "{crop:?}");
                }
            }
        }
    }
}
