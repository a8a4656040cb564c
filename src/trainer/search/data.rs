//! The images of a search: one share trains weights, the other trains alphas and, unaugmented, validates.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use crate::config::{ClassShares, ConfigError, DatasetName, SearchConfig, Settings};
use crate::data::{
    Augment, BadImages, DataError, DataIdentity, Loader, RankShare, Sampler, Source, Split, Stream, Subset, Transform,
};
use crate::shares::search_split;
use crate::trainer::bad_images::bad_images;
use crate::trainer::batch_norm_values::{NormalisedBatch, check_normalised_values};
use crate::trainer::open::{dataset_kind, open_part};
use crate::trainer::resident;
use crate::trainer::views::{ViewSettings, Views};
use crate::world::World;

/// The three loaders of a search.
pub struct SearchData {
    /// Batches that train the weights.
    pub weight_loader: Loader,
    /// Batches that train the alphas.
    pub alpha_loader: Loader,
    /// The images of the alphas' share in order, each once, without augmentation.
    pub valid_loader: Loader,
    /// Classes of the data set.
    pub num_classes: usize,
    /// What tells the data set from others, to compare with other ranks and with the run that goes on.
    pub data_identity: DataIdentity,
    /// Of the configuration that the data belongs to.
    pub config_digest: String,
    /// Those met so far of each share.
    pub(super) bad_images: [Arc<BadImages>; 2],
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
    /// Opens the training images that `config` names and splits them.
    ///
    /// # Errors
    /// Missing or damaged data; a configuration that does not fit its size.
    pub fn load(config: &SearchConfig, world: &World) -> Result<Self, SearchDataError> {
        let data = &config.data;
        let source = open_part(dataset_kind(data.dataset), &data.dir, Split::Train, world)?;
        config.validate_with_dataset(source.len())?;
        config.validate_with_ranks(world.size)?;
        check_normalised_values(&normalised_batch(config), world.size)?;
        let [weights, alphas] = shares(&source, config)?;
        let views = Views::new(view_settings(config), data.side());
        let (batch, seed, parts) = (config.search.global_batch, config.run.seed, config.search.accumulate_steps);
        let rank_share = RankShare { rank: world.rank, size: world.size };
        let loader = |share: &Share, sampler: Sampler, transform: &Arc<dyn Transform>| {
            let threads = NonZeroUsize::new(data.loader_threads).unwrap_or(NonZeroUsize::MIN);
            let loader = Loader::new(Arc::clone(&share.source), sampler, Arc::clone(transform), threads);
            let windows = resident::stays_on(&*share.source, world.device);
            loader.with_bad_images(Arc::clone(&share.bad_images)).with_windows(windows)
        };
        let training = |share: &Share, stream: Stream| {
            let sampler = Sampler::shuffled(share.samples.clone(), batch, seed, stream, rank_share)?.in_parts(parts);
            Ok::<_, DataError>(loader(share, sampler, &views.training).with_digests(config.run.digest_batches))
        };
        Ok(Self {
            weight_loader: training(&weights, Stream::Weights)?,
            alpha_loader: training(&alphas, Stream::Alphas)?,
            valid_loader: {
                let sampler = Sampler::sequential(alphas.samples.clone(), batch, rank_share)?;
                loader(&alphas, sampler, &views.evaluation)
            },
            num_classes: source.class_names().len(),
            data_identity: DataIdentity::of(&[&*source]),
            config_digest: config.digest()?,
            bad_images: [weights.bad_images, alphas.bad_images],
        })
    }
}

/// Images that train weights and those that train alphas of the training images `source`.
///
/// # Errors
/// As [`SearchData::load`], of a configuration that does not fit the classes.
pub fn share_sizes(source: &Arc<dyn Source>, config: &SearchConfig) -> Result<[usize; 2], ConfigError> {
    Ok(shares(source, config)?.map(|share| share.samples.len()))
}

/// Some images of a source.
struct Share {
    source: Arc<dyn Source>,
    samples: Range<u32>,
    bad_images: Arc<BadImages>,
}

/// The images that train weights and those that train alphas. Sets of images in one size are split in the order in which
/// they are stored, as the authors do; those in folders and shards are in the order of their classes: of them as large a
/// share of each class is drawn.
fn shares(source: &Arc<dyn Source>, config: &SearchConfig) -> Result<[Share; 2], ConfigError> {
    let data = &config.data;
    let share = |source: Arc<dyn Source>, samples| Share { source, samples, bad_images: bad_images(&data.images) };
    if data.dataset == DatasetName::Images {
        let used = Subset::limited(source, data.limit, config.run.seed);
        let drawn = Subset::balanced(&used, [data.train_fraction, data.alpha_fraction], config.run.seed);
        config.validate_with_classes(&class_shares(&used, &drawn))?;
        return Ok(drawn.map(|source| {
            let samples = 0..source.len() as u32;
            share(source, samples)
        }));
    }
    let num_images = if data.limit == 0 { source.len() } else { data.limit };
    let (weights, alphas) = search_split(num_images, data.train_fraction, data.alpha_fraction);
    Ok([weights, alphas].map(|samples| share(Arc::clone(source), samples)))
}

/// How the images of each class are shared.
fn class_shares(used: &Arc<dyn Source>, [weights, alphas]: &[Arc<dyn Source>; 2]) -> Vec<ClassShares> {
    let names = used.class_names();
    let count = |source: &Arc<dyn Source>| {
        let mut counts = vec![0; names.len()];
        let labels = (0..source.len() as u32).filter_map(|index| source.label(index));
        labels.for_each(|label| counts[label as usize] += 1);
        counts
    };
    let counts = count(used).into_iter().zip(count(weights)).zip(count(alphas));
    let classes = names.iter().zip(counts);
    classes
        .map(|(class, ((images, weights), alphas))| ClassShares { class: class.clone(), images, weights, alphas })
        .collect()
}

fn normalised_batch(config: &SearchConfig) -> NormalisedBatch {
    NormalisedBatch {
        section: "search",
        global_batch: config.search.global_batch,
        parts: config.search.accumulate_steps,
        batch_norm: config.model.batch_norm,
        smallest_area: config.smallest_state().pow(2) as u64,
        auxiliary_head: false,
    }
}

fn view_settings(config: &SearchConfig) -> ViewSettings<'_> {
    let data = &config.data;
    let augment = Augment {
        crop_padding: data.crop_padding,
        horizontal_flip: data.horizontal_flip,
        cutout: data.cutout,
        policy: None,
    };
    ViewSettings { dataset: data.dataset, augment, images: &data.images, seed: config.run.seed }
}
