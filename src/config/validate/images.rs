//! Relations between the keys of images in folders and shards, and between their size and the network.

use super::{IMAGE_SIZE, at_least_one, require};
use crate::config::{DatasetName, Interpolation, NetworkChoice, OnBadImage, TrainConfig, TrainDataSection, Violation};
use crate::genotype::NetworkKind;

/// Images of this side or more get the ImageNet network where the configuration does not choose.
const IMAGENET_FROM: usize = 128;
/// Far above any network's images.
const MAX_IMAGE_SIZE: usize = 4096;
/// Half of the circle.
const MAX_HUE: f64 = 0.5;

impl TrainDataSection {
    /// Side in pixels of what the network gets.
    pub fn side(&self) -> usize {
        match self.dataset {
            DatasetName::Images => self.image_size,
            DatasetName::Photodigits | DatasetName::Cifar10 | DatasetName::Cifar100 => IMAGE_SIZE,
        }
    }
}

impl TrainConfig {
    /// The network that the cell is trained in.
    pub fn network_kind(&self) -> NetworkKind {
        match self.model.network {
            NetworkChoice::Cifar => NetworkKind::Cifar,
            NetworkChoice::Imagenet => NetworkKind::ImageNet,
            NetworkChoice::Auto if self.data.side() >= IMAGENET_FROM => NetworkKind::ImageNet,
            NetworkChoice::Auto => NetworkKind::Cifar,
        }
    }
}

/// Checks the keys of images, which must be left alone for other data sets.
pub(super) fn validate_images(data: &TrainDataSection) -> Result<(), Violation> {
    if data.dataset != DatasetName::Images {
        return validate_unused(data);
    }
    let TrainDataSection { image_size, resize, crop_area: [least, greatest], .. } = *data;
    at_least_one("data.image_size", image_size)?;
    for (key, pixels) in [("data.image_size", image_size), ("data.resize", resize)] {
        require(pixels <= MAX_IMAGE_SIZE, key, || format!("{pixels} pixels; state at most {MAX_IMAGE_SIZE}"))?;
    }
    require(resize == 0 || resize >= image_size, "data.resize", || {
        format!(
            "{resize} is below data.image_size, so images would have black borders; state {image_size} or more, or 0"
        )
    })?;
    require(least > 0.0 && least <= greatest && greatest <= 1.0, "data.crop_area", || {
        format!(
            "[{least}, {greatest}] are no shares of an image; state two numbers above 0 and up to 1, the least first"
        )
    })?;
    let [least, greatest] = data.crop_ratio;
    require(least > 0.0 && least <= greatest && greatest.is_finite(), "data.crop_ratio", || {
        format!("[{least}, {greatest}]; state two numbers above 0, the least first")
    })?;
    let [.., hue] = data.colour_jitter;
    require(data.colour_jitter.iter().all(|&most| most >= 0.0 && most.is_finite()), "data.colour_jitter", || {
        format!("{:?}; state four numbers of 0 or more", data.colour_jitter)
    })?;
    require(hue <= MAX_HUE, "data.colour_jitter", || format!("{hue} turns hues too far; state at most {MAX_HUE}"))?;
    let unused = data.crop_padding == 0 || data.crop_padding == TrainDataSection::default().crop_padding;
    require(unused, "data.crop_padding", || {
        "images are cropped by data.crop_area and data.crop_ratio; leave it out".to_owned()
    })
}

/// The keys of images say nothing about images that all have one size.
fn validate_unused(data: &TrainDataSection) -> Result<(), Violation> {
    let defaults = TrainDataSection::default();
    let changed = [
        ("data.image_size", data.image_size != defaults.image_size),
        ("data.resize", data.resize != defaults.resize),
        ("data.crop_area", data.crop_area != defaults.crop_area),
        ("data.crop_ratio", data.crop_ratio != defaults.crop_ratio),
        ("data.colour_jitter", data.colour_jitter != defaults.colour_jitter),
        ("data.interpolation", data.interpolation != Interpolation::Bilinear),
        ("data.on_bad_image", data.on_bad_image != OnBadImage::Error),
        ("data.bad_image_limit", data.bad_image_limit != defaults.bad_image_limit),
    ];
    let changed = changed.into_iter().find(|&(_, is_changed)| is_changed).map(|(key, _)| key);
    require(changed.is_none(), changed.unwrap_or_default(), || {
        format!("it is for data.dataset = \"images\", not for {}; leave it out", data.dataset)
    })
}

/// Checks that the network can read images of the data's size and of all sizes of the training.
pub(super) fn validate_network_size(config: &TrainConfig) -> Result<(), Violation> {
    let key = if config.data.dataset == DatasetName::Images { "data.image_size" } else { "model.network" };
    let of_training = config.train.image_sizes.iter().enumerate();
    let of_training = of_training.map(|(index, from)| (format!("train.image_sizes.{index}.size"), from.size));
    let (network, multiple, with_head) = match config.network_kind() {
        NetworkKind::Cifar => ("CIFAR", 4, 32..=40),
        NetworkKind::ImageNet => ("ImageNet", 32, 224..=256),
    };
    let [least, greatest] = [with_head.start(), with_head.end()];
    for (key, side) in std::iter::once((key.to_owned(), config.data.side())).chain(of_training) {
        require(side.is_multiple_of(multiple) && side <= MAX_IMAGE_SIZE, key, || {
            format!("{side} pixels; the {network} network reads images whose side is a multiple of {multiple}")
        })?;
        require(!config.model.auxiliary_head || with_head.contains(&side), "model.auxiliary_head", || {
            format!(
                "in the {network} network it reads images of {least} to {greatest} pixels, not of {side}; state false"
            )
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn images(image_size: usize) -> TrainConfig {
        let mut config = TrainConfig::default();
        (config.data.dataset, config.data.image_size) = (DatasetName::Images, image_size);
        config
    }

    fn violation(image_size: usize, change: impl FnOnce(&mut TrainConfig)) -> String {
        let mut config = images(image_size);
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn network_follows_from_the_size_unless_it_is_chosen() {
        assert_eq!(TrainConfig::default().network_kind(), NetworkKind::Cifar);
        assert_eq!(images(64).network_kind(), NetworkKind::Cifar);
        assert_eq!(images(128).network_kind(), NetworkKind::ImageNet);
        let mut chosen = images(64);
        chosen.model.network = NetworkChoice::Imagenet;
        assert_eq!(chosen.network_kind(), NetworkKind::ImageNet);
        assert_eq!(images(224).validate(), Ok(()));
    }

    #[test]
    fn sizes_that_a_network_cannot_read_are_refused_with_those_it_can() {
        assert!(violation(225, |_| {}).contains("a multiple of 32"));
        assert!(violation(30, |_| {}).contains("a multiple of 4"));
        assert!(violation(64, |_| {}).contains("32 to 40 pixels, not of 64"));
        assert!(violation(160, |_| {}).contains("224 to 256 pixels, not of 160"));
        let mut config = images(160);
        config.model.auxiliary_head = false;
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn keys_of_views_are_checked_by_name() {
        let refused = [
            violation(224, |config| config.data.resize = 200),
            violation(224, |config| config.data.crop_area = [0.0, 1.0]),
            violation(224, |config| config.data.crop_area = [0.5, 0.4]),
            violation(224, |config| config.data.crop_ratio = [1.0, f64::NAN]),
            violation(224, |config| config.data.colour_jitter = [0.4, 0.4, -0.4, 0.0]),
            violation(224, |config| config.data.colour_jitter = [0.0, 0.0, 0.0, 0.6]),
            violation(224, |config| config.data.crop_padding = 8),
            violation(224, |config| config.data.cutout = 225),
        ];
        let keys = refused.map(|message| message.split(':').next().unwrap_or_default().to_owned());
        let expected = [
            "data.resize",
            "data.crop_area",
            "data.crop_area",
            "data.crop_ratio",
            "data.colour_jitter",
            "data.colour_jitter",
            "data.crop_padding",
            "data.cutout",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn keys_of_images_are_refused_for_data_sets_of_one_size() {
        let message = violation(224, |config| {
            (config.data.dataset, config.data.colour_jitter) = (DatasetName::Cifar10, [0.4; 4]);
        });
        assert_eq!(message, "data.colour_jitter: it is for data.dataset = \"images\", not for cifar10; leave it out");
    }
}
