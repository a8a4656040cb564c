//! Images that are used in the size in which they are stored, perhaps augmented: those of photodigits and CIFAR.
//!
//! Random crop and flip act on the raw image, padded with black, and cutout on the normalised one, as in the authors'
//! pipeline; a policy's colour and shape operations come between, on the cropped and mirrored bytes.

use super::cutout::cutout;
use super::{Draw, Policy, Rectangle, Scratch, Transform, UnreadableImage, Window};
use crate::data::StoredImage;
use crate::data::random::{Stream, generator};

/// What is done to a training image. The default leaves images as they are.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// Pixels of black added on each side before cropping at random to the old size; 0 turns cropping off.
    pub crop_padding: usize,
    /// Whether to mirror left to right with probability 1/2.
    pub horizontal_flip: bool,
    /// Side in pixels of the square erased around a random centre, clipped at the borders; 0 turns it off.
    pub cutout: usize,
    /// Colour and shape operations between flip and cutout.
    pub policy: Option<Policy>,
}

/// Augments images of one size.
#[derive(Copy, Clone, Debug)]
pub struct SameSize {
    side: usize,
    augment: Augment,
    seed: u64,
}

impl SameSize {
    /// For images of `side` x `side` pixels; `seed` is the run's.
    pub fn new(side: usize, augment: Augment, seed: u64) -> Self {
        Self { side, augment, seed }
    }

    /// What is left of an image, and what is to be zero of that; a policy comes between the two.
    pub fn window(&self, draw: Draw) -> Window {
        let Self { side, augment: Augment { crop_padding, horizontal_flip, cutout: length, .. }, seed } = *self;
        let mut rng = generator(seed, Stream::Augmentation, draw.epoch, draw.index.into());
        let window = Window::draw(crop_padding, horizontal_flip, &mut rng);
        let erased = if length > 0 { cutout(length, side, &mut rng) } else { Rectangle::default() };
        Window { erased, ..window }
    }
}

impl Transform for SameSize {
    fn side(&self) -> usize {
        self.side
    }

    fn apply(
        &self,
        image: StoredImage<'_>,
        draw: Draw,
        _scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<Rectangle, UnreadableImage> {
        let Self { side, seed, .. } = *self;
        let image = match image {
            StoredImage::Pixels { bytes, width, height } if (width, height) == (side, side) => bytes,
            StoredImage::Pixels { width, height, .. } => {
                return Err(UnreadableImage(format!("{width}x{height} pixels, expected {side}x{side}")));
            }
            StoredImage::Encoded(_) => return Err(UnreadableImage("it is not decoded".to_owned())),
        };
        let window = self.window(draw);
        window.cut(image, side, out);
        if let Some(policy) = self.augment.policy {
            policy.apply(out, side, &mut generator(seed, Stream::Policy, draw.epoch, draw.index.into()));
        }
        Ok(window.erased)
    }

    fn windows(&self) -> Option<SameSize> {
        self.augment.policy.is_none().then_some(*self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SIDE: usize = 32;
    const OFF: Augment = Augment { crop_padding: 0, horizontal_flip: false, cutout: 0, policy: None };
    const ALL: Augment = Augment { crop_padding: 4, horizontal_flip: true, cutout: 16, policy: None };

    /// An image whose bytes tell where they are from: row + 1, column + 1, 200.
    fn image() -> Vec<u8> {
        (0..SIDE * SIDE).flat_map(|i| [(i / SIDE + 1) as u8, (i % SIDE + 1) as u8, 200]).collect()
    }

    /// The transformed image, pixel by pixel, and what is erased of it.
    fn transformed(augment: Augment, epoch: u64) -> (Vec<[u8; 3]>, Rectangle) {
        let (image, mut out) = (image(), vec![77; SIDE * SIDE * 3]);
        let stored = StoredImage::Pixels { bytes: &image, width: SIDE, height: SIDE };
        let draw = Draw { epoch, index: 0 };
        let erased = SameSize::new(SIDE, augment, 1).apply(stored, draw, &mut Scratch::default(), &mut out).unwrap();
        (out.chunks_exact(3).map(|pixel| pixel.try_into().unwrap()).collect(), erased)
    }

    #[test]
    fn without_augmentation_images_stay_as_they_are() {
        let (pixels, erased) = transformed(OFF, 0);
        assert_eq!(pixels.concat(), image());
        assert!(erased.is_empty());
    }

    #[test]
    fn crops_are_windows_of_the_image_padded_with_black_and_reach_all_corners() {
        let mut corners = HashSet::new();
        for epoch in 0..400 {
            let (pixels, _) = transformed(Augment { crop_padding: 2, ..OFF }, epoch);
            let [row, column, _] = pixels[16 * 32 + 16].map(i32::from); // the centre is never padding
            let (down, right) = (row - 17, column - 17);
            corners.insert((down, right));
            for (position, &pixel) in pixels.iter().enumerate() {
                let (row, column) = (position as i32 / 32 + down, position as i32 % 32 + right);
                let inside = (0..32).contains(&row) && (0..32).contains(&column);
                let expected = if inside { [row + 1, column + 1, 200] } else { [0, 0, 0] };
                assert_eq!(pixel.map(i32::from), expected);
            }
        }
        assert_eq!(corners.len(), 25);
        assert!(corners.iter().all(|&(down, right)| down.abs() <= 2 && right.abs() <= 2));
    }

    #[test]
    fn flips_mirror_about_half_of_the_images() {
        let augment = Augment { horizontal_flip: true, ..OFF };
        let flips = (0..1000).filter(|&epoch| transformed(augment, epoch).0[0] == [1, 32, 200]).count();
        let straight = (0..1000).filter(|&epoch| transformed(augment, epoch).0[0] == [1, 1, 200]).count();
        assert_eq!(flips + straight, 1000);
        assert!((430..570).contains(&flips), "{flips}");
    }

    #[test]
    fn an_epoch_repeats_and_the_next_one_differs() {
        assert_eq!(transformed(ALL, 3), transformed(ALL, 3));
        assert_ne!(transformed(ALL, 3), transformed(ALL, 4));
    }

    #[test]
    fn policy_acts_on_bytes_and_leaves_the_other_draws_alone() {
        let without_effect = Augment { policy: Some(Policy::RandAugment { operations: 0, magnitude: 5 }), ..ALL };
        let with_policy = Augment { policy: Some(Policy::AutoAugment), ..ALL };
        let mut changed = 0;
        for epoch in 0..50 {
            let reference = transformed(ALL, epoch);
            assert_eq!(transformed(without_effect, epoch), reference);
            let (pixels, erased) = transformed(with_policy, epoch);
            assert_eq!(erased, reference.1);
            changed += usize::from(pixels != reference.0);
        }
        assert!(changed > 25, "{changed}");
    }

    #[test]
    fn images_of_another_size_are_refused() {
        let bytes = [0; 6];
        let transform = SameSize::new(2, OFF, 0);
        let draw = Draw { epoch: 0, index: 0 };
        let refusal = |image| transform.apply(image, draw, &mut Scratch::default(), &mut [0; 12]).unwrap_err().0;
        let pixels = StoredImage::Pixels { bytes: &bytes, width: 1, height: 2 };
        assert_eq!(refusal(pixels), "1x2 pixels, expected 2x2");
        assert_eq!(refusal(StoredImage::Encoded(&bytes)), "it is not decoded");
    }
}
