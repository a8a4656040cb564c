//! The images of a retraining: to train on, to validate on where the configuration leaves some, and to test on.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::{
    AugmentationPolicy, DatasetName, ImageSizeSection, Settings, TrainConfig, TrainDataSection, image_size_at,
};
use crate::data::{
    Augment, BadImages, DataIdentity, Loader, Policy, RankShare, Sampler, Source, Split, Stream, Subset, Transform,
    require_same_classes,
};
use crate::genotype::{Genotype, NetworkShape};
use crate::model::NetworkDescription;
use crate::shares::train_valid_split;
use crate::trainer::bad_images::bad_images;
use crate::trainer::batch_norm_values::{NormalisedBatch, check_normalised_values};
use crate::trainer::open::{dataset_kind, open_part};
use crate::trainer::resident;
use crate::trainer::search::SearchDataError;
use crate::trainer::views::{ViewSettings, Views};
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
    /// What tells the data set from others, to compare with other ranks and with the run that goes on.
    pub data_identity: DataIdentity,
    /// Of the configuration and the cell.
    pub run_digest: String,
    /// Those met so far of the images to train on, to validate on and to test on.
    pub(super) bad_images: [Arc<BadImages>; 3],
}

impl TrainData {
    /// Loads what `config` names; `genotype` is the cell to train.
    ///
    /// # Errors
    /// Missing or damaged data; a configuration that does not fit its size.
    pub fn load(config: &TrainConfig, genotype: &Genotype, world: &World) -> Result<Self, SearchDataError> {
        let data = &config.data;
        let read = |split| open_part(dataset_kind(data.dataset), &data.dir, split, world);
        let (training, testing) = (read(Split::Train)?, read(Split::Test)?);
        require_same_classes(&data.dir, &*training, &*testing)?;
        config.validate_with_dataset(training.len())?;
        config.validate_with_ranks(world.size)?;
        let views = Views::new(view_settings(config), data.side());
        let (batch, seed) = (config.train.global_batch, config.run.seed);
        let rank_share = RankShare { rank: world.rank, size: world.size };
        let loader = |part: &Part, sampler: Sampler, transform: &Arc<dyn Transform>| {
            let threads = NonZeroUsize::new(data.loader_threads).unwrap_or(NonZeroUsize::MIN);
            let loader = Loader::new(Arc::clone(&part.source), sampler, Arc::clone(transform), threads);
            let windows = resident::stays_on(&*part.source, world.device);
            loader.with_bad_images(Arc::clone(&part.bad_images)).with_windows(windows)
        };
        let in_order = |part: &Part| {
            let sampler = Sampler::sequential(part.samples.clone(), batch, rank_share)?;
            Ok::<_, SearchDataError>(loader(part, sampler, &views.evaluation))
        };
        let [train, valid] = parts(&training, data, seed);
        let test = Part::new(Arc::clone(&testing), 0..testing.len() as u32, data);
        let order = Sampler::shuffled(train.samples.clone(), batch, seed, Stream::Weights, rank_share)?;
        let order = order.in_parts(config.train.accumulate_steps);
        let in_random_order = |transform: &Arc<dyn Transform>| {
            loader(&train, order.clone(), transform).with_digests(config.run.digest_batches)
        };
        let resized = |from: &ImageSizeSection| {
            (from.size, in_random_order(&Views::new(view_settings(config), from.size).training))
        };
        let network = network(config, genotype, training.class_names().len());
        for side in config.train.image_sizes.iter().map(|from| from.size).chain([config.data.side()]) {
            let of_side = NetworkShape { image_size: side as u64, ..network.shape };
            let network = NetworkDescription { shape: of_side, ..network.clone() };
            check_normalised_values(&normalised_batch(config, &network), world.size)?;
        }
        Ok(Self {
            resized_loaders: config.train.image_sizes.iter().map(resized).collect(),
            image_sizes: config.train.image_sizes.clone(),
            train_loader: in_random_order(&views.training),
            valid_loader: if valid.samples.is_empty() { None } else { Some(in_order(&valid)?) },
            test_loader: in_order(&test)?,
            network,
            data_identity: DataIdentity::of(&[&*training, &*testing]),
            run_digest: run_digest(config, genotype)?,
            bad_images: [train, valid, test].map(|part| part.bad_images),
        })
    }
}

impl TrainData {
    /// Puts `genotype` in the place of the cell. The digest of the run stays that of the first: there are no checkpoints.
    pub(in crate::trainer) fn set_cell(&mut self, genotype: &Genotype) {
        self.network.genotype = genotype.clone();
    }

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
    bad_images: Arc<BadImages>,
}

impl Part {
    fn new(source: Arc<dyn Source>, samples: Range<u32>, data: &TrainDataSection) -> Self {
        Self { source, samples, bad_images: bad_images(&data.images) }
    }
}

/// The training images to train on and those to validate on. Those in folders and shards are in the order of their classes:
/// of them the parts are drawn.
fn parts(training: &Arc<dyn Source>, data: &TrainDataSection, seed: u64) -> [Part; 2] {
    if data.dataset == DatasetName::Images {
        let parts = Subset::split(training, data.limit, data.train_fraction, seed);
        return parts.map(|source| {
            let samples = 0..source.len() as u32;
            Part::new(source, samples, data)
        });
    }
    let num_images = if data.limit == 0 { training.len() } else { data.limit };
    let (train, valid) = train_valid_split(num_images, data.train_fraction);
    [train, valid].map(|samples| Part::new(Arc::clone(training), samples, data))
}

fn network(config: &TrainConfig, genotype: &Genotype, num_classes: usize) -> NetworkDescription {
    NetworkDescription {
        genotype: genotype.clone(),
        shape: NetworkShape {
            kind: config.network_kind(),
            channels: config.model.channels as u64,
            cells: config.model.cells,
            num_classes: num_classes as u64,
            image_size: config.data.side() as u64,
        },
        auxiliary_head: config.model.auxiliary_head,
    }
}

fn normalised_batch(config: &TrainConfig, network: &NetworkDescription) -> NormalisedBatch {
    NormalisedBatch {
        section: "train",
        global_batch: config.train.global_batch,
        parts: config.train.accumulate_steps,
        batch_norm: config.model.batch_norm,
        smallest_area: network.smallest_normalised_area(),
        auxiliary_head: network.auxiliary_head,
    }
}

fn view_settings(config: &TrainConfig) -> ViewSettings<'_> {
    let data = &config.data;
    let TrainDataSection { crop_padding, horizontal_flip, cutout, .. } = *data;
    let augment = Augment { crop_padding, horizontal_flip, cutout, policy: policy(data) };
    ViewSettings { dataset: data.dataset, augment, images: &data.images, seed: config.run.seed }
}

fn policy(data: &TrainDataSection) -> Option<Policy> {
    match data.policy {
        AugmentationPolicy::None => None,
        AugmentationPolicy::Autoaugment => Some(Policy::AutoAugment),
        AugmentationPolicy::Randaugment => {
            Some(Policy::RandAugment { operations: data.randaugment_operations, magnitude: data.randaugment_magnitude })
        }
    }
}

/// SHA-256, in hexadecimal, of all that the results depend on: the configuration's part and the cell.
fn run_digest(config: &TrainConfig, genotype: &Genotype) -> Result<String, SearchDataError> {
    let mut hasher = Sha256::new();
    hasher.update(config.digest()?);
    hasher.update(genotype.to_string());
    Ok(format!("{:x}", hasher.finalize()))
}
