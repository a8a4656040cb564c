//! `pdarts plan`: what a configuration will need, before it runs.

mod kind;
mod text;
mod trial;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use self::kind::Planned;
use self::trial::Trial;
use super::bench::machine_peaks;
use super::error::UsageError;
use super::output;
use crate::data::{Split, open};
use crate::plan::{
    Calibration, Cluster, Course, DataSize, ETHERNET, Efficiency, Estimate, Hardware, INFINIBAND, Kernels, LINK_SHARE,
    MachinePeaks, PCI_EXPRESS, Pace, PlanError, estimate,
};
use crate::trainer::{dataset_kind, share_sizes};

const EXAMPLES: &str = "\
Examples:
  pdarts plan --config configs/train-imagenet.toml --gpus 8
  pdarts plan --config configs/search-cifar10.toml --gpus 1 --gpu a100 --json
  pdarts plan --config configs/train-imagenet-8k-lars.toml --gpus 64 --nodes 8 --network ethernet
  pdarts plan --config configs/search-quickstart.toml --gpus 1 --gpu cpu

Counts are exact, times are what peaks, links and assumed shares of them allow: the output says what was measured and
what was not.";

const GIGA: f64 = 1e9;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PlanArguments {
    /// Configuration of a search or of a training, as in configs/
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Change one key of the configuration; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// The cell of a training: as for pdarts train
    #[arg(long, value_name = "GENOTYPE", default_value = "PDARTS_C10")]
    genotype: String,
    /// Folder with the data set, of which images and classes are counted [default: as published; of images ImageNet's]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// GPUs in all (of cpu: ranks)
    #[arg(long, value_name = "N")]
    gpus: usize,
    /// Machines that they are in, each with as many
    #[arg(long, value_name = "M", default_value_t = 1)]
    nodes: usize,
    /// Which: SXM boards with NVLink, or this machine's CPU
    #[arg(long, value_enum, default_value_t = Gpu::H200)]
    gpu: Gpu,
    /// What connects the GPUs of a machine
    #[arg(long, value_enum, default_value_t = Link::Nvlink)]
    link: Link,
    /// What connects the machines
    #[arg(long, value_enum, default_value_t = Network::Infiniband)]
    network: Network,
    /// With --gpu cpu: what `pdarts bench machine --device cpu` says of arithmetic, in GFLOP/s [default: measured now, by steps of the planned networks with fewer cells too]
    #[arg(long, value_name = "GFLOP/S", requires = "stream", value_parser = positive)]
    gemm: Option<f64>,
    /// With --gpu cpu: what it says of memory, in GB/s
    #[arg(long, value_name = "GB/S", requires = "gemm", value_parser = positive)]
    stream: Option<f64>,
    /// Print JSON, with every figure
    #[arg(long)]
    json: bool,
}

/// Hardware that there are figures of.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Gpu {
    H200,
    H100,
    A100,
    V100,
    Cpu,
}

/// Within a machine.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Link {
    Nvlink,
    Pcie,
}

/// Between machines, for each.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Network {
    /// 400 Gbit/s.
    Infiniband,
    /// 100 Gbit/s.
    Ethernet,
}

/// Everything that is printed.
#[derive(Serialize)]
struct Plan {
    config: PathBuf,
    kind: &'static str,
    /// Of a training.
    cell: Option<String>,
    gpu: String,
    gpus: usize,
    nodes: usize,
    /// Of the data set, those that are used.
    train_images: usize,
    classes: usize,
    global_batch: usize,
    #[serde(flatten)]
    estimate: Estimate,
    assumed: Assumptions,
}

/// What the figures rest on besides counts.
#[derive(Serialize)]
struct Assumptions {
    calibration: Calibration,
    /// Operations a second, in 1e12.
    peak_tflop_s: f64,
    /// Of dense convolutions in bfloat16.
    peak_bf16_tflop_s: f64,
    /// Bytes a second, in 1e9.
    memory_gb_s: f64,
    /// Reached of both by dense convolutions, separable ones, sums of the supernet, everything else.
    efficiency: Vec<Efficiency>,
    /// A kernel.
    launch_microseconds: f64,
    /// From a GPU to its neighbour, in 1e9 bytes a second.
    node_link_gb_s: f64,
    /// From a node to its neighbour.
    network_gb_s: f64,
    /// How many times as long steps of each phase take here as the figures above say, where some were taken.
    paces: Vec<Pace>,
    /// In words.
    notes: Vec<String>,
}

pub fn run(arguments: &PlanArguments) -> anyhow::Result<()> {
    let planned = Planned::read(&arguments.config, &arguments.overrides, &arguments.genotype)?;
    // Before anything is measured.
    let check = Cluster::new(arguments.gpus, arguments.nodes, 1.0, 1.0);
    check.map_err(UsageError::new)?;
    if arguments.gpu != Gpu::Cpu && arguments.gemm.is_some() {
        return Err(UsageError::new(anyhow::anyhow!("--gemm and --stream are of --gpu cpu")).into());
    }
    let data = data_size(&planned, arguments)?;
    let mut course = planned.course(data, arguments.gpus, arguments.kernels()).map_err(plan_error)?;
    let hardware = arguments.hardware()?;
    let trial = arguments.trial(&planned, data, &hardware)?;
    if let Some(trial) = &trial {
        course.phases.iter_mut().zip(&trial.paces).for_each(|(phase, &pace)| phase.pace = pace);
    }
    let cluster = arguments.cluster(&hardware).map_err(plan_error)?;
    let plan = Plan {
        config: arguments.config.clone(),
        kind: planned.kind(),
        cell: planned.cell(),
        gpu: hardware.name.clone(),
        gpus: arguments.gpus,
        nodes: arguments.nodes,
        train_images: data.limited(planned.limit()),
        classes: data.classes,
        global_batch: course.global_batch,
        estimate: estimate(&course, &hardware, &cluster),
        assumed: arguments.assumptions(&course, &hardware, &cluster, trial.as_ref()),
    };
    if arguments.json { output::print_json(&plan) } else { Ok(output::print(text::report(&plan))?) }
}

fn plan_error(error: PlanError) -> anyhow::Error {
    UsageError::new(error).into()
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("state a number above 0".to_owned()),
    }
}

/// As published, or counted where a folder is named.
fn data_size(planned: &Planned, arguments: &PlanArguments) -> anyhow::Result<DataSize> {
    let dataset = planned.dataset();
    let Some(dir) = &arguments.data else { return Ok(DataSize::published(dataset)) };
    let [train, test] = [Split::Train, Split::Test].map(|split| open(dataset_kind(dataset), dir, split));
    let (train, test) = (train.map_err(UsageError::new)?, test.map_err(UsageError::new)?);
    let search_shares = match planned {
        Planned::Search(config) if !config.search.strategy.trains_cells() => {
            config.validate_with_dataset(train.len())?;
            Some(share_sizes(&train, config)?)
        }
        _ => None,
    };
    Ok(DataSize { train: train.len(), test: test.len(), classes: train.class_names().len(), search_shares })
}

impl PlanArguments {
    fn card(&self) -> Option<Hardware> {
        Hardware::card(self.gpu.to_possible_value()?.get_name())
    }

    fn kernels(&self) -> Kernels {
        self.card().map_or(Kernels::Cpu, |card| card.kernels)
    }

    fn hardware(&self) -> anyhow::Result<Hardware> {
        if let Some(card) = self.card() {
            return Ok(card);
        }
        let peaks = match (self.gemm, self.stream) {
            (Some(gemm_gflop_s), Some(stream_gb_s)) => MachinePeaks { gemm_gflop_s, stream_gb_s },
            _ => machine_peaks()?,
        };
        Ok(Hardware::cpu(peaks, self.gpus / self.nodes))
    }

    /// Steps on this machine, where nothing is told of it.
    fn trial(&self, planned: &Planned, data: DataSize, hardware: &Hardware) -> anyhow::Result<Option<Trial>> {
        if self.gpu != Gpu::Cpu || self.gemm.is_some() {
            return Ok(None);
        }
        let all_cores = hardware.of_ranks(self.gpus / self.nodes);
        Trial::run(planned, data, &all_cores).map(Some)
    }

    fn cluster(&self, hardware: &Hardware) -> Result<Cluster, PlanError> {
        let node_link = match self.link {
            Link::Nvlink => hardware.node_link,
            Link::Pcie => hardware.node_link.min(PCI_EXPRESS),
        };
        Cluster::new(self.gpus, self.nodes, LINK_SHARE * node_link, LINK_SHARE * self.network.bandwidth())
    }

    fn assumptions(
        &self,
        course: &Course,
        hardware: &Hardware,
        cluster: &Cluster,
        trial: Option<&Trial>,
    ) -> Assumptions {
        Assumptions {
            calibration: hardware.calibration,
            peak_tflop_s: hardware.flops / (GIGA * 1e3),
            peak_bf16_tflop_s: hardware.bf16_flops / (GIGA * 1e3),
            memory_gb_s: hardware.bandwidth / GIGA,
            efficiency: hardware.efficiency.to_vec(),
            launch_microseconds: hardware.launch_seconds_of(course) * 1e6,
            node_link_gb_s: cluster.node_link / GIGA,
            network_gb_s: cluster.network / GIGA,
            paces: trial.map(|trial| trial.paces.clone()).unwrap_or_default(),
            notes: text::notes(course, hardware, trial),
        }
    }
}

impl Network {
    /// Bytes a second.
    fn bandwidth(self) -> f64 {
        match self {
            Self::Infiniband => INFINIBAND,
            Self::Ethernet => ETHERNET,
        }
    }
}
