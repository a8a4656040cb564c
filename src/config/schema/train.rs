//! Sections and keys of the configuration of a retraining ("evaluation" in the papers' words).
//!
//! The defaults are the retraining of P-DARTS on CIFAR-10 (arXiv:1904.12760, section 4.3) as the authors' code runs it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::image_sizes::ImageSizeSection;
use super::images::{ImageKeys, NetworkChoice};
use super::{BatchNormMode, DatasetName, ParallelSection, Precision, RunSection, Section};

/// Everything that a retraining depends on, apart from the cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// `[run]`
    pub run: RunSection,
    /// `[data]`
    pub data: TrainDataSection,
    /// `[model]`
    pub model: TrainModelSection,
    /// `[train]`
    pub train: TrainSection,
    /// `[parallel]`
    pub parallel: ParallelSection,
    /// `[optimizer]`
    pub optimizer: TrainOptimizerSection,
    /// `[schedule]`
    pub schedule: TrainScheduleSection,
}

/// A learned or random choice of colour and shape operations on training images.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AugmentationPolicy {
    /// None of them.
    None,
    /// AutoAugment's policy for CIFAR-10.
    Autoaugment,
    /// RandAugment.
    Randaugment,
}

/// How weights are stepped.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// SGD whose steps are in proportion to the norm of each tensor (arXiv:1708.03888).
    Lars,
    /// Adam whose steps are in proportion to the norm of each tensor (arXiv:1904.00962).
    Lamb,
    /// Adam with weight decay in the gradient (arXiv:1412.6980).
    Adam,
    /// Adam with weight decay beside the step (arXiv:1711.05101).
    Adamw,
}

impl OptimizerKind {
    /// The name as in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Lars => "lars",
            Self::Lamb => "lamb",
            Self::Adam => "adam",
            Self::Adamw => "adamw",
        }
    }
}

/// What the learning rate is in proportion to, of a recipe that is used with another batch.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchScaling {
    /// The batch.
    Linear,
    /// Its square root.
    Sqrt,
}

/// The course of the learning rate.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Half a period of a cosine.
    Cosine,
    /// The authors' on ImageNet.
    Linear,
    /// A factor at milestones.
    Step,
    /// A power of the share that is left.
    Polynomial,
    /// None.
    Constant,
}

/// How often something changes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleUpdate {
    /// Once an epoch.
    Epoch,
    /// With every step.
    Step,
}

/// How the warm-up and the schedule share the training.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmUpForm {
    /// The rate rises to the initial one; then the schedule begins, over the epochs that are left.
    Ramp,
    /// The schedule covers the whole training, and the warm-up multiplies it.
    Product,
}

/// Every section, in the order of the file.
pub(in crate::config) const SECTIONS: [Section; 7] = [
    RunSection::SECTION,
    TrainDataSection::SECTION,
    TrainModelSection::SECTION,
    TrainSection::SECTION,
    ParallelSection::SECTION,
    TrainOptimizerSection::SECTION,
    TrainScheduleSection::SECTION,
];

section! {
    /// What is trained on.
    TrainDataSection at "data" {
        /// "photodigits" (embedded in the program), "cifar10", "cifar100" or "images" (folders or shards, such as ImageNet).
        dataset: DatasetName = DatasetName::Cifar10,
        /// Folder with the data set as downloaded, or with the images; unused for photodigits.
        dir: PathBuf = PathBuf::from("data"),
        /// Share of the training images that is trained on; the rest validates, for choices that must not be made
        /// on the test set. 1 = all, as in the paper. Of images the share is drawn by run.seed.
        train_fraction: f64 = 1.0,
        /// Pixels of zeros around an image before a random crop of its size; 0 = no crop. Images have crop_area instead.
        crop_padding: usize = 4,
        /// Whether half of the training images are mirrored.
        horizontal_flip: bool = true,
        /// Side in pixels of the square that is cut out of a training image; 0 = off.
        cutout: usize = 16,
        /// "none", "autoaugment" (the policy found for CIFAR-10) or "randaugment"; between flip and cutout.
        policy: AugmentationPolicy = AugmentationPolicy::None,
        /// Operations that RandAugment applies to an image.
        randaugment_operations: usize = 2,
        /// Strength of RandAugment's operations, 0 to 10.
        randaugment_magnitude: usize = 9,
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
    /// The network that the cell is trained in.
    TrainModelSection at "model" {
        /// "cifar" (one convolution before the cells), "imagenet" (three of stride 2) or "auto": "imagenet" for images of
        /// 128 pixels or more.
        network: NetworkChoice = NetworkChoice::Auto,
        /// Channels of a node in the first cell; even.
        channels: usize = 36,
        /// Cells, at least 3; those at 1/3 and 2/3 reduce.
        cells: usize = 20,
        /// Whether a second classifier behind the second reduction helps training; 4 cells or more.
        auxiliary_head: bool = true,
        /// BatchNorm's statistics in training: "rank" (each rank's own images) or "sync" (those of all ranks).
        batch_norm: BatchNormMode = BatchNormMode::Rank,
        /// Whether backward computes each cell's forward pass again instead of keeping its activations: less memory,
        /// more time, the same results bit for bit.
        checkpoint_cells: bool = false,
    }
}

section! {
    /// The course of the training. Paper: section 4.3.
    TrainSection at "train" {
        /// Images of one step, over all ranks.
        global_batch: usize = 128,
        /// Parts of a step's images that go through the network one after the other, to need less memory.
        accumulate_steps: usize = 1,
        /// Passes over the training images.
        epochs: usize = 600,
        /// Probability to leave out a branch of a cell at the end of the training; it grows linearly from 0.
        drop_path: f64 = 0.3,
        /// Weight of the auxiliary head's loss.
        auxiliary_weight: f64 = 0.4,
        /// Probability that the target gives to all classes alike instead of to the right one; 0 = off.
        label_smoothing: f64 = 0.0,
        /// Parameter of Mixup, which adds pairs of images: shares come from Beta(alpha, alpha); 0 = off.
        mixup_alpha: f64 = 0.0,
        /// Parameter of CutMix, which puts a rectangle of one image into another; 0 = off. With both, each step takes
        /// one of them.
        cutmix_alpha: f64 = 0.0,
        /// Sides of the training images as the training goes on: tables [[train.image_sizes]] with epoch (from 0) and
        /// size (pixels); empty = the data set's size.
        image_sizes: Vec<ImageSizeSection> = Vec::new(),
        /// Decay per step of a running average of the weights, which is tested too; 0 = off.
        ema_decay: f64 = 0.0,
        /// "float32", "tf32" (on GPUs, libtorch's convolutions and products round what they read to 10 bits) or "bf16"
        /// (convolutions in bfloat16, weights in 32 bits).
        precision: Precision = Precision::Float32,
        /// Epochs between two validations, where train_fraction leaves images for it; the last epoch has one.
        validate_every_epochs: usize = 10,
        /// Whether to score the test set after every epoch, for curves; the results say so. Else only at the end.
        test_every_epoch: bool = false,
    }
}

section! {
    /// How the weights are stepped.
    TrainOptimizerSection at "optimizer" {
        /// "sgd", "lars", "lamb", "adam" or "adamw".
        kind: OptimizerKind = OptimizerKind::Sgd,
        /// Learning rate that the schedule begins at.
        learning_rate: f64 = 0.025,
        /// Learning rate that the schedule ends at.
        learning_rate_min: f64 = 0.0,
        /// Batch that both rates are stated for: they are scaled to train.global_batch; 0 = they hold for any batch.
        base_global_batch: usize = 0,
        /// How they are scaled: "linear" or "sqrt" (by the square root).
        batch_scaling: BatchScaling = BatchScaling::Linear,
        /// Momentum of sgd and lars.
        momentum: f64 = 0.9,
        /// Whether it is Nesterov's.
        nesterov: bool = false,
        /// Weight decay, added to the gradient (sgd, lars, adam) or to the step (lamb, adamw).
        weight_decay: f64 = 3e-4,
        /// Whether weight decay, and the rates of single tensors in lars and lamb, leave out BatchNorm's scales and
        /// shifts and all biases.
        no_decay_on_norm_and_bias: bool = false,
        /// Of lars: how long a tensor's step is at a learning rate of 1, in proportion to the tensor's norm.
        trust_coefficient: f64 = 1e-3,
        /// Decay of the first moment of lamb, adam and adamw.
        beta1: f64 = 0.9,
        /// Decay of their second moment.
        beta2: f64 = 0.999,
        /// Added to the denominators of lars, lamb, adam and adamw.
        epsilon: f64 = 1e-8,
        /// Largest L2 norm of the whole gradient; 0 = no limit.
        gradient_clip: f64 = 5.0,
    }
}

section! {
    /// The learning rate in the course of the training.
    TrainScheduleSection at "schedule" {
        /// "cosine", "linear" (the authors' on ImageNet: a line that ends five epochs early, then a slow tail), "step",
        /// "polynomial" or "constant".
        kind: ScheduleKind = ScheduleKind::Cosine,
        /// How often it changes the rate: "epoch" or "step".
        update: ScheduleUpdate = ScheduleUpdate::Epoch,
        /// Of "step": epochs of the training, from 0, from which the rate is smaller by gamma each.
        milestones: Vec<usize> = vec![30, 60, 80],
        /// Of "step": what the rate is multiplied by at each of them.
        gamma: f64 = 0.1,
        /// Of "polynomial": power of the share that is left; 1 is a straight line.
        power: f64 = 2.0,
        /// Epochs at the start with smaller rates; 0 = none.
        warmup_epochs: usize = 0,
        /// "ramp" (the rate rises to learning_rate, then the schedule takes the epochs that are left) or "product" (the
        /// authors': the schedule takes all epochs, and the warm-up multiplies it).
        warmup: WarmUpForm = WarmUpForm::Ramp,
        /// How often the warm-up changes the rate: "epoch" or "step".
        warmup_update: ScheduleUpdate = ScheduleUpdate::Epoch,
        /// Factor that the warm-up begins above, from 0 to below 1.
        warmup_start: f64 = 0.0,
    }
}
