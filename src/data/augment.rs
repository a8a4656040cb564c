//! Augmentation and normalisation of one image.
//!
//! Random crop and flip act on the raw image, padded with black, and cutout on the normalised one, as in the authors'
//! pipeline; all of it and the normalisation are done here in one pass over the output. A policy's colour and shape
//! operations come between: they act on the cropped and mirrored bytes, before normalisation.

use rand::Rng;

use super::{
    CHANNELS, Colours, IMAGE_BYTES, IMAGE_SIDE, MemorySource, Policy, Source,
    byte_table::{ByteTable, byte_table},
    random::{Stream, generator},
};

/// What is done to a training image. The default leaves images as they are.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// Pixels of black added on each side before cropping at random to the old size; 0 turns cropping off.
    pub crop_padding: usize,
    /// Whether to mirror left to right with probability 1/2.
    pub horizontal_flip: bool,
    /// Side in pixels of the square erased around a random centre, clipped at the borders; 0 turns it off.
    /// Source: DeVries and Taylor, *Improved Regularization of Convolutional Neural Networks with Cutout*
    /// (arXiv:1708.04552).
    pub cutout: usize,
    /// Colour and shape operations between flip and cutout.
    pub policy: Option<Policy>,
}

/// Turns bytes into normalised floats and augments on the way.
#[derive(Clone, Debug)]
pub struct Transform {
    augment: Augment,
    seed: u64,
    normalised: ByteTable,
}

/// The random choices made for one image.
struct Draw {
    /// Top left corner of the crop in the padded image.
    crop: (usize, usize),
    flip: bool,
    /// Centre of the erased square.
    cutout: (usize, usize),
}

impl Transform {
    /// A transform with the colour statistics of `dataset`; `seed` is the run's.
    pub fn new(dataset: &MemorySource, augment: Augment, seed: u64) -> Transform {
        let Colours { mean, std } = dataset.colours();
        Transform { augment, seed, normalised: byte_table(mean, std) }
    }

    /// Augments and normalises one image.
    ///
    /// `image`: `[32, 32, 3]` bytes, number `index` of its data set; `out`: `[32, 32, 3]`. The random choices depend on
    /// the seed, `epoch` and `index` alone. `epoch` counts over the whole run, so that no two epochs are augmented
    /// alike.
    pub fn apply(&self, image: &[u8], epoch: u64, index: u32, out: &mut [f32]) {
        let draw = self.draw(epoch, index);
        if let Some(policy) = self.augment.policy {
            let mut changed = [0; IMAGE_BYTES];
            self.crop_and_flip(image, &draw, |position, bytes| {
                changed[position * CHANNELS..][..CHANNELS].copy_from_slice(bytes);
            });
            policy.apply(&mut changed, &mut generator(self.seed, Stream::Policy, epoch, index.into()));
            out.chunks_exact_mut(CHANNELS)
                .zip(changed.chunks_exact(CHANNELS))
                .for_each(|(pixel, bytes)| self.normalise(bytes, pixel));
        } else {
            self.crop_and_flip(image, &draw, |position, bytes| {
                self.normalise(bytes, &mut out[position * CHANNELS..][..CHANNELS]);
            });
        }
        self.cut_out(&draw, out);
    }

    /// Draws, in this order and each only if it is on: crop row, crop column, flip, cutout row, cutout column.
    fn draw(&self, epoch: u64, index: u32) -> Draw {
        let Augment { crop_padding, horizontal_flip, cutout, .. } = self.augment;
        let mut rng = generator(self.seed, Stream::Augmentation, epoch, index.into());
        let crop = if crop_padding > 0 { point_below(2 * crop_padding + 1, &mut rng) } else { (0, 0) };
        let flip = horizontal_flip && rng.random();
        let cutout = if cutout > 0 { point_below(IMAGE_SIDE, &mut rng) } else { (0, 0) };
        Draw { crop, flip, cutout }
    }

    /// Calls `write` with the number and the bytes of every pixel of the result.
    fn crop_and_flip(&self, image: &[u8], draw: &Draw, mut write: impl FnMut(usize, &[u8])) {
        let padding = self.augment.crop_padding;
        let unpadded = |coordinate: usize| coordinate.checked_sub(padding).filter(|&inside| inside < IMAGE_SIDE);
        for position in 0..IMAGE_SIDE * IMAGE_SIDE {
            let (row, column) = (position / IMAGE_SIDE, position % IMAGE_SIDE);
            let column = if draw.flip { IMAGE_SIDE - 1 - column } else { column };
            let source = unpadded(row + draw.crop.0).zip(unpadded(column + draw.crop.1));
            let bytes = source.map_or(&[0; CHANNELS][..], |(row, column)| {
                &image[(row * IMAGE_SIDE + column) * CHANNELS..][..CHANNELS]
            });
            write(position, bytes);
        }
    }

    fn normalise(&self, bytes: &[u8], pixel: &mut [f32]) {
        for ((value, &byte), normalised) in pixel.iter_mut().zip(bytes).zip(&self.normalised) {
            *value = normalised[usize::from(byte)];
        }
    }

    /// Erases to zero, the mean of the normalised images.
    fn cut_out(&self, draw: &Draw, out: &mut [f32]) {
        let side = self.augment.cutout;
        let clipped =
            |centre: usize| centre.saturating_sub(side / 2)..(centre + side).saturating_sub(side / 2).min(IMAGE_SIDE);
        let columns = clipped(draw.cutout.1);
        for row in clipped(draw.cutout.0) {
            let start = row * IMAGE_SIDE;
            out[(start + columns.start) * CHANNELS..(start + columns.end) * CHANNELS].fill(0.0);
        }
    }
}

fn point_below(end: usize, rng: &mut impl Rng) -> (usize, usize) {
    (rng.random_range(0..end), rng.random_range(0..end))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, path::Path};

    use super::*;
    use crate::data::IMAGE_BYTES;

    const COLOURS: Colours = Colours { mean: [0.5, 0.25, 0.0], std: [0.5, 0.25, 1.0] };
    const OFF: Augment = Augment { crop_padding: 0, horizontal_flip: false, cutout: 0, policy: None };

    /// One image whose bytes tell where they are from: row + 1, column + 1, 200.
    fn dataset() -> MemorySource {
        let mut dataset = MemorySource::new(&["any"], IMAGE_SIDE, COLOURS);
        let planes: Vec<u8> =
            (0..IMAGE_BYTES).map(|i| [i % 1024 / IMAGE_SIDE + 1, i % IMAGE_SIDE + 1, 200][i / 1024] as u8).collect();
        dataset.push_record(&planes, 0, Path::new("any"), 0).unwrap();
        dataset
    }

    /// The transformed image and, for each pixel, the bytes it came from.
    fn transformed(augment: Augment, epoch: u64) -> (Vec<f32>, Vec<[i32; 3]>) {
        let dataset = dataset();
        let mut out = vec![f32::NAN; IMAGE_BYTES];
        Transform::new(&dataset, augment, 1).apply(dataset.image(0).unwrap(), epoch, 0, &mut out);
        let bytes = out
            .chunks_exact(3)
            .map(|p| std::array::from_fn(|c| ((p[c] * COLOURS.std[c] + COLOURS.mean[c]) * 255.0).round() as i32))
            .collect();
        (out, bytes)
    }

    #[test]
    fn without_augmentation_images_are_only_normalised() {
        let (out, bytes) = transformed(OFF, 0);
        assert_eq!(out[..3], [(1.0 / 255.0 - 0.5) / 0.5, (1.0 / 255.0 - 0.25) / 0.25, 200.0 / 255.0]);
        assert_eq!((bytes[0], bytes[33], bytes[1023]), ([1, 1, 200], [2, 2, 200], [32, 32, 200]));
    }

    #[test]
    fn crops_are_windows_of_the_image_padded_with_black_and_reach_all_corners() {
        let mut corners = HashSet::new();
        for epoch in 0..400 {
            let (_, bytes) = transformed(Augment { crop_padding: 2, ..OFF }, epoch);
            let [row, column, _] = bytes[16 * 32 + 16]; // the centre is never padding
            let (down, right) = (row - 17, column - 17);
            corners.insert((down, right));
            for (position, &pixel) in bytes.iter().enumerate() {
                let (row, column) = (position as i32 / 32 + down, position as i32 % 32 + right);
                let inside = (0..32).contains(&row) && (0..32).contains(&column);
                assert_eq!(pixel, if inside { [row + 1, column + 1, 200] } else { [0, 0, 0] });
            }
        }
        assert_eq!(corners.len(), 25);
        assert!(corners.iter().all(|&(down, right)| down.abs() <= 2 && right.abs() <= 2));
    }

    #[test]
    fn flips_mirror_about_half_of_the_images() {
        let augment = Augment { horizontal_flip: true, ..OFF };
        let flips = (0..1000).filter(|&epoch| transformed(augment, epoch).1[0] == [1, 32, 200]).count();
        let straight = (0..1000).filter(|&epoch| transformed(augment, epoch).1[0] == [1, 1, 200]).count();
        assert_eq!(flips + straight, 1000);
        assert!((430..570).contains(&flips), "{flips}");
    }

    #[test]
    fn cutout_erases_a_square_clipped_at_the_borders() {
        let (plain, _) = transformed(OFF, 0);
        let mut sizes = HashSet::new();
        for epoch in 0..3000 {
            let (out, _) = transformed(Augment { cutout: 16, ..OFF }, epoch);
            let erased: Vec<usize> = (0..1024).filter(|i| out[3 * i..3 * i + 3] == [0.0; 3]).collect();
            let rows: HashSet<usize> = erased.iter().map(|i| i / 32).collect();
            let columns: HashSet<usize> = erased.iter().map(|i| i % 32).collect();
            assert_eq!(erased.len(), rows.len() * columns.len());
            assert!((0..1024).all(|i| erased.contains(&i) || out[3 * i..3 * i + 3] == plain[3 * i..3 * i + 3]));
            sizes.insert((rows.len(), columns.len()));
        }
        assert!(sizes.contains(&(16, 16)) && sizes.contains(&(8, 8)));
        assert!(sizes.iter().all(|&(rows, columns)| (8..=16).contains(&rows) && (8..=16).contains(&columns)));
    }

    #[test]
    fn an_epoch_repeats_and_the_next_one_differs() {
        let augment = Augment { crop_padding: 4, horizontal_flip: true, cutout: 16, policy: None };
        assert_eq!(transformed(augment, 3).0, transformed(augment, 3).0);
        assert_ne!(transformed(augment, 3).0, transformed(augment, 4).0);
    }

    #[test]
    fn policy_acts_on_bytes_and_leaves_the_other_draws_alone() {
        let plain = Augment { crop_padding: 4, horizontal_flip: true, cutout: 16, policy: None };
        let without_effect = Augment { policy: Some(Policy::RandAugment { operations: 0, magnitude: 5 }), ..plain };
        let with_policy = Augment { policy: Some(Policy::AutoAugment), ..plain };
        let mut changed = 0;
        for epoch in 0..50 {
            let (reference, _) = transformed(plain, epoch);
            assert_eq!(transformed(without_effect, epoch).0, reference);
            let (out, _) = transformed(with_policy, epoch);
            let cut_out = |pixels: &[f32]| pixels.chunks_exact(3).map(|pixel| pixel == [0.0; 3]).collect::<Vec<_>>();
            assert_eq!(cut_out(&out), cut_out(&reference));
            changed += usize::from(out != reference);
        }
        assert!(changed > 25, "{changed}");
    }
}
