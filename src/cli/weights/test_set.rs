//! The images that `pdarts eval` asks a network about.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use clap::ValueEnum;

use crate::cli::error::UsageError;
use crate::data::{
    Augment, Batches, DataError, DatasetKind, ImageFolder, Loader, MemorySource, Sampler, Shard, Source, Split,
    Transform, load,
};
use crate::genotype::{NetworkKind, NetworkShape};

/// The names of the data sets, as arguments.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub enum EvalDataset {
    Cifar10,
    Cifar100,
    /// The validation images, a folder for each class
    Imagenet,
    Photodigits,
}

/// Test images, in memory or in files.
pub enum TestSet {
    Memory(DatasetKind, Arc<MemorySource>),
    Files(Arc<ImageFolder>),
}

impl EvalDataset {
    /// The one that a network of `shape` is for.
    ///
    /// # Errors
    /// When it is not known by its classes.
    pub fn of(shape: &NetworkShape) -> Result<Self, UsageError> {
        match (shape.kind, shape.num_classes) {
            (NetworkKind::ImageNet, _) => Ok(Self::Imagenet),
            (_, 10) => Ok(Self::Cifar10),
            (_, 100) => Ok(Self::Cifar100),
            (_, classes) => {
                Err(UsageError::new(anyhow!("the network tells {classes} classes apart: name the data set with --on")))
            }
        }
    }

    /// Its images in the folder `data`.
    ///
    /// # Errors
    /// When they are not there, or not for a network of `shape`.
    pub fn open(self, data: &Path, shape: &NetworkShape) -> anyhow::Result<TestSet> {
        let kind = match self {
            Self::Imagenet => None,
            Self::Cifar10 => Some(DatasetKind::Cifar10),
            Self::Cifar100 => Some(DatasetKind::Cifar100),
            Self::Photodigits => Some(DatasetKind::Photodigits),
        };
        if kind.is_none() != (shape.kind == NetworkKind::ImageNet) {
            let network = if kind.is_none() { "CIFAR's 32 pixels" } else { "ImageNet's 224 pixels" };
            return Err(
                UsageError::new(anyhow!("the network is for images of {network}: name another with --on")).into()
            );
        }
        let set = match kind {
            None => TestSet::Files(Arc::new(ImageFolder::open(data)?)),
            Some(kind) => TestSet::Memory(kind, Arc::new(load(kind, data, Split::Test)?)),
        };
        let (found, expected) = (shape.num_classes, set.class_names().len());
        if found != expected as u64 {
            let message =
                anyhow!("the network tells {found} classes apart, {set} has {expected}: name another with --on");
            return Err(UsageError::new(message).into());
        }
        Ok(set)
    }
}

impl TestSet {
    /// Number of images.
    pub fn len(&self) -> usize {
        match self {
            Self::Memory(_, dataset) => dataset.len(),
            Self::Files(folder) => folder.len(),
        }
    }

    /// In the order of labels.
    pub fn class_names(&self) -> Vec<&str> {
        match self {
            Self::Memory(_, dataset) => dataset.class_names().iter().map(String::as_str).collect(),
            Self::Files(folder) => folder.class_names().iter().map(String::as_str).collect(),
        }
    }

    /// The images in order, each once, without augmentation.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn batches(&self, batch_size: usize, threads: usize) -> Result<Batches, DataError> {
        let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
        match self {
            Self::Memory(_, dataset) => {
                let sampler = Sampler::sequential(0..dataset.len() as u32, batch_size, Shard::WHOLE)?;
                let transform = Transform::new(dataset, Augment::default(), 0);
                let loader = Loader::new(Arc::clone(dataset), sampler, transform, threads);
                loader.batches(0, 0..loader.num_steps())
            }
            Self::Files(folder) => folder.batches(batch_size, threads),
        }
    }
}

impl fmt::Display for TestSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(kind, _) => kind.fmt(f),
            Self::Files(_) => f.write_str("the image folder"),
        }
    }
}
