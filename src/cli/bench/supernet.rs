//! `pdarts bench supernet`: an architecture step and a weight step at the paper's sizes.
//!
//! Under mpirun the ranks share the batch as in a search. Its peer is `benches/peers/supernet.py`: the same network in
//! plain PyTorch with the same options and output.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Serialize;
use tch::{Kind, Tensor};

use super::gpu::{gpu_memory_line, launches, peak_gpu_mib};
use crate::cli::error::UsageError;
use crate::cli::kernels::KernelsArgument;
use crate::cli::numbers::threads;
use crate::cli::output;
use crate::cli::ranks::{agree, join};
use crate::cli::start::meet;
use crate::config::{CommunicatorChoice, DeviceChoice, Precision, SearchConfig, StrategyName};
use crate::genotype::{NetworkKind, Operation, Switches};
use crate::search::{ForwardMode, Sampling, SupernetShape};
use crate::trainer::{ImageBatch, SearchState};
use crate::world::{World, peak_memory_mib};

const CHANNELS: usize = 16;
/// Of PC-DARTS on CIFAR-10.
const PARTIAL_CHANNELS: usize = 4;
const IMAGE_SIZE: i64 = 32;
const NUM_CLASSES: usize = 10;
const NUM_WARM_UPS: usize = 3;

#[derive(Debug, Args)]
pub struct SupernetArguments {
    /// Stage of the paper: 1 (5 cells, 8 operations), 2 (11 cells, 5) or 3 (17 cells, 3).
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    stage: u8,
    /// Images of a step, over all ranks.
    #[arg(long, default_value_t = 96, value_parser = clap::value_parser!(u16).range(1..))]
    global_batch: u16,
    /// CPU threads of a rank; 0 = its share of the cores that it may use.
    #[arg(long, default_value_t = 0, value_parser = threads())]
    threads: usize,
    /// Steps of each kind that are timed, after three that are not.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Live operations of every edge, separated by commas, instead of the stage's.
    #[arg(long, value_delimiter = ',')]
    live: Vec<Operation>,
    /// p-darts (all operations), pc-darts (on a quarter of the channels) or gdas (one sampled operation an edge).
    #[arg(long, default_value = "p-darts", value_parser = parse_strategy)]
    strategy: StrategyName,
    /// What convolutions compute in: float32, tf32 or bf16.
    #[arg(long, default_value = "float32")]
    precision: Precision,
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

fn parse_strategy(text: &str) -> Result<StrategyName, String> {
    match text {
        "p-darts" => Ok(StrategyName::PDarts),
        "pc-darts" => Ok(StrategyName::PcDarts),
        "gdas" => Ok(StrategyName::Gdas),
        _ => Err("state p-darts, pc-darts or gdas".into()),
    }
}

#[derive(Debug, Serialize)]
struct Figures {
    stage: u8,
    arch_step_s: f64,
    weight_step_s: f64,
    peak_rss_mib: f64,
    /// The most that tensors took on the GPU at one time; none on CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_gpu_mib: Option<f64>,
    /// Kernels and copies of the CUDA graphs that a step replays; none where nothing is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    arch_launches: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_launches: Option<u64>,
    parameters: usize,
    ranks: usize,
    /// Of both steps, over all ranks.
    images_per_second: f64,
    /// Part of the steps' time that rank 0 waited for sums over ranks.
    exposed_communication_share: f64,
}

pub fn run(arguments: &SupernetArguments) -> anyhow::Result<()> {
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
        output::print(figures.text(arguments, &world))?;
    }
    Ok(())
}

impl Figures {
    fn text(&self, arguments: &SupernetArguments, world: &World) -> String {
        let Figures { stage, arch_step_s, weight_step_s, peak_rss_mib, parameters, images_per_second, .. } = self;
        let gpu = gpu_memory_line(self.peak_gpu_mib);
        let communication = match world.size {
            1 => String::new(),
            _ => format!("\n  not hidden         {:.1} % of the time", 100.0 * self.exposed_communication_share),
        };
        let launches = match (self.arch_launches, self.weight_launches) {
            (Some(arch), Some(weight)) => {
                format!("\n  launches           {arch} + {weight} kernels and copies, replayed as CUDA graphs")
            }
            _ => String::new(),
        };
        format!(
            "stage {stage}, batch {}, {world}\n  \
             architecture step  {arch_step_s:.3} s\n  \
             weight step        {weight_step_s:.3} s\n  \
             images/s           {images_per_second:.1}\n  \
             peak memory        {peak_rss_mib:.0} MiB{gpu}{launches}\n  \
             parameters         {parameters}{communication}",
            arguments.global_batch
        )
    }
}

/// A supernet of the paper with this rank's share of a batch of noise.
pub struct Subject {
    pub state: SearchState,
    pub batch: ImageBatch,
    pub learning_rate: f64,
}

impl Subject {
    /// Of `stage`, with `live` operations on every edge or, if there are none, the stage's. All ranks call this
    /// together.
    pub fn new(
        strategy: StrategyName,
        stage: u8,
        live: &[Operation],
        global_batch: u16,
        world: &World,
    ) -> anyhow::Result<Self> {
        let num_images = images_of_rank(global_batch, world)?;
        let defaults = SearchConfig::default();
        let (num_cells, live_in_paper) = stage_of_the_paper(stage);
        let live = if live.is_empty() { live_in_paper } else { live };
        let shape = SupernetShape {
            stem: NetworkKind::Cifar,
            num_cells,
            channels: CHANNELS,
            num_classes: NUM_CLASSES,
            partial_channels: match strategy {
                StrategyName::PcDarts => PARTIAL_CHANNELS,
                _ => defaults.search.partial_channels,
            },
            switches: Switches::full(live).context("--live").map_err(UsageError::new)?,
        };
        let alpha_scale = defaults.search.alpha_init_scale;
        let mut state =
            SearchState::new(&shape, alpha_scale, &defaults.optimizer, strategy, world.device, Kind::Float)?;
        state.replicate(world, (&defaults.parallel).into())?;
        let batch = ImageBatch {
            images: Tensor::randn([num_images, 3, IMAGE_SIZE, IMAGE_SIZE], (Kind::Float, world.device)),
            labels: Tensor::randint(NUM_CLASSES as i64, [num_images], (Kind::Int64, world.device)),
        };
        Ok(Self { state, batch, learning_rate: defaults.optimizer.weights.learning_rate })
    }
}

/// That of a search which takes such steps.
fn obstacle_to_graphs(arguments: &SupernetArguments, world: &World) -> Option<&'static str> {
    let mut config = SearchConfig::default();
    config.search.strategy = arguments.strategy;
    config.model.checkpoint_cells = arguments.checkpoint_cells;
    config.run.cuda_graphs = !arguments.no_cuda_graphs;
    config.obstacle_to_graphs(world.size)
}

fn measure(arguments: &SupernetArguments, world: &World) -> anyhow::Result<Figures> {
    let Subject { mut state, batch, learning_rate } =
        Subject::new(arguments.strategy, arguments.stage, &arguments.live, arguments.global_batch, world)?;
    state.compute_in(arguments.precision);
    state.checkpoint_cells(arguments.checkpoint_cells);
    state.replay(obstacle_to_graphs(arguments, world), None);
    let mode_of = |seed| {
        let sampling = Sampling { seed, ..Sampling::default() };
        ForwardMode { sampling, ..ForwardMode::training(0.0) }
    };
    let (mut arch_seconds, mut weight_seconds) = (Vec::new(), Vec::new());
    let (mut arch_launches, mut weight_launches) = (None, None);
    let mut exposed_before = Duration::ZERO;
    for repeat in 0..NUM_WARM_UPS + usize::from(arguments.repeats) {
        if repeat == NUM_WARM_UPS {
            exposed_before = state.exposed_communication();
        }
        let launches_before = state.replayed_launches();
        let start = Instant::now();
        // Reading a value waits for the device.
        state.alpha_step(&mut (&batch).into(), mode_of(2 * repeat as u64))?.mean_loss()?;
        let middle = Instant::now();
        let launches_between = state.replayed_launches();
        state.weight_step(&mut (&batch).into(), learning_rate, mode_of(2 * repeat as u64 + 1))?.mean_loss()?;
        if repeat >= NUM_WARM_UPS {
            arch_seconds.push((middle - start).as_secs_f64());
            weight_seconds.push(middle.elapsed().as_secs_f64());
        }
        arch_launches = launches(launches_before, launches_between);
        weight_launches = launches(launches_between, state.replayed_launches());
    }
    let exposed = (state.exposed_communication() - exposed_before).as_secs_f64();
    let seconds: f64 = arch_seconds.iter().chain(&weight_seconds).sum();
    let (arch_step_s, weight_step_s) = (median(&mut arch_seconds), median(&mut weight_seconds));
    Ok(Figures {
        stage: arguments.stage,
        arch_step_s,
        weight_step_s,
        ranks: world.size,
        images_per_second: 2.0 * f64::from(arguments.global_batch) / (arch_step_s + weight_step_s),
        exposed_communication_share: exposed / seconds,
        peak_rss_mib: peak_memory_mib()?,
        peak_gpu_mib: peak_gpu_mib(world)?,
        arch_launches,
        weight_launches,
        parameters: state.weights.num_parameters(),
    })
}

/// Cells and live operations of a stage; those of stages 2 and 3 are typical survivors.
fn stage_of_the_paper(stage: u8) -> (usize, &'static [Operation]) {
    use Operation::{DilConv3x3, DilConv5x5, MaxPool3x3, SepConv3x3, SkipConnect};
    match stage {
        1 => (5, &Operation::SEARCH_SPACE),
        2 => (11, &[MaxPool3x3, SkipConnect, SepConv3x3, DilConv3x3, DilConv5x5]),
        _ => (17, &[SkipConnect, SepConv3x3, DilConv3x3]),
    }
}

/// This rank's part of a batch that all ranks share. All ranks call this together.
pub(super) fn images_of_rank(global_batch: u16, world: &World) -> anyhow::Result<i64> {
    let (global_batch, num_ranks) = (i64::from(global_batch), world.size as i64);
    let outcome = match global_batch % num_ranks {
        0 => Ok(global_batch / num_ranks),
        _ => {
            let message = anyhow!("--global-batch: {num_ranks} ranks cannot share {global_batch} images equally");
            Err(UsageError::new(message).into())
        }
    };
    agree(world, outcome)
}

/// The middle value, or the mean of the two middle ones; 0 for none.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => (values[even / 2 - 1] + values[even / 2]) / 2.0,
    }
}
