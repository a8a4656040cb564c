//! What a configuration does: networks, steps and epochs.

use serde::Serialize;

use super::counter::{Counter, Kernels};
use super::error::PlanError;
use super::supernet::{SupernetSize, walk_supernet};
use crate::config::{
    Compression, DatasetName, OptimizerKind, ParallelSection, Precision, SearchConfig, SearchSection, StrategyName,
    TrainConfig, image_size_at,
};
use crate::genotype::{FeatureMap, Genotype, NetworkShape, Operation, walk, walk_auxiliary_head};
use crate::shares::{balanced_sizes, train_valid_split};

const MIB: f64 = (1u64 << 20) as f64;

/// From the operation that searches keep most to the one that they keep least, where it is not known which they keep.
const SURVIVORS: [Operation; 8] = [
    Operation::SkipConnect,
    Operation::SepConv3x3,
    Operation::DilConv3x3,
    Operation::DilConv5x5,
    Operation::MaxPool3x3,
    Operation::SepConv5x5,
    Operation::AvgPool3x3,
    Operation::None,
];

/// How much there is of a data set.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DataSize {
    /// Training images.
    pub train: usize,
    /// Test images.
    pub test: usize,
    /// Classes.
    pub classes: usize,
    /// Of the training images, those that train weights and alphas in a search, where they were counted.
    pub search_shares: Option<[usize; 2]>,
}

impl DataSize {
    /// Of a data set as published; of images in folders, ImageNet's.
    pub const fn published(name: DatasetName) -> Self {
        let (train, test, classes) = match name {
            DatasetName::Photodigits => (2200, 500, 10),
            DatasetName::Cifar10 => (50_000, 10_000, 10),
            DatasetName::Cifar100 => (50_000, 10_000, 100),
            DatasetName::Images => (1_281_167, 50_000, 1000),
        };
        Self { train, test, classes, search_shares: None }
    }

    /// Images that train weights and alphas: as counted, or as a search would split them, from folders and shards class by class,
    /// as if all classes had as many.
    fn shares(&self, config: &SearchConfig) -> [usize; 2] {
        let (data, images) = (&config.data, self.limited(config.data.limit));
        let sizes = match data.dataset {
            DatasetName::Images => (0..self.classes)
                .map(|class| (class + 1) * images / self.classes - class * images / self.classes)
                .collect(),
            _ => vec![images],
        };
        self.search_shares.unwrap_or_else(|| balanced_sizes(sizes, [data.train_fraction, data.alpha_fraction]))
    }

    /// The first `limit` training images, if that is not 0.
    pub fn limited(self, limit: usize) -> usize {
        if limit == 0 { self.train } else { limit.min(self.train) }
    }
}

/// What a step consists of.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Steps {
    /// A step of the weights and, in so many of the epochs, one of the alphas before it.
    Search {
        /// Epochs in which the alphas train.
        alpha_epochs: usize,
        /// Whether it is that of DARTS's second order.
        second_order: bool,
    },
    /// A step of the weights, or of all together.
    Train,
}

/// How many times as long steps take as counts and peaks say: 1 unless steps were measured.
#[derive(Copy, Clone, PartialEq, Debug, Serialize)]
pub struct Pace {
    /// Steps of the alphas.
    pub alphas: f64,
    /// Steps of the weights.
    pub weights: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { alphas: 1.0, weights: 1.0 }
    }
}

/// A part of a run in which all steps are alike.
#[derive(Clone, Debug)]
pub struct Phase {
    /// `stage 1`, `224 pixels`.
    pub name: String,
    /// The network.
    pub network: Counter,
    /// Side of its images.
    pub image_size: u64,
    /// Of the network.
    pub cells: usize,
    /// Of a search, what every edge computes.
    pub operations: Vec<Operation>,
    /// As measured.
    pub pace: Pace,
    /// What a step does.
    pub steps: Steps,
    /// Of an epoch.
    pub steps_per_epoch: usize,
    /// Of the phase.
    pub epochs: usize,
    /// Images that are scored without training, in the whole phase.
    pub evaluated_images: usize,
}

/// All that an estimate needs to know of a configuration.
#[derive(Clone, Debug)]
pub struct Course {
    /// Images of a step, over all ranks.
    pub global_batch: usize,
    /// Parts of a rank's images that are computed one after the other.
    pub parts: usize,
    /// Buffers of the size of the weights beside them and their gradients.
    pub optimizer_buffers: u64,
    /// Bytes of an activation.
    pub activation_bytes: u64,
    /// Whether cells are computed again in backward.
    pub checkpoint_cells: bool,
    /// Why a GPU is told every kernel of every step instead of repeating what it has recorded, where that is so.
    pub obstacle_to_graphs: Option<&'static str>,
    /// Why passes that train weights are not.
    pub obstacle_to_weight_graphs: Option<&'static str>,
    /// Bytes of the reducer's first bucket, of the others, and bytes that travel for each.
    pub buckets: (f64, f64, f64),
    /// Threads of each rank that load.
    pub loader_threads: usize,
    /// Whether images are decoded from files.
    pub decodes: bool,
    /// In their order.
    pub phases: Vec<Phase>,
}

impl Course {
    /// Of a search.
    ///
    /// # Errors
    /// When the configuration does not fit the data or the ranks.
    pub fn of_search(config: &SearchConfig, data: DataSize, ranks: usize, kernels: Kernels) -> Result<Self, PlanError> {
        if config.search.strategy.trains_cells() {
            return Err(PlanError::SingleCells(config.search.strategy));
        }
        config.validate_with_dataset(data.train)?;
        config.validate_with_ranks(ranks)?;
        let (search, global_batch) = (&config.search, config.search.global_batch);
        let [train, alphas] = data.shares(config);
        let steps_per_epoch = train / global_batch;
        let side = config.data.side() as u64;
        let mut live = SURVIVORS.to_vec();
        live.retain(|operation| search.operations.contains(operation));
        let mut phases = Vec::new();
        for (index, stage) in search.stages.iter().enumerate() {
            let size = SupernetSize {
                cells: stage.cells,
                channels: config.model.channels as u64,
                partial_channels: search.partial_channels as u64,
                num_classes: data.classes as u64,
                stem: config.network_kind(),
                image_size: side,
                operations: live.clone(),
                skip_dropout: stage.skip_dropout > 0.0,
            };
            let mut network = Counter::new(kernels, false, false);
            walk_supernet(&size, &mut network);
            network.accumulation();
            let validations = search.epochs.div_ceil(search.validate_every_epochs.max(1));
            phases.push(Phase {
                name: format!("stage {} ({} cells, {} operations)", index + 1, stage.cells, live.len()),
                network,
                image_size: side,
                cells: stage.cells,
                operations: live.clone(),
                pace: Pace::default(),
                steps: steps_of_search(search),
                steps_per_epoch,
                epochs: search.epochs,
                evaluated_images: validations * alphas,
            });
            live.truncate(stage.keep);
        }
        Ok(Self {
            global_batch,
            parts: search.accumulate_steps.max(1),
            // The second order keeps weights, momentum and a direction.
            optimizer_buffers: if search.order == 2 { 4 } else { 1 },
            activation_bytes: activation_bytes(search.precision),
            checkpoint_cells: config.model.checkpoint_cells,
            obstacle_to_graphs: config.obstacle_to_graphs(ranks),
            obstacle_to_weight_graphs: config.obstacle_to_weight_graphs(),
            buckets: buckets(&config.parallel),
            loader_threads: config.data.loader_threads,
            decodes: config.data.dataset == DatasetName::Images,
            phases,
        })
    }

    /// Of a training of `genotype`.
    ///
    /// # Errors
    /// When the configuration does not fit the data or the ranks.
    pub fn of_training(
        config: &TrainConfig,
        genotype: &Genotype,
        data: DataSize,
        ranks: usize,
        kernels: Kernels,
    ) -> Result<Self, PlanError> {
        config.validate_with_dataset(data.train)?;
        config.validate_with_ranks(ranks)?;
        let (train, global_batch) = (&config.train, config.train.global_batch);
        let images = data.limited(config.data.limit);
        let num_train = train_valid_split(images, config.data.train_fraction).0.len();
        let steps_per_epoch = num_train / global_batch;
        let mut phases: Vec<Phase> = Vec::new();
        for epoch in 0..train.epochs {
            let side = image_size_at(&train.image_sizes, epoch).unwrap_or(config.data.side()) as u64;
            match phases.last_mut() {
                Some(last) if last.image_size == side => last.epochs += 1,
                _ => phases.push(Phase {
                    name: format!("{side} pixels ({} cells, {} channels)", config.model.cells, config.model.channels),
                    network: evaluation_network(config, genotype, data.classes, side, kernels),
                    image_size: side,
                    cells: config.model.cells,
                    operations: Vec::new(),
                    pace: Pace::default(),
                    steps: Steps::Train,
                    steps_per_epoch,
                    epochs: 1,
                    evaluated_images: 0,
                }),
            }
        }
        for phase in &mut phases {
            let validations = phase.epochs.div_ceil(train.validate_every_epochs.max(1));
            let tests = if train.test_every_epoch { phase.epochs } else { 0 };
            phase.evaluated_images = validations * (images - num_train) + tests * data.test;
        }
        if let Some(last) = phases.last_mut().filter(|_| !train.test_every_epoch) {
            last.evaluated_images += data.test;
        }
        let moments = match config.optimizer.kind {
            OptimizerKind::Sgd | OptimizerKind::Lars => 1,
            OptimizerKind::Lamb | OptimizerKind::Adam | OptimizerKind::Adamw => 2,
        };
        Ok(Self {
            global_batch,
            parts: train.accumulate_steps.max(1),
            optimizer_buffers: moments + u64::from(train.ema_decay > 0.0),
            activation_bytes: activation_bytes(train.precision),
            checkpoint_cells: config.model.checkpoint_cells,
            obstacle_to_graphs: config.obstacle_to_graphs(ranks),
            obstacle_to_weight_graphs: None,
            buckets: buckets(&config.parallel),
            loader_threads: config.data.loader_threads,
            decodes: config.data.dataset == DatasetName::Images,
            phases,
        })
    }

    /// Images of one part of the step of one of `ranks`.
    pub fn images_of_part(&self, ranks: usize) -> usize {
        self.global_batch / (ranks * self.parts)
    }
}

fn steps_of_search(search: &SearchSection) -> Steps {
    match search.strategy {
        // One pass for weights and alphas.
        StrategyName::Snas => Steps::Train,
        _ => Steps::Search {
            alpha_epochs: search.epochs.saturating_sub(search.alpha_start_epoch),
            second_order: search.order == 2,
        },
    }
}

fn evaluation_network(
    config: &TrainConfig,
    genotype: &Genotype,
    classes: usize,
    side: u64,
    kernels: Kernels,
) -> Counter {
    let shape = NetworkShape {
        kind: config.network_kind(),
        channels: config.model.channels as u64,
        cells: config.model.cells,
        num_classes: classes as u64,
        image_size: side,
    };
    let mut network = Counter::new(kernels, true, config.train.drop_path > 0.0);
    let auxiliary_input: Option<FeatureMap> = walk(genotype, &shape, &mut network);
    if let Some(input) = auxiliary_input.filter(|_| config.model.auxiliary_head) {
        walk_auxiliary_head(input, shape.num_classes, &mut network);
    }
    network.accumulation();
    network
}

/// Of an activation that is kept.
fn activation_bytes(precision: Precision) -> u64 {
    if precision == Precision::Bf16 { 2 } else { 4 }
}

fn buckets(config: &ParallelSection) -> (f64, f64, f64) {
    let compression = match config.compression {
        Compression::None => 1.0,
        Compression::Bf16 => 0.5,
    };
    (config.first_bucket_mib * MIB, config.bucket_mib * MIB, compression)
}
