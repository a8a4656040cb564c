//! Sections and keys of the configuration of a search: name, type, default and documentation, stated once.
//!
//! `section!` makes of one statement the struct, its `Default`, and the comments that
//! `pdarts config show` prints. The defaults are the search of P-DARTS on CIFAR-10
//! (arXiv:1904.12760, section 4.2) as the authors' code runs it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::genotype::Operation;
use images::{ImageKeys, NetworkChoice};

/// Everything a run depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchConfig {
    /// `[run]`
    pub run: RunSection,
    /// `[data]`
    pub data: SearchDataSection,
    /// `[model]`
    pub model: SearchModelSection,
    /// `[search]`
    pub search: SearchSection,
    /// `[parallel]`
    pub parallel: ParallelSection,
    /// `[optimizer.weights]` and `[optimizer.alphas]`
    pub optimizer: SearchOptimizerSection,
    /// `[evaluation]`
    pub evaluation: EvaluationSection,
    /// `[evolution]`
    pub evolution: EvolutionSection,
}

/// The two optimizers of the bilevel search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchOptimizerSection {
    /// `[optimizer.weights]`
    pub weights: WeightOptimizerSection,
    /// `[optimizer.alphas]`
    pub alphas: AlphaOptimizerSection,
}

/// The device a rank computes on.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum DeviceChoice {
    /// CUDA where it is available, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA, or the run fails.
    Cuda,
}

/// The library that carries sums of tensors between ranks.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum CommunicatorChoice {
    /// NCCL on GPUs, else MPI.
    Auto,
    /// MPI, on host memory.
    Mpi,
    /// NCCL, on GPU memory.
    Nccl,
}

/// How gradients travel between ranks.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As they are.
    None,
    /// Rounded to bfloat16: half the bytes, 8 bits of precision.
    Bf16,
}

/// Which images a BatchNorm takes its statistics from in training.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchNormMode {
    /// Each rank's own, as in the paper's runs on several GPUs.
    Rank,
    /// Those of all ranks.
    Sync,
}

/// The data sets by name.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetName {
    /// Photographed digits, embedded in the program.
    Photodigits,
    /// CIFAR-10.
    Cifar10,
    /// CIFAR-100.
    Cifar100,
    /// Images in folders or shards, such as ImageNet.
    Images,
}

impl fmt::Display for DatasetName {
    /// The name as in a configuration.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// What a run does when a loss or gradient is infinite or not a number.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DivergencePolicy {
    /// Ends with a message.
    Stop,
    /// Drops the step.
    Skip,
    /// Goes back to the last checkpoint.
    Rewind,
}

/// The floating-point type that convolutions compute in.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits throughout.
    Float32,
    /// 32 bits, of which libtorch's convolutions and matrix products on GPUs read 19; on CPUs as float32.
    Tf32,
    /// bfloat16 where it is safe; weights, statistics, gradients and losses stay 32 bits wide.
    Bf16,
}

/// Which search is run.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyName {
    /// P-DARTS (arXiv:1904.12760): stages of growing depth with fewer and fewer operations.
    PDarts,
    /// DARTS (arXiv:1806.09055): one supernet with all operations.
    Darts,
    /// PC-DARTS (arXiv:1907.05737): DARTS on a part of the channels, with weights of the edges.
    PcDarts,
    /// SNAS (arXiv:1812.09926): sampled weights of the operations, one loss for alphas and weights.
    Snas,
    /// GDAS (arXiv:1910.04465): one sampled operation an edge, the only one that is computed.
    Gdas,
    /// Cells drawn at random, each trained for a short time (arXiv:1902.07638).
    Random,
    /// Regularized evolution (arXiv:1802.01548): cells that descend from others, each trained for a short time.
    Evolution,
}

impl StrategyName {
    /// Whether it trains single cells, instead of a supernet.
    pub fn trains_cells(self) -> bool {
        matches!(self, Self::Random | Self::Evolution)
    }

    /// Whether it draws the weights of operations anew in every pass.
    pub fn draws(self) -> bool {
        matches!(self, Self::Snas | Self::Gdas)
    }
}

impl fmt::Display for StrategyName {
    /// The name as in a configuration.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// How the dropout on `skip_connect` decays over the epochs of a stage.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipDropoutSchedule {
    /// As in the authors' code: linear while alphas rest, then back to the initial rate and exponential.
    Authors,
    /// As in the paper's text: monotone decay.
    Paper,
}

/// A section of the file with its comments, for documents made from the schema.
#[derive(Debug)]
pub struct Section {
    /// Path of the table, for example `optimizer.weights`.
    pub path: &'static str,
    /// Lines of its comment.
    pub comment: &'static [&'static str],
    /// Each key with the lines of its comment.
    pub keys: &'static [(&'static str, &'static [&'static str])],
    /// The type of each key, as it is written.
    pub types: &'static [&'static str],
    /// Keys that stand in the same table behind these, and in those of other sections too.
    pub shared: &'static [Section],
}

impl Section {
    /// Each key of the table with the lines of its comment and its type.
    pub fn keys(&self) -> impl Iterator<Item = (&'static str, &'static [&'static str], &'static str)> {
        let tables = std::iter::once(self).chain(self.shared);
        tables.flat_map(|section| section.keys.iter().zip(section.types)).map(|((key, doc), kind)| (*key, *doc, *kind))
    }
}

macro_rules! section {
    ($(#[doc = $about:literal])+ $name:ident at $path:literal {
        $($(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr,)+
        $(.. $(#[doc = $shared_doc:literal])+ $shared:ident: $shared_type:ident,)?
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $key: $type,)+
            $($(#[doc = $shared_doc])+ #[serde(flatten)] pub $shared: $shared_type,)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ $($shared: $shared_type::default(),)? }
            }
        }

        impl $name {
            pub(in crate::config) const SECTION: Section = Section {
                path: $path,
                comment: &[$($about),+],
                keys: &[$((stringify!($key), &[$($doc),+])),+],
                types: &[$(stringify!($type)),+],
                shared: &[$($shared_type::SECTION)?],
            };
        }
    };
}

pub(super) mod image_sizes;

// Below the macro, which they use.
pub(super) mod compare;
pub(super) mod images;
pub(super) mod train;

/// Every section, in the order of the file.
pub(super) const SECTIONS: [Section; 10] = [
    RunSection::SECTION,
    SearchDataSection::SECTION,
    SearchModelSection::SECTION,
    SearchSection::SECTION,
    StageSection::SECTION,
    ParallelSection::SECTION,
    WeightOptimizerSection::SECTION,
    AlphaOptimizerSection::SECTION,
    EvaluationSection::SECTION,
    EvolutionSection::SECTION,
];

section! {
    /// How the program runs.
    RunSection at "run" {
        /// Seed of every random stream.
        seed: u64 = 0,
        /// CPU threads of a rank; 0 = its share of the cores that the ranks of its node may use.
        threads: usize = 0,
        /// "auto" (CUDA where available), "cpu" or "cuda".
        device: DeviceChoice = DeviceChoice::Auto,
        /// Steps between two lines of metrics.
        log_every_steps: usize = 50,
        /// Epochs between two checkpoints.
        checkpoint_every_epochs: usize = 1,
        /// Minutes after which a checkpoint is written within an epoch too; 0 = only after epochs.
        checkpoint_every_minutes: f64 = 10.0,
        /// Checkpoints that are kept, the newest ones.
        keep_checkpoints: usize = 2,
        /// Keep the checkpoint of the epoch with the best validation accuracy as well, as checkpoints/best.safetensors.
        keep_best_checkpoint: bool = false,
        /// Checkpoints in a row that may fail to be written (a full disk, a folder that is gone) before the run stops;
        /// 0 = it stops at the first thing that cannot be written.
        max_failed_checkpoints: usize = 3,
        /// When a loss or gradient is infinite or NaN: "stop" (nothing is stepped, the message names step, rank and tensor),
        /// "skip" (the step is dropped), or "rewind" (back to the last checkpoint, then with another order of the images).
        on_divergence: DivergencePolicy = DivergencePolicy::Stop,
        /// Steps in a row that may be dropped, and rewinds of a run, before it stops all the same.
        divergence_limit: usize = 5,
        /// Whether metrics hold a digest of the images of the steps, the same for any number of ranks.
        digest_batches: bool = false,
        /// Whether a run on a GPU first compares its operations with the CPU's, forward and backward, and refuses to start on
        /// wrong numbers; `pdarts doctor --numerics` does more of it.
        check_numerics: bool = true,
        /// Whether a GPU records the work of a step as CUDA graphs and replays it, where it can.
        cuda_graphs: bool = true,
    }
}

section! {
    /// What is searched on.
    SearchDataSection at "data" {
        /// "photodigits" (embedded in the program), "cifar10", "cifar100" or "images" (folders or shards, such as ImageNet).
        dataset: DatasetName = DatasetName::Cifar10,
        /// Folder with the data set as downloaded, or with the images; unused for photodigits.
        dir: PathBuf = PathBuf::from("data"),
        /// Share of the training images that trains weights. Of images as large a share of each class, drawn by run.seed.
        train_fraction: f64 = 0.5,
        /// Share of the training images that trains alphas and validates, none of those that train weights; 0 = all that
        /// train_fraction leaves.
        alpha_fraction: f64 = 0.0,
        /// Pixels of zeros around an image before a random crop of its size; 0 = no crop. Images have crop_area instead.
        crop_padding: usize = 4,
        /// Whether half of the training images are mirrored.
        horizontal_flip: bool = true,
        /// Side in pixels of the square that is cut out of a training image; 0 = off.
        cutout: usize = 0,
        /// Threads that prepare batches ahead.
        loader_threads: usize = 1,
        /// Use only the first so many training images, of images as many drawn by run.seed; 0 = all.
        limit: usize = 0,
        ..
        /// What only images have.
        images: ImageKeys,
    }
}

section! {
    /// The supernet, apart from its depth.
    SearchModelSection at "model" {
        /// What stands before the cells: "cifar" (one convolution), "imagenet" (three of stride 2) or "auto": "imagenet" for
        /// images of 128 pixels or more.
        network: NetworkChoice = NetworkChoice::Auto,
        /// Channels of a node in the first cell; even.
        channels: usize = 16,
        /// BatchNorm's statistics in training: "rank" (each rank's own images, as in the paper's runs on
        /// several GPUs) or "sync" (those of all ranks).
        batch_norm: BatchNormMode = BatchNormMode::Rank,
        /// Whether backward computes each cell's forward pass again instead of keeping its activations: less memory,
        /// more time, the same results bit for bit.
        checkpoint_cells: bool = false,
    }
}

section! {
    /// The search: its strategy and its stages. P-DARTS's paper: sections 3.2 and 3.3.
    SearchSection at "search" {
        /// "p-darts" (stages of growing depth that drop operations), "darts" (one stage), "pc-darts" (operations on a part of
        /// the channels, weights of the edges; one stage in the paper), "snas" (one stage, sampled weights, alphas and weights by one
        /// loss), "gdas" (one stage, one sampled operation an edge, the only one that is computed), "random" (cells drawn,
        /// each trained briefly) or "evolution" (cells that descend from the best of others).
        strategy: StrategyName = StrategyName::PDarts,
        /// Approximation of the alphas' gradient: 1 (weights taken as they are) or 2 (as they would be after a step; for
        /// darts, some three times as slow).
        order: usize = 1,
        /// Operations work on one of so many parts of a state's channels, the others pass; 1 = on all. For pc-darts: 4 in the
        /// paper on CIFAR, 2 on ImageNet.
        partial_channels: usize = 1,
        /// Temperature of the samples in the first epoch; only for snas and gdas.
        temperature: f64 = 1.0,
        /// Temperature in the last epoch, above 0; linear between the two.
        temperature_end: f64 = 0.03,
        /// Images of one step, over all ranks.
        global_batch: usize = 96,
        /// Parts of a step's images that go through the network one after the other, to need less memory.
        accumulate_steps: usize = 1,
        /// "float32", "tf32" (on GPUs, libtorch's convolutions and products round what they read to 10 bits) or "bf16"
        /// (convolutions in bfloat16; weights, alphas, sums and statistics in 32 bits).
        precision: Precision = Precision::Float32,
        /// Epochs of each stage.
        epochs: usize = 25,
        /// Epoch, from 0, from which alphas train; weights alone train before it.
        alpha_start_epoch: usize = 10,
        /// Epochs between two validations of the supernet; each stage's last epoch always has one.
        validate_every_epochs: usize = 5,
        /// Standard deviation of the alphas at the start of a stage.
        alpha_init_scale: f64 = 1e-3,
        /// Candidate operations of every edge in the first stage.
        operations: Vec<Operation> = Operation::SEARCH_SPACE.to_vec(),
        /// Decay of the dropout on skip_connect within a stage: "authors" (their code: linear while
        /// alphas rest, then from the initial rate again, exponential) or "paper" (its text: monotone).
        skip_dropout_schedule: SkipDropoutSchedule = SkipDropoutSchedule::Authors,
        /// Most skip_connect edges in the resulting normal cell, 0 to 8.
        max_skip_connects: usize = 2,
        /// Most parameters of the network that a cell is evaluated in (limit_network), without the auxiliary head; 0 = no
        /// limit. The most probable cell within all limits is the result.
        max_parameters: u64 = 0,
        /// Most multiply-adds of that network for one image, of convolutions and linear layers; 0 = no limit.
        max_multiply_adds: u64 = 0,
        /// Network of the limits and the penalties: "cifar" (36 channels, 20 cells), "imagenet" (48 channels, 14 cells, 224 pixels) or
        /// "auto": that of the images that are searched on.
        limit_network: NetworkChoice = NetworkChoice::Auto,
        /// Weight in the alphas' loss of the parameters that limit_network is expected to have, 1 being the largest cell; 0 = off.
        parameters_penalty: f64 = 0.0,
        /// The same of its multiply-adds.
        multiply_adds_penalty: f64 = 0.0,
        /// Probability to leave out what an edge gives for an image at the end of a stage; it grows linearly from 0 (R-DARTS).
        /// For p-darts and darts.
        drop_path: f64 = 0.0,
        /// How far weight steps change the operations' weights at random at the end of a stage; it grows linearly from 0.03
        /// (SDARTS-RS; 0.3 in the paper); 0 = off. For p-darts, darts and pc-darts.
        perturbation: f64 = 0.0,
        /// Epochs between two measurements of the largest eigenvalue of the loss's Hessian in the alphas, from
        /// alpha_start_epoch on; 0 = none. For p-darts, darts and pc-darts.
        eigenvalue_every_epochs: usize = 0,
        /// A stage ends early, with the alphas of before, when that eigenvalue's mean over five measurements has grown by more
        /// than this factor in four (R-DARTS; 1.3 in the paper); 0 = never.
        eigenvalue_stop: f64 = 0.0,
        /// Stages in their order, at least one.
        stages: Vec<StageSection> = vec![
            StageSection { cells: 5, keep: 5, skip_dropout: 0.0 },
            StageSection { cells: 11, keep: 3, skip_dropout: 0.4 },
            StageSection { cells: 17, keep: 1, skip_dropout: 0.7 },
        ],
    }
}

section! {
    /// One stage; its table states every key.
    StageSection at "search.stages" {
        /// Cells of the supernet, at least 3; those at 1/3 and 2/3 reduce.
        cells: usize = 5,
        /// Operations left on each edge at the end of the stage; 1 in the last stage.
        keep: usize = 5,
        /// Dropout rate on skip_connect at the start of the stage, in 0 <= rate < 1; 0 = none.
        skip_dropout: f64 = 0.0,
    }
}

section! {
    /// How ranks work together; without effect on a single rank.
    ParallelSection at "parallel" {
        /// "auto" (NCCL on GPUs, else MPI), "mpi" or "nccl".
        communicator: CommunicatorChoice = CommunicatorChoice::Auto,
        /// MiB of gradients that are sent together while the backward pass goes on; 0 = each parameter by itself.
        bucket_mib: f64 = 25.0,
        /// MiB of the first of these buckets, which is sent when the backward pass has hardly begun.
        first_bucket_mib: f64 = 1.0,
        /// What travels: "none" (gradients as they are) or "bf16" (rounded, half the bytes).
        compression: Compression = Compression::None,
        /// Steps between two comparisons of the ranks' weights and alphas; 0 = once an epoch.
        check_every_steps: usize = 0,
        /// Seconds that NCCL has for the ranks to find each other.
        nccl_timeout_seconds: f64 = 120.0,
        /// Seconds after which ranks that keep the others waiting are named.
        stall_warning_seconds: f64 = 60.0,
        /// Seconds after which such a run is ended.
        stall_abort_seconds: f64 = 1800.0,
    }
}

section! {
    /// SGD on the weights; the learning rate follows a cosine over each stage.
    WeightOptimizerSection at "optimizer.weights" {
        /// Learning rate at the start of a stage.
        learning_rate: f64 = 0.025,
        /// Learning rate at the end of a stage.
        learning_rate_min: f64 = 0.0,
        /// Momentum, not Nesterov's.
        momentum: f64 = 0.9,
        /// L2 weight decay, added to the gradient.
        weight_decay: f64 = 3e-4,
        /// Largest L2 norm of the whole gradient.
        gradient_clip: f64 = 5.0,
    }
}

section! {
    /// Adam on the alphas, at a constant learning rate.
    AlphaOptimizerSection at "optimizer.alphas" {
        /// Learning rate.
        learning_rate: f64 = 6e-4,
        /// Decay of the first moment.
        beta1: f64 = 0.5,
        /// Decay of the second moment.
        beta2: f64 = 0.999,
        /// L2 weight decay, added to the gradient.
        weight_decay: f64 = 1e-3,
        /// Largest L2 norm of the whole gradient.
        gradient_clip: f64 = 5.0,
    }
}

section! {
    /// How random and evolution train a cell, to learn how good it is: with optimizer.weights and the images of data, of
    /// which those that train_fraction leaves decide.
    EvaluationSection at "evaluation" {
        /// Cells that are evaluated in all; of a single one nothing is trained.
        candidates: usize = 24,
        /// Passes over the training images for each.
        epochs: usize = 25,
        /// Cells of the network, at least 3; those at 1/3 and 2/3 reduce.
        cells: usize = 8,
        /// Channels of a node in the first cell; even.
        channels: usize = 16,
        /// Images of one step.
        global_batch: usize = 96,
        /// Probability to leave out a branch of a cell at the end; it grows linearly from 0.
        drop_path: f64 = 0.0,
    }
}

section! {
    /// Regularized evolution. Paper: arXiv:1802.01548, section 3.2.
    EvolutionSection at "evolution" {
        /// Cells that live at a time; the oldest dies for each new one. The first so many are drawn.
        population: usize = 100,
        /// Cells of the population that are drawn for each new one; the best of them is its parent.
        tournament: usize = 25,
        /// New cells that are made before any of them is evaluated: ranks share these evaluations, and the cells are the
        /// same for any number of ranks. 1 as in the paper, on one worker.
        generation: usize = 8,
    }
}
