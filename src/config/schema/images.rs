//! The keys of images in folders and shards, which searches and retrainings share, and the choice of a network by size.

use serde::{Deserialize, Serialize};

use super::Section;

/// How pixels are interpolated where an image is resized.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Linear along each side.
    Bilinear,
    /// Cubic along each side.
    Bicubic,
}

/// What an image that cannot be read or decoded does to a run.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadImage {
    /// It ends it.
    Error,
    /// Another of its class takes its place.
    Skip,
}

/// Which of the authors' two networks: they differ in what stands before the cells.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkChoice {
    /// By the size of the images.
    Auto,
    /// One convolution before the cells.
    Cifar,
    /// Three convolutions of stride 2 before the cells.
    Imagenet,
}

section! {
    /// What `data.dataset = "images"` has in `[data]` beside what all data sets have.
    ImageKeys at "data" {
        /// Side in pixels that images are brought to; a multiple of 32 for the ImageNet network, of 4 for CIFAR's.
        image_size: usize = 224,
        /// Pixels that the shorter side of a validation or test image becomes before its middle is cut out; 0 = 8/7 of
        /// image_size, which is 256 of 224.
        resize: usize = 0,
        /// Least and greatest share of a training image's area that a random crop takes.
        crop_area: [f64; 2] = [0.08, 1.0],
        /// Least and greatest width over height of that crop.
        crop_ratio: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0],
        /// Most by which brightness, contrast, saturation and hue of a training image change at random; 0 = not. Hue at
        /// most 0.5, half of the circle.
        colour_jitter: [f64; 4] = [0.0; 4],
        /// "bilinear" or "bicubic".
        interpolation: Interpolation = Interpolation::Bilinear,
        /// What a file that cannot be decoded does: "error" (ends the run) or "skip" (another of its class is used).
        on_bad_image: OnBadImage = OnBadImage::Error,
        /// Different images of a part of the data set that may be skipped before the run ends.
        bad_image_limit: usize = 100,
    }
}
