//! `pdarts eval`: how often a trained network is right.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;
use tch::Kind;

use super::CheckpointArguments;
use crate::cli::error::UsageError;
use crate::cli::kernels::KernelsArgument;
use crate::cli::logging::Logging;
use crate::cli::output;
use crate::cli::table::Table;
use crate::config::DeviceChoice;
use crate::data::{Augment, Dataset, DatasetKind, Loader, Sampler, Shard, Split, Transform, load};
use crate::genotype::{NetworkKind, NetworkShape};
use crate::run::write_atomic;
use crate::trainer::{Accuracy, Predictions};
use crate::weights::to_safetensors;
use crate::world::World;

const EXAMPLES: &str = "\
Examples:
  pdarts eval --checkpoint runs/train --on photodigits
  pdarts eval --checkpoint weights.pt --genotype PDARTS_C10 --on cifar10 --data ~/data
  pdarts eval --checkpoint weights.pt --genotype PDARTS_C10 --json --save-logits logits.safetensors

A checkpoint of this program says of which cell and size its network is; of another one the size is read
from its tensors and the cell is --genotype. Python objects in a file are refused, not run.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArguments {
    #[command(flatten)]
    weights: CheckpointArguments,
    /// The data set whose test images are asked [default: cifar10 or cifar100, by the number of classes]
    #[arg(long, value_name = "DATASET")]
    on: Option<EvalDataset>,
    /// Folder with the data set as downloaded
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Images at a time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65536))]
    global_batch: u32,
    /// Where to compute: auto, cpu or cuda
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// CPU threads; 0 = all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    kernels: KernelsArgument,
    /// Print top1 and top5 (percent), loss and samples as JSON
    #[arg(long)]
    json: bool,
    /// Write logits `[N, classes]` (float32) and targets `[N]` (int64) as safetensors, in the order of the test set
    #[arg(long, value_name = "FILE")]
    save_logits: Option<PathBuf>,
}

#[derive(Copy, Clone, Debug, PartialEq, ValueEnum)]
enum EvalDataset {
    Cifar10,
    Cifar100,
    Photodigits,
}

/// The JSON output.
#[derive(Serialize)]
struct Figures {
    top1: f64,
    top5: f64,
    loss: f64,
    samples: u64,
}

pub fn run(arguments: &EvalArguments, logging: &Logging) -> anyhow::Result<()> {
    arguments.kernels.apply();
    let state = arguments.weights.read()?;
    let description = arguments.weights.describe(&state)?;
    let kind = arguments.dataset(&description.shape)?;
    let dataset = Arc::new(load(kind, &arguments.data, Split::Test)?);
    check_classes(kind, &dataset, &description.shape)?;
    let world = World::single(arguments.device, arguments.threads)?;
    let network = state.build(&description, world.device, Kind::Float);
    let network = network.map_err(|problem| arguments.weights.error(problem))?;
    let loader = loader(&dataset, arguments.global_batch, world.threads)?;
    let bar = progress_bar(logging.bars(), dataset.len())?;
    let predictions = Predictions::of(&network, &loader, world.device, &mut |images| bar.inc(images as u64))?;
    bar.finish_and_clear();
    if let Some(path) = &arguments.save_logits {
        save(&predictions, path)?;
    }
    let accuracy = predictions.accuracy()?;
    if arguments.json {
        let Accuracy { top1, top5, loss, samples, .. } = accuracy;
        return output::print_json(&Figures { top1, top5, loss, samples });
    }
    Ok(output::print(report(kind, &dataset, &accuracy))?)
}

impl EvalArguments {
    fn dataset(&self, shape: &NetworkShape) -> Result<DatasetKind, UsageError> {
        if shape.kind == NetworkKind::ImageNet {
            let file = self.weights.checkpoint.display();
            return Err(UsageError::new(anyhow!(
                "{file}: its network is for ImageNet, this command has images of 32 pixels; `pdarts export` takes it"
            )));
        }
        match (self.on, shape.num_classes) {
            (Some(EvalDataset::Cifar10), _) | (None, 10) => Ok(DatasetKind::Cifar10),
            (Some(EvalDataset::Cifar100), _) | (None, 100) => Ok(DatasetKind::Cifar100),
            (Some(EvalDataset::Photodigits), _) => Ok(DatasetKind::Photodigits),
            (None, classes) => {
                Err(UsageError::new(anyhow!("the network tells {classes} classes apart: name the data set with --on")))
            }
        }
    }
}

fn check_classes(kind: DatasetKind, dataset: &Dataset, shape: &NetworkShape) -> Result<(), UsageError> {
    let (found, expected) = (shape.num_classes, dataset.num_classes);
    if found == expected as u64 {
        return Ok(());
    }
    Err(UsageError::new(anyhow!(
        "the network tells {found} classes apart, {kind} has {expected}: name another with --on"
    )))
}

/// The images in order, each once, without augmentation.
fn loader(dataset: &Arc<Dataset>, global_batch: u32, threads: usize) -> anyhow::Result<Loader> {
    let sampler = Sampler::sequential(0..dataset.len() as u32, global_batch as usize, Shard::WHOLE)?;
    let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
    Ok(Loader::new(Arc::clone(dataset), sampler, Transform::new(dataset, Augment::default(), 0), threads))
}

fn progress_bar(bars: &MultiProgress, images: usize) -> anyhow::Result<ProgressBar> {
    let bar = bars.add(ProgressBar::new(images as u64));
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} images, {eta} left")?);
    Ok(bar)
}

fn save(predictions: &Predictions, path: &Path) -> anyhow::Result<()> {
    let tensors = [("logits", &predictions.logits), ("targets", &predictions.targets)];
    let tensors: BTreeMap<_, _> = tensors.map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).into();
    let bytes = to_safetensors(&tensors, HashMap::new())?;
    Ok(write_atomic(path, |writer| writer.write_all(&bytes))?)
}

fn report(kind: DatasetKind, dataset: &Dataset, accuracy: &Accuracy) -> String {
    let mut classes = Table::new(&[&["class", "images", "right", "top-1"]]);
    for (name, class) in dataset.class_names.iter().zip(&accuracy.classes) {
        let top1 = class.top1().map_or("-".to_owned(), |top1| format!("{top1:.2} %"));
        classes.row([(*name).to_owned(), class.samples.to_string(), class.correct.to_string(), top1]);
    }
    let Accuracy { top1, top5, loss, samples, .. } = accuracy;
    format!("{classes}\n{kind}, {samples} test images: top-1 {top1:.2} %, top-5 {top5:.2} %, loss {loss:.4}")
}
