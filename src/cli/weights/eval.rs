//! `pdarts eval`: how often a trained network is right.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;
use tch::Kind;

use super::CheckpointArguments;
use super::test_set::EvalDataset;
use crate::cli::error::{UsageError, advise_on_memory};
use crate::cli::kernels::KernelsArgument;
use crate::cli::logging::Logging;
use crate::cli::numbers::threads;
use crate::cli::output::{self, OutputFile};
use crate::cli::ranks::{agree, compare_programs, compare_weights, join};
use crate::cli::run_arguments::note_unread;
use crate::cli::run_weights::note_misfit_of_head;
use crate::cli::start::meet;
use crate::cli::table::Table;
use crate::config::{CommunicatorChoice, DeviceChoice};
use crate::data::{CentreView, Colours, DataIdentity, DatasetKind, Filter};
use crate::model::{EvaluationNetwork, NetworkDescription};
use crate::run::RunDirectory;
use crate::trainer::{Accuracy, Predictions, TestData};
use crate::weights::{StateDict, TrainedOn, WeightsProblem, to_safetensors};
use crate::world::World;

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
    /// The data set whose test images are asked [default: that of the run or the file, else imagenet, cifar10 or
    /// cifar100 by the network]
    #[arg(long, value_name = "DATASET")]
    on: Option<EvalDataset>,
    /// Folder with the data set as downloaded; of ImageNet, with a folder of images for each class in it or in val/
    /// [default: that of the run, else data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Images at a time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65536))]
    global_batch: u32,
    /// Where to compute: auto, cpu or cuda
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// CPU threads of a rank; 0 = its share of the cores that it may use
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads())]
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

/// The JSON output.
#[derive(Serialize)]
struct Figures {
    top1: f64,
    top5: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<f64>,
    samples: u64,
    /// Images whose logits are infinite or not a number.
    #[serde(skip_serializing_if = "is_zero")]
    without_answer: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

pub fn run(arguments: &EvalArguments, logging: &Logging) -> anyhow::Result<()> {
    arguments.kernels.apply();
    let ranks = join()?;
    if !ranks.is_root() {
        logging.quieten();
    }
    let subject = agree(&ranks, Subject::open(arguments))?;
    compare_weights(&ranks, Some(&subject.state), "--checkpoint")?;
    let world = meet(&ranks, arguments.device, arguments.threads, CommunicatorChoice::Auto)?;
    let (network, data) = agree(&world, subject.load(arguments, &world))?;
    let identity = if world.size > 1 { DataIdentity::of(&[&*data.source]) } else { DataIdentity::default() };
    compare_programs(&world, &identity)?;
    let bar = progress_bar(logging.bars(), data.source.len())?;
    let predictions = Predictions::of(&network, &data, &world, &mut |images| bar.set_position(images as u64));
    let predictions = predictions.map_err(|error| advise_on_memory(error.into()))?;
    bar.finish_and_clear();
    if !world.is_root() {
        return Ok(());
    }
    let accuracy = predictions.accuracy()?;
    let without_answer = predictions.non_finite()?;
    if arguments.json {
        let Accuracy { top1, top5, loss, samples, .. } = accuracy;
        // JSON has no number for what is none.
        output::print_json(&Figures { top1, top5, loss: loss.is_finite().then_some(loss), samples, without_answer })?;
    } else {
        output::print(report(subject.dataset.kind(), &data, &accuracy))?;
    }
    if let Some(file) = &subject.logits {
        file.write(&logits_file(&predictions)?)?;
    }
    match without_answer {
        0 => Ok(()),
        count => Err(anyhow!(
            "{}: for {count} of {} images the network computes values that are infinite or not a number, so the figures \
             mean nothing: take a checkpoint from before the training diverged",
            arguments.weights.file().display(),
            accuracy.samples
        )),
    }
}

/// What is known of the images that a network was trained on.
#[derive(Default)]
struct Known {
    dataset: Option<EvalDataset>,
    dir: Option<PathBuf>,
    /// What the shorter side of images becomes, in pixels.
    resize: Option<usize>,
    filter: Filter,
}

impl Known {
    /// By the configuration of the training in `run`.
    ///
    /// # Errors
    /// When it cannot be read.
    fn of_run(run: &Path) -> anyhow::Result<Self> {
        let path = RunDirectory::config_path_in(run);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: toml::Table = text.parse().with_context(|| path.display().to_string()).map_err(UsageError::new)?;
        let value = |key: &str| config.get("data")?.get(key);
        let of_data = |key: &str| value(key)?.as_str();
        let resize = value("resize").and_then(toml::Value::as_integer).and_then(|pixels| usize::try_from(pixels).ok());
        Ok(Self {
            dataset: of_data("dataset").and_then(|name| EvalDataset::from_str(name, false).ok()),
            dir: of_data("dir").map(PathBuf::from),
            resize: resize.filter(|&pixels| pixels > 0),
            filter: if of_data("interpolation") == Some("bicubic") { Filter::Bicubic } else { Filter::Bilinear },
        })
    }

    /// With what the file of weights says itself.
    fn stated_by(self, state: &StateDict) -> Result<Self, WeightsProblem> {
        Ok(match state.trained_on()? {
            Some(TrainedOn { dataset, resize, interpolation }) => Self {
                dataset: Some(dataset.into()),
                dir: self.dir,
                resize: resize.and_then(|pixels| usize::try_from(pixels).ok()),
                filter: interpolation.unwrap_or_default(),
            },
            None => self,
        })
    }
}

/// A network in a file and the data set that it is asked about.
struct Subject {
    state: StateDict,
    description: NetworkDescription,
    dataset: EvalDataset,
    /// Whether neither the call nor the file says so.
    is_guessed: bool,
    /// The folder of the data set.
    dir: PathBuf,
    /// What is seen of images that have no size of their own.
    view: CentreView,
    /// What the images that it was trained on were normalised with, where its file says so.
    colours: Option<Colours>,
    /// Where the logits go.
    logits: Option<OutputFile>,
}

impl Subject {
    fn open(arguments: &EvalArguments) -> anyhow::Result<Self> {
        let known = arguments.weights.run().map(Known::of_run).transpose()?.unwrap_or_default();
        let dir = arguments.data.clone().or(known.dir.clone()).unwrap_or_else(|| "data".into());
        let inputs = [arguments.weights.inputs(), vec![dir.clone()]].concat();
        let check = |path: &PathBuf| OutputFile::check("--save-logits", path, &inputs);
        let logits = arguments.save_logits.as_ref().map(check).transpose()?;
        let state = arguments.weights.read()?;
        let description = arguments.weights.describe(&state)?;
        let of_file = |problem| arguments.weights.error(problem);
        let known = known.stated_by(&state).map_err(of_file)?;
        // Runs of earlier versions state it by their data set alone.
        let colours = state.colours().map_err(of_file)?.or_else(|| Some(known.dataset?.kind().colours()));
        let by_file = || EvalDataset::of(&description.shape, colours.as_ref());
        let stated = arguments.on.or(known.dataset);
        let dataset = stated.unwrap_or_else(by_file);
        dataset.require_size(&description.shape)?;
        if let Some(data) = &arguments.data {
            note_unread(
                dataset.kind() == DatasetKind::Photodigits,
                data,
                "--on imagenet tests on the images in a folder",
            );
        }
        let crop = description.shape.image_size as usize;
        let resize = known.resize.unwrap_or_else(|| CentreView::usual_resize(crop));
        let view = CentreView { resize, crop, filter: known.filter };
        Ok(Self { state, description, dataset, is_guessed: stated.is_none(), dir, view, colours, logits })
    }

    fn load(&self, arguments: &EvalArguments, world: &World) -> anyhow::Result<(EvaluationNetwork, TestData)> {
        let Self { state, description, dataset, dir, view, colours, .. } = self;
        let opened = TestData::open(dataset.kind(), dir, *view, arguments.global_batch as usize, world);
        let guess = || {
            let (file, kind) = (arguments.weights.file(), dataset.kind());
            format!("{} does not say what it was trained on, taken for {kind} (--on states another)", file.display())
        };
        let mut data = if self.is_guessed { opened.with_context(guess)? } else { opened? };
        if let Some(stated) = colours.filter(|stated| *stated != data.source.colours()) {
            tracing::info!(
                "images are normalised as those that the network was trained on ({stated}), not as {} ({})",
                dataset.kind(),
                data.source.colours()
            );
            data.loader = data.loader.with_colours(stated);
        }
        dataset.require_classes(&description.shape, data.source.class_names().len())?;
        let network = state.build(description, world.device, Kind::Float);
        let network = network.map_err(|problem| arguments.weights.error(problem))?;
        note_misfit_of_head(&arguments.weights.file(), state, &network, "it serves training alone and is not used");
        Ok((network, data))
    }
}

fn progress_bar(bars: &MultiProgress, images: usize) -> anyhow::Result<ProgressBar> {
    let bar = bars.add(ProgressBar::new(images as u64));
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} images, {eta} left")?);
    Ok(bar)
}

fn logits_file(predictions: &Predictions) -> anyhow::Result<Vec<u8>> {
    let tensors = [("logits", &predictions.logits), ("targets", &predictions.targets)];
    let tensors: BTreeMap<_, _> = tensors.map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).into();
    Ok(to_safetensors(&tensors, HashMap::new())?)
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
