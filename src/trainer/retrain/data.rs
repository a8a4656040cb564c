//! The images of a retraining: to train on, to validate on where the configuration leaves some, and to test on.

use std::num::NonZeroUsize;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::{AugmentationPolicy, Settings, TrainConfig, TrainDataSection};
use crate::data::{
    Augment, IMAGE_SIDE, Loader, Policy, SameSize, Sampler, Shard, Source, Split, Stream, open, train_valid_split,
};
use crate::genotype::{Genotype, NetworkKind, NetworkShape};
use crate::model::NetworkDescription;
use crate::trainer::search::{SearchDataError, dataset_kind};
use crate::world::World;

/// The loaders of a retraining and the network that fits them.
pub struct TrainData {
    /// Batches to train on.
    pub train_loader: Loader,
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
        config.validate_with_dataset(training.len())?;
        config.validate_with_ranks(world.size)?;
        let num_images = if data.limit == 0 { training.len() } else { data.limit };
        let (train, valid) = train_valid_split(num_images, data.train_fraction);
        let (batch, seed) = (config.train.global_batch, config.run.seed);
        let shard = Shard { rank: world.rank, size: world.size };
        let side = training.side().unwrap_or(IMAGE_SIDE);
        let loader = |source: &Arc<dyn Source>, sampler: Sampler, augment: Augment| {
            let threads = NonZeroUsize::new(data.loader_threads).unwrap_or(NonZeroUsize::MIN);
            let transform = Arc::new(SameSize::new(side, augment, seed));
            Loader::new(Arc::clone(source), sampler, transform, threads)
        };
        let in_order = |source: &Arc<dyn Source>, samples| {
            Ok::<_, SearchDataError>(loader(source, Sampler::sequential(samples, batch, shard)?, Augment::default()))
        };
        let order =
            Sampler::shuffled(train, batch, seed, Stream::Weights, shard)?.in_parts(config.train.accumulate_steps);
        Ok(Self {
            train_loader: loader(&training, order, augmentation(data)),
            valid_loader: if valid.is_empty() { None } else { Some(in_order(&training, valid)?) },
            test_loader: in_order(&testing, 0..testing.len() as u32)?,
            network: NetworkDescription {
                genotype: genotype.clone(),
                shape: NetworkShape {
                    kind: NetworkKind::Cifar,
                    channels: config.model.channels as u64,
                    cells: config.model.cells,
                    num_classes: training.class_names().len() as u64,
                    image_size: side as u64,
                },
                auxiliary_head: config.model.auxiliary_head,
            },
            data_digest: training.fingerprint() + &testing.fingerprint(),
            run_digest: run_digest(config, genotype)?,
        })
    }
}

/// SHA-256, in hexadecimal, of all that the results depend on: the configuration's part and the cell.
fn run_digest(config: &TrainConfig, genotype: &Genotype) -> Result<String, SearchDataError> {
    let mut hasher = Sha256::new();
    hasher.update(config.digest()?);
    hasher.update(genotype.to_string());
    Ok(format!("{:x}", hasher.finalize()))
}

fn augmentation(data: &TrainDataSection) -> Augment {
    let policy = match data.policy {
        AugmentationPolicy::None => None,
        AugmentationPolicy::Autoaugment => Some(Policy::AutoAugment),
        AugmentationPolicy::Randaugment => {
            Some(Policy::RandAugment { operations: data.randaugment_operations, magnitude: data.randaugment_magnitude })
        }
    };
    let TrainDataSection { crop_padding, horizontal_flip, cutout, .. } = *data;
    Augment { crop_padding, horizontal_flip, cutout, policy }
}
