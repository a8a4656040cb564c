//! `pdarts bench train-step`: a step of a retraining at the paper's sizes.
//!
//! Under mpirun the ranks share the batch as in a training. Its peer is `benches/peers/network.py`: the same network in
//! plain PyTorch with the same options and output.

use std::time::Instant;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tch::{Kind, Tensor};

use super::gpu::{gpu_memory_line, launches, peak_gpu_mib};
use super::supernet::{images_of_rank, median};
use crate::cli::kernels::KernelsArgument;
use crate::cli::numbers::threads;
use crate::cli::output;
use crate::cli::ranks::join;
use crate::cli::start::meet;
use crate::config::{CommunicatorChoice, DeviceChoice, Precision, TrainConfig};
use crate::genotype::{NetworkShape, count, library};
use crate::model::NetworkDescription;
use crate::trainer::{ImageBatch, StepSettings, TrainState};
use crate::world::{World, peak_memory_mib};

const CELL: &str = "PDARTS_C10";
const NUM_WARM_UPS: usize = 3;

#[derive(Debug, Args)]
pub struct TrainStepArguments {
    /// Which network of the paper.
    #[arg(long, value_enum)]
    network: Network,
    /// Images of a step, over all ranks.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    global_batch: u16,
    /// CPU threads of a rank; 0 = its share of the cores that it may use.
    #[arg(long, default_value_t = 0, value_parser = threads())]
    threads: usize,
    /// Steps that are timed, after three that are not.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Compute convolutions in bfloat16.
    #[arg(long)]
    bf16: bool,
    /// Compute each cell's forward pass again in backward instead of keeping its activations.
    #[arg(long)]
    checkpoint_cells: bool,
    /// On a GPU, launch every kernel of every step instead of replaying CUDA graphs.
    #[arg(long)]
    no_cuda_graphs: bool,
    /// Where to compute: auto, cpu or cuda.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// What carries sums between ranks: auto, mpi or nccl.
    #[arg(long, default_value = "auto")]
    communicator: CommunicatorChoice,
    #[command(flatten)]
    kernels: KernelsArgument,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The networks of the paper's evaluation, built from its CIFAR-10 cell.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Network {
    /// 20 cells, 36 channels, 10 classes, 32x32 pixels.
    Cifar,
    /// 14 cells, 48 channels, 1000 classes, 224x224 pixels.
    Imagenet,
}

#[derive(Debug, Serialize)]
struct Figures {
    network: Network,
    step_s: f64,
    peak_rss_mib: f64,
    /// The most that tensors took on the GPU at one time; none on CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_gpu_mib: Option<f64>,
    /// Kernels and copies of the CUDA graph that a step replays; none where nothing is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    launches: Option<u64>,
    /// Without the auxiliary head.
    parameters: u64,
    ranks: usize,
    /// Over all ranks.
    images_per_second: f64,
}

impl Network {
    fn shape(self) -> NetworkShape {
        match self {
            Self::Cifar => NetworkShape::cifar(10),
            Self::Imagenet => NetworkShape::imagenet(),
        }
    }

    /// Drop path at the end of the paper's training, and its label smoothing.
    fn regularization(self) -> (f64, f64) {
        match self {
            Self::Cifar => (0.3, 0.0),
            Self::Imagenet => (0.0, 0.1),
        }
    }
}

pub fn run(arguments: &TrainStepArguments) -> anyhow::Result<()> {
    arguments.kernels.apply();
    let ranks = join()?;
    let world = meet(&ranks, arguments.device, arguments.threads, arguments.communicator)?;
    let figures = measure(arguments, &world)?;
    if !world.is_root() {
        return Ok(());
    }
    if arguments.json {
        output::print(serde_json::to_string(&figures)?)?;
    } else {
        let Figures { network, step_s, peak_rss_mib, peak_gpu_mib, launches, parameters, images_per_second, .. } =
            figures;
        let gpu = gpu_memory_line(peak_gpu_mib);
        let launches = launches.map_or_else(String::new, |launches| {
            format!("\n  launches     {launches} kernels and copies, replayed as a CUDA graph")
        });
        output::print(format_args!(
            "{network:?} network of {CELL}, batch {}, {world}\n  \
             step         {step_s:.3} s\n  \
             images/s     {images_per_second:.1}\n  \
             peak memory  {peak_rss_mib:.0} MiB{gpu}{launches}\n  \
             parameters   {parameters}",
            arguments.global_batch
        ))?;
    }
    Ok(())
}

/// How a step is computed.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct StepVariant {
    pub bf16: bool,
    pub checkpoint_cells: bool,
    pub no_cuda_graphs: bool,
}

/// A network of the paper with this rank's share of a batch of noise.
pub(super) struct TrainSubject {
    pub state: TrainState,
    pub batch: ImageBatch,
    pub settings: StepSettings,
}

impl TrainSubject {
    /// All ranks call this together.
    pub fn new(network: Network, global_batch: u16, variant: StepVariant, world: &World) -> anyhow::Result<Self> {
        let num_images = images_of_rank(global_batch, world)?;
        let (genotype, shape) = (library::find(CELL)?.genotype, network.shape());
        let (drop_path, label_smoothing) = network.regularization();
        let mut config = TrainConfig::default();
        config.train.label_smoothing = label_smoothing;
        config.model.checkpoint_cells = variant.checkpoint_cells;
        config.run.cuda_graphs = !variant.no_cuda_graphs;
        if variant.bf16 {
            config.train.precision = Precision::Bf16;
        }
        let description = NetworkDescription { genotype, shape, auxiliary_head: true };
        let mut state = TrainState::new(description, &config, world.device, None)?;
        state.replicate(world, (&config.parallel).into())?;
        state.replay(config.obstacle_to_graphs(world.size));
        let size = shape.image_size as i64;
        let batch = ImageBatch {
            images: Tensor::randn([num_images, 3, size, size], (Kind::Float, world.device)),
            labels: Tensor::randint(shape.num_classes as i64, [num_images], (Kind::Int64, world.device)),
        };
        let settings = StepSettings { learning_rate: config.optimizer.learning_rate, drop_path, mixing: None };
        Ok(Self { state, batch, settings })
    }

    /// Waits for the device.
    pub fn step(&mut self) -> anyhow::Result<()> {
        self.state.weight_step(&mut (&self.batch).into(), &self.settings)?.mean_loss()?;
        Ok(())
    }
}

fn measure(arguments: &TrainStepArguments, world: &World) -> anyhow::Result<Figures> {
    let TrainStepArguments { network, global_batch, bf16, checkpoint_cells, no_cuda_graphs, .. } = *arguments;
    let parameters = count(&library::find(CELL)?.genotype, &network.shape()).parameters;
    let variant = StepVariant { bf16, checkpoint_cells, no_cuda_graphs };
    let mut subject = TrainSubject::new(network, global_batch, variant, world)?;
    let (mut seconds, mut last_launches) = (Vec::new(), None);
    for repeat in 0..NUM_WARM_UPS + usize::from(arguments.repeats) {
        let launches_before = subject.state.replayed_launches();
        let start = Instant::now();
        subject.step()?;
        if repeat >= NUM_WARM_UPS {
            seconds.push(start.elapsed().as_secs_f64());
        }
        last_launches = launches(launches_before, subject.state.replayed_launches());
    }
    let step_s = median(&mut seconds);
    Ok(Figures {
        network,
        step_s,
        peak_rss_mib: peak_memory_mib()?,
        peak_gpu_mib: peak_gpu_mib(world)?,
        launches: last_launches,
        parameters,
        ranks: world.size,
        images_per_second: f64::from(global_batch) / step_s,
    })
}
