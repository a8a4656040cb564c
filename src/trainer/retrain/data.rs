//! The images of a retraining: to train on, to validate on where the configuration leaves some, and to test on.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::views::Views;
use crate::config::{
    DatasetName, ImageSizeSection, OnBadImage, Settings, TrainConfig, TrainDataSection, image_size_at,
};
use crate::data::{
    BadImagePolicy, BadImages, Loader, Sampler, Shard, Source, Split, Stream, Subset, Transform, open,
    require_same_classes, train_valid_split,
};
use crate::genotype::{Genotype, NetworkShape};
use crate::model::NetworkDescription;
use crate::trainer::search::{SearchDataError, dataset_kind};
use crate::world::World;

/// The loaders of a retraining and the network that fits them.
pub struct TrainData {
    /// Batches to train on, of the data's size.
    pub train_loader: Loader,
    /// The same images in the other sizes of the training.
    resized_loaders: Vec<(usize, Loader)>,
    image_sizes: Vec<ImageSizeSection>,
    /// The images left for validation in order, each once, without augmentation.
    pub valid_loader: Option<Loader>,
    /// The test images in order, each once, without augmentation.
    pub test_loader: Loader,
    /// The cell, and the network for the data's classes.
    pub network: NetworkDescription,
    /// Fingerprints of the data set, to compare with other ranks and with the run that goes on.
    pub data_digest: String,
    /// Of the configuration and the cell.
    pub run_digest: String,
}

impl TrainData {
    /// Loads what `config` names; `genotype` is the cell to train.
    ///
    /// # Errors
    /// Missing or damaged data; a configuration that does not fit its size.
    pub fn load(config: &TrainConfig, genotype: &Genotype, world: &World) -> Result<Self, SearchDataError> {
        let data = &config.data;
        let read = |split| open(dataset_kind(data.dataset), &data.dir, split);
        let (training, testing) = (read(Split::Train)?, read(Split::Test)?);
        require_same_classes(&data.dir, &*training, &*testing)?;
        config.validate_with_dataset(training.len())?;
        config.validate_with_ranks(world.size)?;
        let views = Views::new(config, data.side());
        let (batch, seed) = (config.train.global_batch, config.run.seed);
        let shard = Shard { rank: world.rank, size: world.size };
        let loader = |source: &Arc<dyn Source>, sampler: Sampler, transform: &Arc<dyn Transform>| {
            let threads = NonZeroUsize::new(data.loader_threads).unwrap_or(NonZeroUsize::MIN);
            let loader = Loader::new(Arc::clone(source), sampler, Arc::clone(transform), threads);
            loader.with_bad_images(Arc::new(BadImages::new(bad_image_policy(data))))
        };
        let in_order = |Part { source, samples }: Part| {
            let sampler = Sampler::sequential(samples, batch, shard)?;
            Ok::<_, SearchDataError>(loader(&source, sampler, &views.evaluation))
        };
        let [train, valid] = parts(&training, data, seed);
        let order = Sampler::shuffled(train.samples, batch, seed, Stream::Weights, shard)?;
        let order = order.in_parts(config.train.accumulate_steps);
        let resized = |from: &ImageSizeSection| {
            let transform = Views::new(config, from.size).training;
            (from.size, loader(&train.source, order.clone(), &transform))
        };
        Ok(Self {
            resized_loaders: config.train.image_sizes.iter().map(resized).collect(),
            image_sizes: config.train.image_sizes.clone(),
            train_loader: loader(&train.source, order.clone(), &views.training),
            valid_loader: if valid.samples.is_empty() { None } else { Some(in_order(valid)?) },
            test_loader: in_order(Part { samples: 0..testing.len() as u32, source: Arc::clone(&testing) })?,
            network: NetworkDescription {
                genotype: genotype.clone(),
                shape: NetworkShape {
                    kind: config.network_kind(),
                    channels: config.model.channels as u64,
                    cells: config.model.cells,
                    num_classes: training.class_names().len() as u64,
                    image_size: data.side() as u64,
                },
                auxiliary_head: config.model.auxiliary_head,
            },
            data_digest: training.fingerprint() + &testing.fingerprint(),
            run_digest: run_digest(config, genotype)?,
        })
    }
}

impl TrainData {
    /// Batches to train on in `epoch`, from 0, in the size that its images have.
    pub fn train_loader_in(&self, epoch: usize) -> &Loader {
        let side = image_size_at(&self.image_sizes, epoch);
        let resized = self.resized_loaders.iter().find(|(size, _)| Some(*size) == side);
        resized.map_or(&self.train_loader, |(_, loader)| loader)
    }
}

/// Some images of a source.
struct Part {
    source: Arc<dyn Source>,
    samples: Range<u32>,
}

/// The training images to train on and those to validate on. Those in folders and shards are in the order of their classes:
/// of them the parts are drawn.
fn parts(training: &Arc<dyn Source>, data: &TrainDataSection, seed: u64) -> [Part; 2] {
    if data.dataset == DatasetName::Images {
        let parts = Subset::split(training, data.limit, data.train_fraction, seed);
        return parts.map(|source| Part { samples: 0..source.len() as u32, source });
    }
    let num_images = if data.limit == 0 { training.len() } else { data.limit };
    let (train, valid) = train_valid_split(num_images, data.train_fraction);
    [train, valid].map(|samples| Part { source: Arc::clone(training), samples })
}

fn bad_image_policy(data: &TrainDataSection) -> BadImagePolicy {
    match data.on_bad_image {
        OnBadImage::Error => BadImagePolicy::Error,
        OnBadImage::Skip => BadImagePolicy::Skip { limit: data.bad_image_limit },
    }
}

/// SHA-256, in hexadecimal, of all that the results depend on: the configuration's part and the cell.
fn run_digest(config: &TrainConfig, genotype: &Genotype) -> Result<String, SearchDataError> {
    let mut hasher = Sha256::new();
    hasher.update(config.digest()?);
    hasher.update(genotype.to_string());
    Ok(format!("{:x}", hasher.finalize()))
}
