//! A square of an image that a network does not see.
//!
//! It is erased to zero, the mean of normalised images, so it is drawn here and erased after normalisation.
//! Source: DeVries and Taylor, *Improved Regularization of Convolutional Neural Networks with Cutout*
//! (arXiv:1708.04552).

use rand::Rng;

use super::Rectangle;
use super::window::point_below;

/// A square of `length` pixels around a random centre in an image of `side` pixels, clipped at its borders.
pub(super) fn cutout(length: usize, side: usize, rng: &mut impl Rng) -> Rectangle {
    let (row, column) = point_below(side, rng);
    let clipped = |centre: usize| {
        let end = (centre + length).saturating_sub(length / 2).min(side);
        (centre.saturating_sub(length / 2), end)
    };
    let ((top, bottom), (left, right)) = (clipped(row), clipped(column));
    Rectangle { top, bottom, left, right }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::data::random::{Stream, generator};

    #[test]
    fn squares_are_clipped_at_the_borders_and_reach_all_corners() {
        let squares: HashSet<Rectangle> =
            (0..20_000).map(|epoch| cutout(16, 32, &mut generator(1, Stream::Augmentation, epoch, 0))).collect();
        assert_eq!(squares.len(), 32 * 32);
        for Rectangle { top, bottom, left, right } in squares {
            assert!(bottom <= 32 && right <= 32);
            for (start, end) in [(top, bottom), (left, right)] {
                assert!(end - start == 16 || (start == 0 || end == 32) && (8..16).contains(&(end - start)));
            }
        }
    }
}
