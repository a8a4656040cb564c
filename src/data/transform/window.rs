//! A window on an image with black around it, perhaps its mirror image, of which a part is erased.
//!
//! It is drawn apart from what is cut by it, so that images which lie on a GPU are cut there.

use std::ops::Range;

use rand::Rng;

use super::Rectangle;
use crate::data::CHANNELS;

/// What a network sees of an image, in the image's own size; the default is all of it.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The image's row that is the window's first; above the image and below it is black.
    pub top: i32,
    /// The image's column that is the window's first; beside the image is black.
    pub left: i32,
    /// Whether the window is mirrored left to right.
    pub mirrored: bool,
    /// What of the mirrored window is to be zero once it is normalised.
    pub erased: Rectangle,
}

impl Window {
    /// Draws, in this order and each only if it is on: row and column in an image with `padding` pixels of black on each
    /// side, whether it is mirrored. Nothing is erased.
    pub(super) fn draw(padding: usize, flips: bool, rng: &mut impl Rng) -> Self {
        let (row, column) = if padding > 0 { point_below(2 * padding + 1, rng) } else { (0, 0) };
        let unpadded = |coordinate: usize| coordinate as i32 - padding as i32;
        let (top, left) = (unpadded(row), unpadded(column));
        Self { top, left, mirrored: flips && rng.random(), erased: Rectangle::default() }
    }

    /// Writes what it shows of `image` to `out`, without erasing; both are `[side, side, 3]`.
    pub(in crate::data) fn cut(&self, image: &[u8], side: usize, out: &mut [u8]) {
        let row_bytes = side * CHANNELS;
        let (rows, columns) = (inside(self.top, side), inside(self.left, side));
        for (row, out) in out.chunks_exact_mut(row_bytes).enumerate() {
            if !rows.contains(&row) || columns.is_empty() {
                out.fill(0);
                continue;
            }
            let of_image = |coordinate: usize, start: i32| (coordinate as i64 + i64::from(start)) as usize;
            let first = of_image(row, self.top) * side + of_image(columns.start, self.left);
            let source = &image[first * CHANNELS..][..columns.len() * CHANNELS];
            out[..columns.start * CHANNELS].fill(0);
            out[columns.end * CHANNELS..].fill(0);
            out[columns.start * CHANNELS..columns.end * CHANNELS].copy_from_slice(source);
            if self.mirrored {
                mirror(out);
            }
        }
    }
}

/// The rows, or columns, of a window from `start` on that show an image of `side` pixels.
fn inside(start: i32, side: usize) -> Range<usize> {
    let bound = |coordinate: i64| coordinate.clamp(0, side as i64) as usize;
    let start = i64::from(start);
    bound(-start)..bound(side as i64 - start)
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
    fn reference(window: Window, image: &[u8], side: usize) -> Vec<u8> {
        let of_image = |coordinate: usize, start: i32| {
            usize::try_from(coordinate as i64 + i64::from(start)).ok().filter(|&inside| inside < side)
        };
        let pixel = |position: usize| {
            let (row, column) = (position / side, position % side);
            let column = if window.mirrored { side - 1 - column } else { column };
            let source = of_image(row, window.top).zip(of_image(column, window.left));
            source.map_or([0; CHANNELS], |(row, column)| {
                std::array::from_fn(|channel| image[(row * side + column) * CHANNELS + channel])
            })
        };
        (0..side * side).flat_map(pixel).collect()
    }

    #[test]
    fn windows_of_every_corner_are_those_defined_pixel_by_pixel() {
        for (side, reach) in [(5usize, 0), (5, 2), (6, 4), (3, 5)] {
            let image: Vec<u8> = (0..side * side * CHANNELS).map(|position| position as u8 + 1).collect();
            let corners = (-reach..=reach).chain([i32::MIN, i32::MAX]);
            for (top, left) in corners.clone().flat_map(|top| corners.clone().map(move |left| (top, left))) {
                for mirrored in [false, true] {
                    let window = Window { top, left, mirrored, ..Window::default() };
                    let mut out = vec![255; image.len()];
                    window.cut(&image, side, &mut out);
                    assert_eq!(out, reference(window, &image, side), "{window:?}");
                }
            }
        }
    }
}
