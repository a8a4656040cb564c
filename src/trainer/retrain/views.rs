//! What a retraining makes of its images: augmented ones to train on, plain ones to validate and test on.

use std::sync::Arc;

use crate::config::{AugmentationPolicy, DatasetName, Interpolation, TrainConfig, TrainDataSection};
use crate::data::{
    Augment, CentreView, ColourJitter, Filter, Policy, RandomResizedCrop, SameSize, TrainingView, Transform,
};

/// The two transforms.
pub(super) struct Views {
    /// Of training images.
    pub training: Arc<dyn Transform>,
    /// Of validation and test images.
    pub evaluation: Arc<dyn Transform>,
}

impl Views {
    /// Those that `config` asks for, with training images of `side` pixels.
    pub fn new(config: &TrainConfig, side: usize) -> Self {
        let (data, seed) = (&config.data, config.run.seed);
        match data.dataset {
            DatasetName::Images => {
                Self { training: Arc::new(training_view(data, side, seed)), evaluation: Arc::new(centre_view(data)) }
            }
            DatasetName::Photodigits | DatasetName::Cifar10 | DatasetName::Cifar100 => Self {
                training: Arc::new(SameSize::new(side, augmentation(data), seed)),
                evaluation: Arc::new(SameSize::new(side, Augment::default(), seed)),
            },
        }
    }
}

fn training_view(data: &TrainDataSection, side: usize, seed: u64) -> TrainingView {
    let TrainDataSection { crop_area, crop_ratio, horizontal_flip, cutout, .. } = *data;
    let [brightness, contrast, saturation, hue] = data.colour_jitter;
    TrainingView {
        crop: RandomResizedCrop {
            side,
            scale: crop_area.into(),
            ratio: crop_ratio.into(),
            filter: filter(data.interpolation),
        },
        horizontal_flip,
        policy: policy(data),
        jitter: ColourJitter { brightness, contrast, saturation, hue },
        cutout,
        seed,
    }
}

fn centre_view(data: &TrainDataSection) -> CentreView {
    let resize = if data.resize == 0 { CentreView::usual_resize(data.image_size) } else { data.resize };
    CentreView { resize, crop: data.image_size, filter: filter(data.interpolation) }
}

fn filter(interpolation: Interpolation) -> Filter {
    match interpolation {
        Interpolation::Bilinear => Filter::Bilinear,
        Interpolation::Bicubic => Filter::Bicubic,
    }
}

fn policy(data: &TrainDataSection) -> Option<Policy> {
    match data.policy {
        AugmentationPolicy::None => None,
        AugmentationPolicy::Autoaugment => Some(Policy::AutoAugment),
        AugmentationPolicy::Randaugment => {
            Some(Policy::RandAugment { operations: data.randaugment_operations, magnitude: data.randaugment_magnitude })
        }
    }
}

fn augmentation(data: &TrainDataSection) -> Augment {
    let TrainDataSection { crop_padding, horizontal_flip, cutout, .. } = *data;
    Augment { crop_padding, horizontal_flip, cutout, policy: policy(data) }
}
