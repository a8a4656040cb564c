//! Relations between the keys of images in folders and shards, and between their size and the network.

use super::{IMAGE_SIZE, at_least_one, require};
use crate::config::{
    DatasetName, ImageKeys, NetworkChoice, SearchConfig, SearchDataSection, TrainConfig, TrainDataSection, Violation,
};
use crate::genotype::NetworkKind;

/// Images of this side or more get the ImageNet network where the configuration does not choose.
const IMAGENET_FROM: usize = 128;
/// Far above any network's images.
const MAX_IMAGE_SIZE: usize = 4096;
/// Half of the circle.
const MAX_HUE: f64 = 0.5;

/// What images are brought to before a network reads them.
fn side(dataset: DatasetName, images: &ImageKeys) -> usize {
    match dataset {
        DatasetName::Images => images.image_size,
        DatasetName::Photodigits | DatasetName::Cifar10 | DatasetName::Cifar100 => IMAGE_SIZE,
    }
}

impl SearchDataSection {
    /// Side in pixels of what the supernet gets.
    pub fn side(&self) -> usize {
        side(self.dataset, &self.images)
    }
}

impl TrainDataSection {
    /// Side in pixels of what the network gets.
    pub fn side(&self) -> usize {
        side(self.dataset, &self.images)
    }
}

impl NetworkChoice {
    /// The network for images of `side` pixels.
    pub(super) fn of_side(self, side: usize) -> NetworkKind {
        match self {
            Self::Cifar => NetworkKind::Cifar,
            Self::Imagenet => NetworkKind::ImageNet,
            Self::Auto if side >= IMAGENET_FROM => NetworkKind::ImageNet,
            Self::Auto => NetworkKind::Cifar,
        }
    }
}

impl SearchConfig {
    /// Which network's stem stands before the supernet's cells.
    pub fn network_kind(&self) -> NetworkKind {
        self.model.network.of_side(self.data.side())
    }

    /// Side in pixels of the states behind both reductions.
    pub fn smallest_state(&self) -> usize {
        let (_, stride) = network_and_stride(self.network_kind());
        self.data.side() / stride
    }
}

impl TrainConfig {
    /// The network that the cell is trained in.
    pub fn network_kind(&self) -> NetworkKind {
        self.model.network.of_side(self.data.side())
    }
}

/// Checks the keys of images, which must be left alone for other data sets.
pub(super) fn validate_images(
    dataset: DatasetName,
    images: &ImageKeys,
    crop_padding: usize,
    usual_padding: usize,
) -> Result<(), Violation> {
    if dataset != DatasetName::Images {
        return validate_unused(dataset, images);
    }
    let ImageKeys { image_size, resize, crop_area: [least, greatest], .. } = *images;
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
    let [least, greatest] = images.crop_ratio;
    require(least > 0.0 && least <= greatest && greatest.is_finite(), "data.crop_ratio", || {
        format!("[{least}, {greatest}]; state two numbers above 0, the least first")
    })?;
    let [.., hue] = images.colour_jitter;
    require(images.colour_jitter.iter().all(|&most| most >= 0.0 && most.is_finite()), "data.colour_jitter", || {
        format!("{:?}; state four numbers of 0 or more", images.colour_jitter)
    })?;
    require(hue <= MAX_HUE, "data.colour_jitter", || format!("{hue} turns hues too far; state at most {MAX_HUE}"))?;
    require(crop_padding == 0 || crop_padding == usual_padding, "data.crop_padding", || {
        "images are cropped by data.crop_area and data.crop_ratio; leave it out".to_owned()
    })
}

/// The keys of images say nothing about images that all have one size.
fn validate_unused(dataset: DatasetName, images: &ImageKeys) -> Result<(), Violation> {
    let defaults = ImageKeys::default();
    let changed = [
        ("data.image_size", images.image_size != defaults.image_size),
        ("data.resize", images.resize != defaults.resize),
        ("data.crop_area", images.crop_area != defaults.crop_area),
        ("data.crop_ratio", images.crop_ratio != defaults.crop_ratio),
        ("data.colour_jitter", images.colour_jitter != defaults.colour_jitter),
        ("data.interpolation", images.interpolation != defaults.interpolation),
        ("data.on_bad_image", images.on_bad_image != defaults.on_bad_image),
        ("data.bad_image_limit", images.bad_image_limit != defaults.bad_image_limit),
    ];
    let changed = changed.into_iter().find(|&(_, is_changed)| is_changed).map(|(key, _)| key);
    require(changed.is_none(), changed.unwrap_or_default(), || {
        format!("it is for data.dataset = \"images\", not for {dataset}; leave it out")
    })
}

/// What a network of `kind` is called, and of what the side of its images is a multiple: of all its strides.
fn network_and_stride(kind: NetworkKind) -> (&'static str, usize) {
    match kind {
        NetworkKind::Cifar => ("CIFAR", 4),
        NetworkKind::ImageNet => ("ImageNet", 32),
    }
}

/// Checks that all states of a network of `kind` have whole pixels of images of `side` pixels, which `key` states.
fn validate_side(key: impl Into<String>, side: usize, kind: NetworkKind) -> Result<(), Violation> {
    let (network, stride) = network_and_stride(kind);
    require(side.is_multiple_of(stride) && side <= MAX_IMAGE_SIZE, key, || {
        let other = match network_and_stride(NetworkKind::Cifar) {
            (other, multiple) if other != network && side.is_multiple_of(multiple) => {
                format!("; {other}'s (model.network = \"cifar\") of {multiple}")
            }
            _ => String::new(),
        };
        format!("{side} pixels; the {network} network reads images whose side is a multiple of {stride}{other}")
    })
}

/// The key to change where the network cannot read the images of a data set.
fn key_of_side(dataset: DatasetName) -> &'static str {
    if dataset == DatasetName::Images { "data.image_size" } else { "model.network" }
}

/// Checks that the supernet can read images of the data's size.
pub(super) fn validate_supernet_size(config: &SearchConfig) -> Result<(), Violation> {
    validate_side(key_of_side(config.data.dataset), config.data.side(), config.network_kind())
}

/// Checks that the network can read images of the data's size and of all sizes of the training.
pub(super) fn validate_network_size(config: &TrainConfig) -> Result<(), Violation> {
    let of_training = config.train.image_sizes.iter().enumerate();
    let of_training = of_training.map(|(index, from)| (format!("train.image_sizes.{index}.size"), from.size));
    let kind = config.network_kind();
    let (network, _) = network_and_stride(kind);
    let with_head = match kind {
        NetworkKind::Cifar => 32..=40,
        NetworkKind::ImageNet => 224..=256,
    };
    let [least, greatest] = [with_head.start(), with_head.end()];
    let of_data = (key_of_side(config.data.dataset).to_owned(), config.data.side());
    for (key, side) in std::iter::once(of_data).chain(of_training) {
        validate_side(key, side, kind)?;
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
        (config.data.dataset, config.data.images.image_size) = (DatasetName::Images, image_size);
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
        let with_other = violation(36, |config| config.model.network = NetworkChoice::Imagenet);
        assert!(with_other.ends_with("a multiple of 32; CIFAR's (model.network = \"cifar\") of 4"), "{with_other}");
        let mut config = images(160);
        config.model.auxiliary_head = false;
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn supernets_read_what_all_their_strides_divide() {
        let supernet = |image_size: usize, network: NetworkChoice| {
            let mut config = SearchConfig::default();
            (config.data.dataset, config.data.images.image_size) = (DatasetName::Images, image_size);
            config.model.network = network;
            config.validate().map(|()| config.network_kind()).map_err(|violation| violation.to_string())
        };
        use NetworkChoice::{Auto, Cifar, Imagenet};
        assert_eq!(supernet(224, Auto), Ok(NetworkKind::ImageNet));
        assert_eq!(supernet(64, Auto), Ok(NetworkKind::Cifar));
        assert_eq!(supernet(32, Imagenet), Ok(NetworkKind::ImageNet));
        assert_eq!(supernet(132, Cifar), Ok(NetworkKind::Cifar));
        let refused = supernet(16, Imagenet).unwrap_err();
        assert!(refused.starts_with("data.image_size: 16 pixels; the ImageNet network"), "{refused}");
        assert!(
            supernet(30, Auto).unwrap_err().ends_with("the CIFAR network reads images whose side is a multiple of 4")
        );
        // The images of other data sets have 32 pixels, which either network reads.
        let mut config = SearchConfig::default();
        config.model.network = Imagenet;
        assert_eq!((config.validate(), config.network_kind()), (Ok(()), NetworkKind::ImageNet));
    }

    #[test]
    fn keys_of_views_are_checked_by_name() {
        let refused = [
            violation(224, |config| config.data.images.resize = 200),
            violation(224, |config| config.data.images.crop_area = [0.0, 1.0]),
            violation(224, |config| config.data.images.crop_area = [0.5, 0.4]),
            violation(224, |config| config.data.images.crop_ratio = [1.0, f64::NAN]),
            violation(224, |config| config.data.images.colour_jitter = [0.4, 0.4, -0.4, 0.0]),
            violation(224, |config| config.data.images.colour_jitter = [0.0, 0.0, 0.0, 0.6]),
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
            (config.data.dataset, config.data.images.colour_jitter) = (DatasetName::Cifar10, [0.4; 4]);
        });
        assert_eq!(message, "data.colour_jitter: it is for data.dataset = \"images\", not for cifar10; leave it out");
    }
}
