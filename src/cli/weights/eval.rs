//! `pdarts eval`: how often a trained network is right.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;
use tch::Kind;

use super::CheckpointArguments;
use super::test_set::EvalDataset;
use crate::cli::kernels::KernelsArgument;
use crate::cli::logging::Logging;
use crate::cli::output;
use crate::cli::ranks::{agree, compare_programs};
use crate::cli::table::Table;
use crate::config::{CommunicatorChoice, DeviceChoice};
use crate::data::DatasetKind;
use crate::model::{EvaluationNetwork, NetworkDescription};
use crate::run::write_atomic;
use crate::trainer::{Accuracy, Predictions, TestData};
use crate::weights::{StateDict, to_safetensors};
use crate::world::{Ranks, World};

const EXAMPLES: &str = "\
Examples:
  pdarts eval --checkpoint runs/train --on photodigits
  pdarts eval --checkpoint weights.pt --genotype PDARTS_C10 --on cifar10 --data ~/data
  pdarts eval --checkpoint weights.pt --genotype PDARTS_C10 --json --save-logits logits.safetensors
  pdarts eval --checkpoint imagenet.pth.tar --genotype PDARTS_C10 --on imagenet --data ~/imagenet

A checkpoint of this program says of which cell and size its network is; of another one the size is read
from its tensors and the cell is --genotype. Python objects in a file are refused, not run.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArguments {
    #[command(flatten)]
    weights: CheckpointArguments,
    /// The data set whose test images are asked [default: imagenet, cifar10 or cifar100, by the network]
    #[arg(long, value_name = "DATASET")]
    on: Option<EvalDataset>,
    /// Folder with the data set as downloaded; of ImageNet, with a folder of images for each class in it or in val/
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Images at a time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65536))]
    global_batch: u32,
    /// Where to compute: auto, cpu or cuda
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// CPU threads; 0 = all cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    threads: u16,
    #[command(flatten)]
    kernels: KernelsArgument,
    /// Print top1 and top5 (percent), loss and samples as JSON
    #[arg(long)]
    json: bool,
    /// Write logits `[N, classes]` (float32) and targets `[N]` (int64) as safetensors, in the order of the test set
    #[arg(long, value_name = "FILE")]
    save_logits: Option<PathBuf>,
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
    let ranks = Ranks::join()?;
    if !ranks.is_root() {
        logging.quieten();
    }
    let subject = agree(&ranks, Subject::open(arguments))?;
    let device = agree(&ranks, ranks.choose_device(arguments.device).map_err(Into::into))?;
    let world = World::new(ranks.clone(), device, usize::from(arguments.threads), CommunicatorChoice::Auto);
    let world = agree(&ranks, world.map_err(Into::into))?;
    let (network, data) = agree(&world, subject.load(arguments, &world))?;
    let fingerprint = if world.size > 1 { data.source.fingerprint() } else { String::new() };
    compare_programs(&world, &fingerprint)?;
    let bar = progress_bar(logging.bars(), data.source.len())?;
    let predictions = Predictions::of(&network, &data, &world, &mut |images| bar.set_position(images as u64))?;
    bar.finish_and_clear();
    if !world.is_root() {
        return Ok(());
    }
    if let Some(path) = &arguments.save_logits {
        save(&predictions, path)?;
    }
    let accuracy = predictions.accuracy()?;
    if arguments.json {
        let Accuracy { top1, top5, loss, samples, .. } = accuracy;
        return output::print_json(&Figures { top1, top5, loss, samples });
    }
    Ok(output::print(report(subject.dataset.kind(), &data, &accuracy))?)
}

/// A network in a file and the data set that it is asked about.
struct Subject {
    state: StateDict,
    description: NetworkDescription,
    dataset: EvalDataset,
}

impl Subject {
    fn open(arguments: &EvalArguments) -> anyhow::Result<Self> {
        let state = arguments.weights.read()?;
        let description = arguments.weights.describe(&state)?;
        let dataset = arguments.on.map_or_else(|| EvalDataset::of(&description.shape), Ok)?;
        dataset.require_size(&description.shape)?;
        Ok(Self { state, description, dataset })
    }

    fn load(&self, arguments: &EvalArguments, world: &World) -> anyhow::Result<(EvaluationNetwork, TestData)> {
        let Self { state, description, dataset } = self;
        let data = TestData::open(dataset.kind(), &arguments.data, arguments.global_batch as usize, world)?;
        dataset.require_classes(&description.shape, data.source.class_names().len())?;
        let network = state.build(description, world.device, Kind::Float);
        Ok((network.map_err(|problem| arguments.weights.error(problem))?, data))
    }
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

fn report(dataset: DatasetKind, data: &TestData, accuracy: &Accuracy) -> String {
    let mut classes = Table::new(&[&["class", "images", "right", "top-1"]]);
    for (name, class) in data.source.class_names().iter().zip(&accuracy.classes) {
        let top1 = class.top1().map_or("-".to_owned(), |top1| format!("{top1:.2} %"));
        classes.row([name.clone(), class.samples.to_string(), class.correct.to_string(), top1]);
    }
    let Accuracy { top1, top5, loss, samples, .. } = accuracy;
    format!("{classes}\n{dataset}, {samples} test images: top-1 {top1:.2} %, top-5 {top5:.2} %, loss {loss:.4}")
}
