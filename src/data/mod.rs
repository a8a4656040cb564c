//! Data: from the images on disk to the bytes of a training step.
//!
//! A [`Source`] gives labelled images by number; [`open`] finds the one that is asked for. A [`Sampler`] says
//! which images make up each step, a [`Transform`] makes bytes of one size out of a stored image, and a [`Loader`] runs all
//! of it ahead of the trainer on threads. Bytes become normalised numbers on the device.
//!
//! Nothing here depends on how many ranks there are or how many threads load: the images of a step follow from (seed,
//! epoch, step, global batch), of which a rank takes its slice, and the augmentation of an image from (seed, epoch,
//! index). So runs on 1 and on N ranks see the same images, and a run resumes at any step.

mod apart;
mod bad_images;
mod buffer_pool;
mod cifar;
mod cifar_binary;
mod cifar_names;
mod cifar_python;
mod class_counts;
mod digest;
mod encoded;
mod error;
pub mod fetch;
mod identity;
mod image_folder;
mod images;
mod loader;
mod memory;
mod packing;
mod parallel;
mod photodigits;
mod pixels;
mod prefetch;
mod random;
mod sampler;
pub mod shards;
mod shown;
mod source;
mod subset;
mod transform;

use std::{fmt, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

pub use apart::refuse_among_images;
pub use bad_images::{BadImagePolicy, BadImages};
pub use cifar::{IMAGE_BYTES, IMAGE_SIDE};
pub use error::DataError;
pub use identity::DataIdentity;
pub use image_folder::ImageFolder;
pub use images::{Images, require_same_classes};
pub use loader::{Batch, Batches, Loader};
pub use memory::MemorySource;
pub use pixels::Pixels;
pub use random::Stream;
pub use sampler::{RankShare, Sampler};
pub use shards::Shards;
pub use source::{CHANNELS, Colours, Source, StoredImage};
pub use subset::Subset;
pub use transform::{
    Area, Augment, CentreView, ColourChange, ColourJitter, Decoded, Draw, Filter, ImageDecoder, ImageError, JpegError,
    MAX_PIXELS, Picture, Policy, RandomResizedCrop, Rectangle, SameSize, Scratch, Shrink, TrainingView, Transform,
    UnreadableImage, Window,
};

/// The data sets that the program knows, under the names that configurations have for them.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetKind {
    /// Handwritten digits blended on photographs; embedded in the program, nothing to download.
    Photodigits,
    /// CIFAR-10: 10 classes, 50,000 + 10,000 images.
    Cifar10,
    /// CIFAR-100 with its 100 fine classes, 50,000 + 10,000 images.
    Cifar100,
    /// Images in folders or in shards, as ImageNet has them.
    Images,
}

impl DatasetKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Photodigits, Self::Cifar10, Self::Cifar100, Self::Images];

    /// What images of its kind are normalised with; see [`Source::colours`].
    pub fn colours(self) -> Colours {
        match self {
            DatasetKind::Photodigits => photodigits::COLOURS,
            DatasetKind::Cifar10 => cifar::CIFAR10.colours,
            DatasetKind::Cifar100 => cifar::CIFAR100.colours,
            DatasetKind::Images => Colours::IMAGENET,
        }
    }
}

impl fmt::Display for DatasetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DatasetKind::Photodigits => "photodigits",
            DatasetKind::Cifar10 => "CIFAR-10",
            DatasetKind::Cifar100 => "CIFAR-100",
            DatasetKind::Images => "the image folder",
        })
    }
}

/// The two parts a data set is published in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// Images to train (and, in a search, to validate) on.
    Train,
    /// Images held back for the final figure.
    Test,
}

/// Opens one part of a data set; photodigits and CIFAR are read into memory.
///
/// CIFAR is looked for in `dir`: the unpacked folder of the binary or the Python release inside it, `dir` being that
/// folder itself, or the `.tar.gz` as downloaded. `dir` is not used for photodigits.
///
/// # Errors
/// A missing, unreadable, truncated or overlong file, and a label that the data set does not have.
pub fn open(kind: DatasetKind, dir: &Path, split: Split) -> Result<Arc<dyn Source>, DataError> {
    Ok(match kind {
        DatasetKind::Photodigits => Arc::new(photodigits::load(split)?),
        DatasetKind::Cifar10 => Arc::new(cifar::load(&cifar::CIFAR10, dir, split)?),
        DatasetKind::Cifar100 => Arc::new(cifar::load(&cifar::CIFAR100, dir, split)?),
        DatasetKind::Images => Arc::new(Images::open(dir, split)?),
    })
}
