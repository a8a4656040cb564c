//! Which data set `pdarts eval` asks a network about.

use anyhow::anyhow;
use clap::ValueEnum;

use crate::cli::error::UsageError;
use crate::data::{Colours, DatasetKind};
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
    /// The one that a network of `shape` is for, trained on images that were normalised with `colours`, if that is known.
    pub fn of(shape: &NetworkShape, colours: Option<&Colours>) -> Self {
        let has_colours = |kind: &DatasetKind| Some(&kind.colours()) == colours;
        match (DatasetKind::ALL.into_iter().find(has_colours), shape.kind, shape.num_classes) {
            (Some(kind), ..) => kind.into(),
            (None, NetworkKind::Cifar, 10) if shape.image_size == CIFAR_SIDE => Self::Cifar10,
            (None, NetworkKind::Cifar, 100) if shape.image_size == CIFAR_SIDE => Self::Cifar100,
            // Photos have any size and number of classes.
            _ => Self::Imagenet,
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
        let side = shape.image_size;
        if self == Self::Imagenet || side == CIFAR_SIDE {
            return Ok(());
        }
        let message = anyhow!(
            "the network is for images of {side} pixels, those of {} have {CIFAR_SIDE}: name another with --on",
            self.kind()
        );
        Err(UsageError::new(message))
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

impl From<DatasetKind> for EvalDataset {
    fn from(kind: DatasetKind) -> Self {
        match kind {
            DatasetKind::Cifar10 => Self::Cifar10,
            DatasetKind::Cifar100 => Self::Cifar100,
            DatasetKind::Images => Self::Imagenet,
            DatasetKind::Photodigits => Self::Photodigits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_set_is_told_by_the_normalisation_else_by_size_and_classes() {
        let of = |shape: NetworkShape, kind: Option<DatasetKind>| {
            EvalDataset::of(&shape, kind.map(DatasetKind::colours).as_ref())
        };
        let cifar = |num_classes| NetworkShape { num_classes, ..NetworkShape::cifar(10) };
        for kind in DatasetKind::ALL {
            assert_eq!(of(cifar(10), Some(kind)).kind(), kind);
        }
        assert_eq!(of(cifar(10), None), EvalDataset::Cifar10);
        assert_eq!(of(cifar(100), None), EvalDataset::Cifar100);
        assert_eq!(of(cifar(7), None), EvalDataset::Imagenet);
        assert_eq!(of(NetworkShape { image_size: 64, ..cifar(10) }, None), EvalDataset::Imagenet);
        assert_eq!(of(NetworkShape { num_classes: 10, ..NetworkShape::imagenet() }, None), EvalDataset::Imagenet);
    }
}
