//! Mixup and CutMix: training images that are made of two, with targets that are as well.
//!
//! What is done to a step's images is drawn once for the whole global batch, from (seed, epoch, step). Images are mixed
//! with their neighbours, the first with the second, the third with the fourth: as the batch is in random order, that is
//! as good as any other rule, and pairs stay together when ranks or parts take an even number of images. Then N ranks
//! compute what one computes.
//!
//! Source: Zhang et al., *mixup* (arXiv:1710.09412); Yun et al., *CutMix* (arXiv:1905.04899); rectangles as in timm's
//! `Mixup`. Where both are on, each step takes one of them, as there.

use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution};
use tch::Tensor;

use crate::torch::TorchError;
use crate::trainer::ImageBatch;

/// What a training does to its images; 0 = off.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct MixingOptions {
    /// Both parameters of the beta distribution of Mixup's shares.
    pub mixup_alpha: f64,
    /// Both parameters of the beta distribution of CutMix's shares.
    pub cutmix_alpha: f64,
}

/// What is done to the images of one step.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Mixing {
    /// An image is `share` of itself and the rest of its neighbour.
    Mixup {
        /// From 0 to 1.
        share: f64,
    },
    /// A rectangle of the neighbour replaces that of the image.
    CutMix {
        /// Of the image that stays, before the rectangle is cut to whole pixels and to the image; from 0 to 1.
        share: f64,
        /// Row and column of the rectangle's centre, as shares of height and width below 1.
        centre: [f64; 2],
    },
}

/// Images of a step after mixing.
#[derive(Debug)]
pub struct MixedBatch {
    /// `[N, 3, H, W]`.
    pub images: Tensor,
    /// `[N, classes]`: how much of each class there is.
    pub targets: Tensor,
}

impl MixingOptions {
    /// What is done to the images of the step that has `seed`; `None` when both are off.
    pub fn draw(self, seed: i64) -> Option<Mixing> {
        let mut generator = ChaCha8Rng::seed_from_u64(seed as u64);
        let takes_cutmix = match (self.mixup_alpha > 0.0, self.cutmix_alpha > 0.0) {
            (false, false) => return None,
            (true, true) => generator.random(),
            (_, cutmix) => cutmix,
        };
        let alpha = if takes_cutmix { self.cutmix_alpha } else { self.mixup_alpha };
        let share = Beta::new(alpha, alpha).ok()?.sample(&mut generator);
        Some(match takes_cutmix {
            true => Mixing::CutMix { share, centre: [generator.random(), generator.random()] },
            false => Mixing::Mixup { share },
        })
    }
}

impl Mixing {
    /// Mixes the images of `batch`, of `num_classes` classes.
    ///
    /// # Errors
    /// When libtorch refuses, for example for want of memory.
    pub fn apply(self, batch: &ImageBatch, num_classes: i64) -> Result<MixedBatch, TorchError> {
        let (images, share) = match self {
            Self::Mixup { share } => {
                let own = batch.images.f_mul_scalar(share)?;
                (own.f_add(&neighbours(&batch.images)?.f_mul_scalar(1.0 - share)?)?, share)
            }
            Self::CutMix { share, centre } => cut_and_paste(&batch.images, share, centre)?,
        };
        let classes = Tensor::f_zeros([batch.labels.size1()?, num_classes], (images.kind(), images.device()))?
            .f_scatter_value(1, &batch.labels.f_unsqueeze(1)?, 1.0)?;
        let targets = classes.f_mul_scalar(share)?.f_add(&neighbours(&classes)?.f_mul_scalar(1.0 - share)?)?;
        Ok(MixedBatch { images, targets })
    }
}

/// `images` with the rectangle of their neighbours, and the share of pixels that stay.
fn cut_and_paste(images: &Tensor, share: f64, centre: [f64; 2]) -> Result<(Tensor, f64), TorchError> {
    let (_, _, height, width) = images.size4()?;
    let side = (1.0 - share).sqrt();
    let (rows, columns) = (cut(height, side, centre[0]), cut(width, side, centre[1]));
    let rectangle = |images: &Tensor| {
        images.f_narrow(2, rows.start, rows.end - rows.start)?.f_narrow(3, columns.start, columns.end - columns.start)
    };
    let mixed = images.f_detach_copy()?;
    rectangle(&mixed)?.f_copy_(&rectangle(&neighbours(images)?)?)?;
    let cut_pixels = (rows.end - rows.start) * (columns.end - columns.start);
    Ok((mixed, 1.0 - cut_pixels as f64 / (height * width) as f64))
}

/// `length` times `side` pixels around `centre`, as far as they are in the image.
fn cut(length: i64, side: f64, centre: f64) -> Range<i64> {
    let pixels = (length as f64 * side) as i64;
    let middle = ((length as f64 * centre) as i64).min(length - 1);
    (middle - pixels / 2).max(0)..(middle + (pixels + 1) / 2).min(length)
}

/// What lies beside each element of the first dimension: the second beside the first and the first beside the second, and
/// so on; beside the last of an odd number, the first.
fn neighbours(x: &Tensor) -> Result<Tensor, TorchError> {
    let count = x.size().first().copied().unwrap_or(0);
    let paired = count / 2 * 2;
    let swapped = x.f_narrow(0, 0, paired)?.f_unflatten(0, [paired / 2, 2])?.f_flip([1])?.f_flatten(0, 1)?;
    match count - paired {
        0 => Ok(swapped),
        _ => Ok(Tensor::f_cat(&[swapped, x.f_narrow(0, 0, 1)?], 0)?),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use tch::{Device, Kind};

    use super::*;
    use crate::model::cross_entropy;

    const BOTH: MixingOptions = MixingOptions { mixup_alpha: 0.4, cutmix_alpha: 1.0 };

    fn batch(num_images: i64) -> ImageBatch {
        tch::manual_seed(8);
        let images = Tensor::randn([num_images, 3, 8, 8], (Kind::Double, Device::Cpu));
        ImageBatch { images, labels: Tensor::arange(num_images, (Kind::Int64, Device::Cpu)) }
    }

    fn close(found: &Tensor, expected: &Tensor, tolerance: f64) -> bool {
        found.size() == expected.size() && (found - expected).abs().max().double_value(&[]) <= tolerance
    }

    #[test]
    fn images_and_losses_are_those_of_timm() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mixing/mixed.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let entries = metadata.metadata().as_ref().unwrap();
        let cases: BTreeMap<String, (f64, Option<[f64; 2]>)> = serde_json::from_str(&entries["cases"]).unwrap();
        let tensors: BTreeMap<String, Tensor> = Tensor::read_safetensors(path).unwrap().into_iter().collect();
        let [images, labels] = ["images", "labels"].map(|name| tensors[name].shallow_clone());
        let (_, _, height, width) = images.size4().unwrap();
        let batch = ImageBatch { images, labels };
        let num_classes = entries["classes"].parse().unwrap();
        let smoothing = entries["smoothing"].parse().unwrap();
        assert_eq!(cases.len(), 7);
        for (name, (share, centre)) in cases {
            // Within the pixel, so that rounding cannot move it.
            let share_of = |pixel: f64, length: i64| (pixel + 0.5) / length as f64;
            let mixing = match centre {
                None => Mixing::Mixup { share },
                Some([row, column]) => {
                    Mixing::CutMix { share, centre: [share_of(row, height), share_of(column, width)] }
                }
            };
            let mixed = mixing.apply(&batch, num_classes).unwrap();
            assert!(close(&mixed.images, &tensors[&format!("{name}.images")], 1e-12), "{name}");
            let loss = cross_entropy(&tensors["logits"], &mixed.targets, smoothing).unwrap();
            // timm's targets have single precision.
            assert!(close(&loss, &tensors[&format!("{name}.loss")], 1e-6), "{name}: {loss:?}");
        }
    }

    #[test]
    fn even_shares_of_a_batch_are_mixed_as_the_whole() {
        let whole = batch(12);
        for mixing in
            [BOTH.draw(1).unwrap(), Mixing::Mixup { share: 0.3 }, Mixing::CutMix { share: 0.5, centre: [0.5; 2] }]
        {
            let expected = mixing.apply(&whole, 12).unwrap();
            for count in [2, 3, 6] {
                let parts = whole.parts(count).unwrap().into_iter().map(|part| mixing.apply(&part, 12).unwrap());
                let (images, targets): (Vec<_>, Vec<_>) = parts.map(|part| (part.images, part.targets)).unzip();
                assert_eq!(Tensor::cat(&images, 0), expected.images);
                assert_eq!(Tensor::cat(&targets, 0), expected.targets);
            }
        }
    }

    #[test]
    fn last_of_an_odd_number_is_mixed_with_the_first() {
        let batch = batch(3);
        let mixed = Mixing::Mixup { share: 0.75 }.apply(&batch, 3).unwrap();
        let expected = [0.75, 0.25, 0.0, 0.25, 0.75, 0.0, 0.25, 0.0, 0.75];
        assert_eq!(mixed.targets, Tensor::from_slice(&expected).view([3, 3]));
        let last = batch.images.get(2) * 0.75 + batch.images.get(0) * 0.25;
        assert!(close(&mixed.images.get(2), &last, 1e-15));
    }

    #[test]
    fn draws_depend_on_the_seed_alone_and_take_both_forms() {
        assert_eq!(MixingOptions { mixup_alpha: 0.0, cutmix_alpha: 0.0 }.draw(3), None);
        let draws: Vec<Mixing> = (0..2000).map(|seed| BOTH.draw(seed).unwrap()).collect();
        assert_eq!(draws[7], BOTH.draw(7).unwrap());
        let mixup: Vec<f64> = draws
            .iter()
            .filter_map(|draw| match draw {
                Mixing::Mixup { share } => Some(*share),
                _ => None,
            })
            .collect();
        assert!((900..1100).contains(&mixup.len()), "{}", mixup.len());
        let mean = mixup.iter().sum::<f64>() / mixup.len() as f64;
        let variance = mixup.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / mixup.len() as f64;
        // Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
        assert!((mean - 0.5).abs() < 0.05 && (variance - 1.0 / 7.2).abs() < 0.015, "{mean}, {variance}");
        let only = |mixup_alpha, cutmix_alpha| MixingOptions { mixup_alpha, cutmix_alpha }.draw(1).unwrap();
        assert!(matches!(only(0.2, 0.0), Mixing::Mixup { .. }));
        assert!(matches!(only(0.0, 1.0), Mixing::CutMix { .. }));
    }
}
