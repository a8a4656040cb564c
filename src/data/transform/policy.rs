//! Which colour and shape operations a training image goes through: AutoAugment's policy for CIFAR-10, and RandAugment.
//!
//! Sources: Cubuk et al., *AutoAugment* (arXiv:1805.09501), tables 6 and 7; Cubuk et al., *RandAugment*
//! (arXiv:1909.13719), section 3.1. The ranges of strengths are AutoAugment's for both.

use rand::Rng;

use super::operation::ImageOperation;

/// How operations are chosen.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// One of the 25 pairs of operations that were found for CIFAR-10.
    AutoAugment,
    /// Some of 14 operations, each as likely as the others.
    RandAugment {
        /// How many.
        operations: usize,
        /// Their strength, 0 to 10.
        magnitude: usize,
    },
}

/// An operation without its strength.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Kind {
    Identity,
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Solarize,
    Color,
    Posterize,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
}

use Kind::{
    AutoContrast, Brightness, Color, Contrast, Equalize, Invert, Posterize, Rotate, Sharpness, ShearY, Solarize,
    TranslateX, TranslateY,
};

/// RandAugment's candidates.
const CANDIDATES: [Kind; 14] = [
    Kind::Identity,
    AutoContrast,
    Equalize,
    Rotate,
    Solarize,
    Color,
    Posterize,
    Contrast,
    Brightness,
    Sharpness,
    Kind::ShearX,
    ShearY,
    TranslateX,
    TranslateY,
];
const MAX_MAGNITUDE: f64 = 10.0;

/// An operation, the probability in tenths that it is applied, and its strength of 0 to 9.
type Choice = (Kind, u32, u8);

/// AutoAugment's sub-policies for CIFAR-10.
const SUB_POLICIES: [[Choice; 2]; 25] = [
    [(Invert, 1, 0), (Contrast, 2, 6)],
    [(Rotate, 7, 2), (TranslateX, 3, 9)],
    [(Sharpness, 8, 1), (Sharpness, 9, 3)],
    [(ShearY, 5, 8), (TranslateY, 7, 9)],
    [(AutoContrast, 5, 0), (Equalize, 9, 0)],
    [(ShearY, 2, 7), (Posterize, 3, 7)],
    [(Color, 4, 3), (Brightness, 6, 7)],
    [(Sharpness, 3, 9), (Brightness, 7, 9)],
    [(Equalize, 6, 0), (Equalize, 5, 0)],
    [(Contrast, 6, 7), (Sharpness, 6, 5)],
    [(Color, 7, 7), (TranslateX, 5, 8)],
    [(Equalize, 3, 0), (AutoContrast, 4, 0)],
    [(TranslateY, 4, 3), (Sharpness, 2, 6)],
    [(Brightness, 9, 6), (Color, 2, 8)],
    [(Solarize, 5, 2), (Invert, 0, 0)],
    [(Equalize, 2, 0), (AutoContrast, 6, 0)],
    [(Equalize, 2, 0), (Equalize, 6, 0)],
    [(Color, 9, 9), (Equalize, 6, 0)],
    [(AutoContrast, 8, 0), (Solarize, 2, 8)],
    [(Brightness, 1, 3), (Color, 7, 0)],
    [(Solarize, 4, 5), (AutoContrast, 9, 0)],
    [(TranslateY, 9, 9), (TranslateY, 7, 9)],
    [(AutoContrast, 9, 0), (Solarize, 8, 3)],
    [(Equalize, 8, 0), (Invert, 1, 0)],
    [(TranslateY, 7, 9), (AutoContrast, 9, 0)],
];
const MAX_STRENGTH: f64 = 9.0;

impl Policy {
    /// Draws operations for one image and applies them to it, `[side, side, 3]`.
    pub(super) fn apply(self, image: &mut [u8], side: usize, rng: &mut impl Rng) {
        match self {
            Self::AutoAugment => {
                for (kind, tenths, strength) in SUB_POLICIES[rng.random_range(0..SUB_POLICIES.len())] {
                    // Drawn whether it is used or not, so that each image's draws are as many.
                    let (is_applied, negative) = (rng.random_ratio(tenths, 10), rng.random());
                    if is_applied {
                        kind.with_strength(f64::from(strength) / MAX_STRENGTH, negative, side).apply(image, side);
                    }
                }
            }
            Self::RandAugment { operations, magnitude } => {
                for _ in 0..operations {
                    let (kind, negative) = (CANDIDATES[rng.random_range(0..CANDIDATES.len())], rng.random());
                    kind.with_strength(magnitude as f64 / MAX_MAGNITUDE, negative, side).apply(image, side);
                }
            }
        }
    }
}

impl Kind {
    /// `strength`: 0 (which leaves most images as they are) to 1; where there are two directions, `negative` takes the
    /// second. `side`: of the image, in pixels.
    fn with_strength(self, strength: f64, negative: bool, side: usize) -> ImageOperation {
        let signed = if negative { -strength } else { strength };
        let pixels = 150.0 / 331.0 * side as f64 * signed;
        let factor = (1.0 + 0.9 * signed) as f32;
        match self {
            Self::Identity => ImageOperation::Identity,
            Self::AutoContrast => ImageOperation::AutoContrast,
            Self::Equalize => ImageOperation::Equalize,
            Self::Invert => ImageOperation::Invert,
            Self::Rotate => ImageOperation::rotate(30.0 * signed, side),
            Self::Solarize => ImageOperation::Solarize(255.0 * (1.0 - strength)),
            Self::Color => ImageOperation::Color(factor),
            Self::Posterize => ImageOperation::Posterize(8 - (4.0 * strength).round_ties_even() as u32),
            Self::Contrast => ImageOperation::Contrast(factor),
            Self::Brightness => ImageOperation::Brightness(factor),
            Self::Sharpness => ImageOperation::Sharpness(factor),
            Self::ShearX => ImageOperation::shear_x(0.3 * signed),
            Self::ShearY => ImageOperation::shear_y(0.3 * signed),
            Self::TranslateX => ImageOperation::translate_x(pixels),
            Self::TranslateY => ImageOperation::translate_y(pixels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::{Stream, generator};
    use crate::data::{IMAGE_BYTES, IMAGE_SIDE};

    fn image() -> Vec<u8> {
        (0..IMAGE_BYTES).map(|position| (position * 7 % 251) as u8).collect()
    }

    fn augmented(policy: Policy, epoch: u64) -> Vec<u8> {
        let mut image = image();
        policy.apply(&mut image, IMAGE_SIDE, &mut generator(1, Stream::Policy, epoch, 0));
        image
    }

    #[test]
    fn choices_follow_from_the_stream_and_differ_from_epoch_to_epoch() {
        for policy in [Policy::AutoAugment, Policy::RandAugment { operations: 2, magnitude: 9 }] {
            assert_eq!(augmented(policy, 3), augmented(policy, 3));
            let changed = (0..200).filter(|&epoch| augmented(policy, epoch) != image()).count();
            assert!(changed > 120, "{policy:?}: {changed} of 200");
        }
    }

    #[test]
    fn no_strength_leaves_shape_and_colour_as_they_are() {
        for kind in CANDIDATES.into_iter().filter(|kind| ![AutoContrast, Equalize].contains(kind)) {
            let mut changed = image();
            kind.with_strength(0.0, true, IMAGE_SIDE).apply(&mut changed, IMAGE_SIDE);
            // Solarize inverts pure white at any strength; there is none.
            assert_eq!(changed, image(), "{kind:?}");
        }
    }

    #[test]
    fn strengths_are_autoaugments() {
        assert_eq!(Rotate.with_strength(1.0, true, IMAGE_SIDE), ImageOperation::rotate(-30.0, IMAGE_SIDE));
        assert_eq!(TranslateX.with_strength(1.0, false, IMAGE_SIDE), ImageOperation::translate_x(14.0));
        assert_eq!(Posterize.with_strength(7.0 / 9.0, false, IMAGE_SIDE), ImageOperation::Posterize(5));
        assert_eq!(Solarize.with_strength(1.0, false, IMAGE_SIDE), ImageOperation::Solarize(0.0));
        assert_eq!(Brightness.with_strength(1.0, true, IMAGE_SIDE), ImageOperation::Brightness(0.1));
    }
}
