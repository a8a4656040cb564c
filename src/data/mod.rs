//! Data: from the images on disk to the normalised batches of a training step.
//!
//! [`load`] reads a whole data set into memory as bytes ([`Dataset`]). A [`Sampler`] says which images make up each
//! step, a [`Transform`] augments and normalises one image, and a [`Loader`] runs both ahead of the trainer on threads.
//!
//! Nothing here depends on how many ranks there are or how many threads load: the images of a step follow from (seed,
//! epoch, step, global batch), of which a rank takes its slice, and the augmentation of an image from (seed, epoch,
//! index). So runs on 1 and on N ranks see the same images, and a run resumes at any step.

mod augment;
mod byte_table;
mod cifar;
mod cifar_binary;
mod cifar_names;
mod cifar_python;
mod dataset;
mod error;
pub mod fetch;
mod image_folder;
mod image_operation;
mod loader;
mod photodigits;
mod policy;
mod prefetch;
mod random;
mod sampler;
pub mod transform;

use std::{fmt, path::Path};

pub use augment::{Augment, Transform};
pub use dataset::{CHANNELS, Dataset, IMAGE_BYTES, IMAGE_SIDE};
pub use error::DataError;
pub use image_folder::ImageFolder;
pub use loader::{Batch, Batches, Loader};
pub use policy::Policy;
pub use random::Stream;
pub use sampler::{Sampler, Shard, train_valid_split};

/// The data sets of 32x32 colour images that the program knows.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DatasetKind {
    /// Handwritten digits blended on photographs; embedded in the program, nothing to download.
    Photodigits,
    /// CIFAR-10: 10 classes, 50,000 + 10,000 images.
    Cifar10,
    /// CIFAR-100 with its 100 fine classes, 50,000 + 10,000 images.
    Cifar100,
}

impl fmt::Display for DatasetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DatasetKind::Photodigits => "photodigits",
            DatasetKind::Cifar10 => "CIFAR-10",
            DatasetKind::Cifar100 => "CIFAR-100",
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

/// Loads one part of a data set into memory.
///
/// CIFAR is looked for in `dir`: the unpacked folder of the binary or the Python release inside it, `dir` being that
/// folder itself, or the `.tar.gz` as downloaded. `dir` is not used for photodigits.
///
/// # Errors
/// A missing, unreadable, truncated or overlong file, and a label that the data set does not have.
pub fn load(kind: DatasetKind, dir: &Path, split: Split) -> Result<Dataset, DataError> {
    match kind {
        DatasetKind::Photodigits => photodigits::load(split),
        DatasetKind::Cifar10 => cifar::load(&cifar::CIFAR10, dir, split),
        DatasetKind::Cifar100 => cifar::load(&cifar::CIFAR100, dir, split),
    }
}
