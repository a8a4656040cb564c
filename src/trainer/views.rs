//! What a run makes of its images: augmented ones to train on, plain ones to validate and test on.

use std::sync::Arc;

use crate::config::{DatasetName, ImageKeys, Interpolation};
use crate::data::{Augment, CentreView, ColourJitter, Filter, RandomResizedCrop, SameSize, TrainingView, Transform};

/// The two transforms.
pub(super) struct Views {
    /// Of training images.
    pub training: Arc<dyn Transform>,
    /// Of validation and test images.
    pub evaluation: Arc<dyn Transform>,
}

/// What a configuration says of them.
#[derive(Copy, Clone)]
pub(super) struct ViewSettings<'a> {
    pub dataset: DatasetName,
    /// What is done to training images; of images in folders and shards without `crop_padding`.
    pub augment: Augment,
    pub images: &'a ImageKeys,
    /// The run's.
    pub seed: u64,
}

impl Views {
    /// Those that `settings` ask for, with training images of `side` pixels.
    pub fn new(settings: ViewSettings<'_>, side: usize) -> Self {
        let ViewSettings { dataset, augment, images, seed } = settings;
        match dataset {
            DatasetName::Images => Self {
                training: Arc::new(training_view(images, augment, side, seed)),
                evaluation: Arc::new(centre_view(images)),
            },
            DatasetName::Photodigits | DatasetName::Cifar10 | DatasetName::Cifar100 => Self {
                training: Arc::new(SameSize::new(side, augment, seed)),
                evaluation: Arc::new(SameSize::new(side, Augment::default(), seed)),
            },
        }
    }
}

fn training_view(images: &ImageKeys, augment: Augment, side: usize, seed: u64) -> TrainingView {
    let Augment { horizontal_flip, cutout, policy, .. } = augment;
    let [brightness, contrast, saturation, hue] = images.colour_jitter;
    TrainingView {
        crop: RandomResizedCrop {
            side,
            scale: images.crop_area.into(),
            ratio: images.crop_ratio.into(),
            filter: filter(images.interpolation),
        },
        horizontal_flip,
        policy,
        jitter: ColourJitter { brightness, contrast, saturation, hue },
        cutout,
        seed,
    }
}

/// What of a validation or test image is seen that has no size of its own.
pub(super) fn centre_view(images: &ImageKeys) -> CentreView {
    let ImageKeys { image_size, resize, .. } = *images;
    let resize = if resize == 0 { CentreView::usual_resize(image_size) } else { resize };
    CentreView { resize, crop: image_size, filter: filter(images.interpolation) }
}

fn filter(interpolation: Interpolation) -> Filter {
    match interpolation {
        Interpolation::Bilinear => Filter::Bilinear,
        Interpolation::Bicubic => Filter::Bicubic,
    }
}
