//! What every set of images offers, wherever it is kept: length, labels, and one stored image by its number.
//!
//! A source knows nothing of training: it does not decode, resize or normalise. What is made of a stored image is a
//! transform's matter, and which images come when is the sampler's.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DataError, Pixels};

/// Colour channels of an image: red, green, blue.
pub const CHANNELS: usize = 3;

/// One image as a source keeps it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum StoredImage<'a> {
    /// Decoded.
    Pixels {
        /// `[height, width, 3]`: red, green, blue.
        bytes: &'a [u8],
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
    },
    /// The bytes of a JPEG, PNG, ... file.
    Encoded(&'a [u8]),
}

/// The statistics that images are normalised with: `(byte / 255 - mean) / std`, by channel.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Colours {
    /// Mean of each channel over the training images, with bytes scaled to 0..1.
    pub mean: [f32; CHANNELS],
    /// Standard deviation of each channel over the training images, with bytes scaled to 0..1.
    pub std: [f32; CHANNELS],
}

impl Colours {
    /// ImageNet's, as all public codes use them.
    pub const IMAGENET: Colours = Colours { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    /// Whether images can be normalised with them.
    pub fn are_usable(&self) -> bool {
        self.mean.iter().all(|mean| mean.is_finite()) && self.std.iter().all(|std| std.is_normal() && *std > 0.0)
    }
}

impl fmt::Display for Colours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mean {:?}, deviation {:?}", self.mean, self.std)
    }
}

/// Labelled images that any thread reads by number, in any order.
pub trait Source: Send + Sync {
    /// Number of images; at most `u32::MAX`.
    fn len(&self) -> usize;

    /// Whether there are no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height and width of every image in pixels, where all have the same.
    fn side(&self) -> Option<usize> {
        None
    }

    /// All images, where they are in memory and of one size.
    fn pixels(&self) -> Option<&Pixels> {
        None
    }

    /// One name for each class, in the order of labels.
    fn class_names(&self) -> &[String];

    /// The class of image `index`, below the number of class names; `None` past the last image.
    fn label(&self, index: u32) -> Option<u32>;

    /// Image `index`. `buffer` is the caller's, reused from image to image: its content before the call means nothing.
    ///
    /// # Errors
    /// When there is no such image, or it cannot be read.
    fn read<'a>(&'a self, index: u32, buffer: &'a mut Vec<u8>) -> Result<StoredImage<'a>, DataError>;

    /// Where image `index` is kept, for messages: a file, or a place in one.
    fn location(&self, index: u32) -> String;

    /// SHA-256, in hexadecimal, of what tells this set from another: of a set in memory all of it; of a larger one its
    /// index (names, labels, sizes) and never the contents of files.
    fn fingerprint(&self) -> String;

    /// SHA-256, in hexadecimal, of the sizes of files, where the fingerprint has only their names and sizes were read anyway.
    fn sizes(&self) -> Option<String> {
        None
    }

    /// What to tell the user once: what was left out, and what may not be meant.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// What its images are normalised with.
    fn colours(&self) -> Colours;
}

impl fmt::Debug for dyn Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} images", self.len())
    }
}
