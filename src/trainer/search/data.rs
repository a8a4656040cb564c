//! The images of a search: one half trains weights, the other trains alphas and, unaugmented, validates.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::config::{ConfigError, DatasetName, SearchConfig, SearchDataSection, Settings};
use crate::data::{
    Augment, DataError, DatasetKind, IMAGE_SIDE, Loader, SameSize, Sampler, Shard, Split, Stream, open,
    train_valid_split,
};
use crate::world::World;

/// The three loaders of a search.
pub struct SearchData {
    /// Batches that train the weights.
    pub weight_loader: Loader,
    /// Batches that train the alphas.
    pub alpha_loader: Loader,
    /// The images of the alpha half in order, each once, without augmentation.
    pub valid_loader: Loader,
    /// Classes of the data set.
    pub num_classes: usize,
    /// Fingerprint of the data set, to compare with other ranks and with the run that goes on.
    pub data_digest: String,
    /// Of the configuration that the data belongs to.
    pub config_digest: String,
}

/// Why there is nothing to search on.
#[derive(Debug, thiserror::Error)]
pub enum SearchDataError {
    /// The data cannot be loaded.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The configuration does not fit the data.
    #[error("{0}")]
    Config(#[from] ConfigError),
}

impl SearchData {
    /// Loads the training images that `config` names and splits them in the order they are stored, as the authors do.
    ///
    /// # Errors
    /// Missing or damaged data; a configuration that does not fit its size.
    pub fn load(config: &SearchConfig, world: &World) -> Result<Self, SearchDataError> {
        let data = &config.data;
        let source = open(dataset_kind(data.dataset), &data.dir, Split::Train)?;
        let side = source.side().unwrap_or(IMAGE_SIDE);
        config.validate_with_dataset(source.len())?;
        config.validate_with_ranks(world.size)?;
        let num_images = if data.limit == 0 { source.len() } else { data.limit };
        let (train, valid) = train_valid_split(num_images, data.train_fraction);
        let (batch, seed) = (config.search.global_batch, config.run.seed);
        let shard = Shard { rank: world.rank, size: world.size };
        let parts = config.search.accumulate_steps;
        let loader = |sampler: Sampler, augment: Augment| {
            let threads = NonZeroUsize::new(data.loader_threads).unwrap_or(NonZeroUsize::MIN);
            let transform = Arc::new(SameSize::new(side, augment, seed));
            Loader::new(Arc::clone(&source), sampler, transform, threads)
        };
        Ok(Self {
            weight_loader: loader(
                Sampler::shuffled(train, batch, seed, Stream::Weights, shard)?.in_parts(parts),
                training_augmentation(data),
            ),
            alpha_loader: loader(
                Sampler::shuffled(valid.clone(), batch, seed, Stream::Alphas, shard)?.in_parts(parts),
                training_augmentation(data),
            ),
            valid_loader: loader(Sampler::sequential(valid, batch, shard)?, Augment::default()),
            num_classes: source.class_names().len(),
            data_digest: source.fingerprint(),
            config_digest: config.digest()?,
        })
    }
}

fn training_augmentation(data: &SearchDataSection) -> Augment {
    Augment {
        crop_padding: data.crop_padding,
        horizontal_flip: data.horizontal_flip,
        cutout: data.cutout,
        policy: None,
    }
}

pub(in crate::trainer) fn dataset_kind(name: DatasetName) -> DatasetKind {
    match name {
        DatasetName::Photodigits => DatasetKind::Photodigits,
        DatasetName::Cifar10 => DatasetKind::Cifar10,
        DatasetName::Cifar100 => DatasetKind::Cifar100,
        DatasetName::Images => DatasetKind::Images,
    }
}
