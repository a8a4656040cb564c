//! Which data set `pdarts eval` asks a network about.

use anyhow::anyhow;
use clap::ValueEnum;

use crate::cli::error::UsageError;
use crate::data::DatasetKind;
use crate::genotype::{NetworkKind, NetworkShape};

/// Pixels of the images of CIFAR and photodigits.
const CIFAR_SIDE: u64 = 32;

/// The names of the data sets, as arguments.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub enum EvalDataset {
    Cifar10,
    Cifar100,
    /// The validation images in folders or shards, of ImageNet or others
    #[value(alias = "images")]
    Imagenet,
    Photodigits,
}

impl EvalDataset {
    /// The one that a network of `shape` is for.
    ///
    /// # Errors
    /// When it is not known by its classes.
    pub fn of(shape: &NetworkShape) -> Result<Self, UsageError> {
        match (shape.kind, shape.num_classes) {
            (NetworkKind::ImageNet, _) => Ok(Self::Imagenet),
            _ if shape.image_size != CIFAR_SIDE => Ok(Self::Imagenet),
            (_, 10) => Ok(Self::Cifar10),
            (_, 100) => Ok(Self::Cifar100),
            (_, classes) => {
                Err(UsageError::new(anyhow!("the network tells {classes} classes apart: name the data set with --on")))
            }
        }
    }

    pub fn kind(self) -> DatasetKind {
        match self {
            Self::Cifar10 => DatasetKind::Cifar10,
            Self::Cifar100 => DatasetKind::Cifar100,
            Self::Imagenet => DatasetKind::Images,
            Self::Photodigits => DatasetKind::Photodigits,
        }
    }

    /// Refuses a network of `shape` for images of another size than those it was trained on. Photos have any.
    pub fn require_size(self, shape: &NetworkShape) -> Result<(), UsageError> {
        match (self, shape.kind) {
            (Self::Imagenet, NetworkKind::ImageNet) => Ok(()),
            (Self::Imagenet, NetworkKind::Cifar) if shape.image_size != CIFAR_SIDE => Ok(()),
            (Self::Imagenet, NetworkKind::Cifar) => Err(other_size("CIFAR's 32")),
            (_, NetworkKind::ImageNet) => Err(other_size(&format!("ImageNet's {}", shape.image_size))),
            _ if shape.image_size != CIFAR_SIDE => Err(other_size(&shape.image_size.to_string())),
            _ => Ok(()),
        }
    }

    /// Refuses a network of `shape` for another number of classes than the data set's.
    pub fn require_classes(self, shape: &NetworkShape, num_classes: usize) -> Result<(), UsageError> {
        let (found, kind) = (shape.num_classes, self.kind());
        if found == num_classes as u64 {
            return Ok(());
        }
        // Of images in folders and shards, which of them decides.
        let option = if self == Self::Imagenet { "--data" } else { "--on" };
        let message =
            anyhow!("the network tells {found} classes apart, {kind} has {num_classes}: name another with {option}");
        Err(UsageError::new(message))
    }
}

fn other_size(side: &str) -> UsageError {
    UsageError::new(anyhow!("the network is for images of {side} pixels: name another with --on"))
}
