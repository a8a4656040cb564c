//! What computes: its peaks, and what the program reaches of them.

use serde::Serialize;

use super::counter::Kernels;
use super::course::Course;
use super::layer::Class;

const GIGA: f64 = 1e9;
const TERA: f64 = 1e12;
const GIB: f64 = (1u64 << 30) as f64;

/// Shares of the peaks that layers of one class reach.
#[derive(Copy, Clone, PartialEq, Debug, Serialize)]
pub struct Efficiency {
    /// Of the operations a second.
    pub arithmetic: f64,
    /// Of the bytes a second.
    pub memory: f64,
}

/// What the figures of a hardware rest on.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// Steps were measured on it.
    Measured,
    /// Its peaks are its maker's, everything else is taken from another card.
    NotOnThisCard,
}

/// One GPU, or the cores of a rank.
#[derive(Clone, PartialEq, Debug)]
pub struct Hardware {
    /// As it is asked for.
    pub name: String,
    /// Bytes, where they are known.
    pub memory_bytes: Option<f64>,
    /// Operations a second in float32, a multiply-add being two.
    pub flops: f64,
    /// The same of dense convolutions in bfloat16.
    pub bf16_flops: f64,
    /// Bytes a second of its memory.
    pub bandwidth: f64,
    /// By class, in the order of [`Class::ALL`].
    pub efficiency: [Efficiency; Class::ALL.len()],
    /// What a kernel takes beside its arithmetic and bytes in a step that a GPU replays: until it is under way and has ended.
    pub replayed_launch_seconds: f64,
    /// The same of one that the host launches. Of libtorch's operations on a GPU it is the host's time, which the GPU does not
    /// wait for while it has work.
    pub launch_seconds: f64,
    /// Whose kernels compute.
    pub kernels: Kernels,
    /// Bytes a second from each rank to its neighbour on the same node.
    pub node_link: f64,
    /// Bytes that the program takes without any network.
    pub program_bytes: f64,
    /// What is known of it.
    pub calibration: Calibration,
}

/// What `pdarts bench machine --device cpu` measures.
#[derive(Copy, Clone, PartialEq, Debug, Serialize)]
pub struct MachinePeaks {
    /// Operations a second of a product of matrices, in 1e9.
    pub gemm_gflop_s: f64,
    /// Bytes a second of memory, in 1e9.
    pub stream_gb_s: f64,
}

/// Peaks by NVIDIA's data sheets, without sparsity.
struct Card {
    name: &'static str,
    memory_gb: f64,
    float32_tflops: f64,
    bf16_tflops: f64,
    bandwidth_tb_s: f64,
    /// A direction, in GB/s.
    nvlink_gb_s: f64,
    /// Whether the program has kernels for it.
    own_kernels: bool,
    calibration: Calibration,
}

const CARDS: [Card; 4] = [
    Card {
        name: "h200",
        memory_gb: 141.0,
        float32_tflops: 67.0,
        bf16_tflops: 989.0,
        bandwidth_tb_s: 4.8,
        nvlink_gb_s: 450.0,
        own_kernels: true,
        calibration: Calibration::Measured,
    },
    Card {
        name: "h100",
        memory_gb: 80.0,
        float32_tflops: 67.0,
        bf16_tflops: 989.0,
        bandwidth_tb_s: 3.35,
        nvlink_gb_s: 450.0,
        own_kernels: true,
        calibration: Calibration::NotOnThisCard,
    },
    Card {
        name: "a100",
        memory_gb: 80.0,
        float32_tflops: 19.5,
        bf16_tflops: 312.0,
        bandwidth_tb_s: 2.04,
        nvlink_gb_s: 300.0,
        own_kernels: true,
        calibration: Calibration::NotOnThisCard,
    },
    // It has no bfloat16, which is computed in float32.
    Card {
        name: "v100",
        memory_gb: 32.0,
        float32_tflops: 15.7,
        bf16_tflops: 15.7,
        bandwidth_tb_s: 0.9,
        nvlink_gb_s: 150.0,
        own_kernels: false,
        calibration: Calibration::NotOnThisCard,
    },
];

/// Of the program's own kernels and libtorch's products on a GPU, fitted to steps on an H200: see docs/performance.md.
const GPU_EFFICIENCY: [Efficiency; Class::ALL.len()] = [
    Efficiency { arithmetic: 0.5, memory: 0.8 },
    Efficiency { arithmetic: 0.12, memory: 0.8 },
    Efficiency { arithmetic: 0.3, memory: 0.8 },
    Efficiency { arithmetic: 0.3, memory: 0.8 },
];
/// A kernel of a step that is replayed, fitted to the same steps.
const GPU_KERNEL_SECONDS: f64 = 2e-6;
/// One of a step whose kernels are launched one by one: fitted to the difference of such steps on the same card.
const GPU_LAUNCH_SECONDS: f64 = 4.6e-6;
/// Of libtorch's operations one after the other, from two steps that do not wait for the host alone (see docs/performance.md);
/// their arithmetic is assumed.
const COMPOSED_EFFICIENCY: Efficiency = Efficiency { arithmetic: 0.3, memory: 0.2 };
/// For an operation of libtorch, on an H200 in a virtual machine, from steps of the supernet, which wait for the host.
const COMPOSED_LAUNCH_SECONDS: f64 = 20e-6;
/// CUDA's context, libtorch's kernels, cuDNN's workspace: assumed.
const GPU_PROGRAM_BYTES: f64 = 1.5 * GIB;

/// On CPUs, of what `bench machine` measures: fitted to measured steps, see docs/performance.md. What stays in a cache is
/// faster than memory.
const CPU_EFFICIENCY: [Efficiency; Class::ALL.len()] = [
    Efficiency { arithmetic: 1.05, memory: 0.75 },
    Efficiency { arithmetic: 1.1, memory: 1.0 },
    Efficiency { arithmetic: 1.0, memory: 0.75 },
    Efficiency { arithmetic: 1.0, memory: 0.65 },
];
/// An operation of libtorch with its autograd, forward or backward.
const CPU_LAUNCH_SECONDS: f64 = 10e-6;
/// libtorch's libraries and threads.
const CPU_PROGRAM_BYTES: f64 = 0.14 * GIB;
/// MPI's copies through shared memory, assumed.
const CPU_NODE_LINK: f64 = 4.0 * GIGA;
/// Images that a core decodes, crops and resizes in a second while all others do so too: `pdarts bench loader` on photos of
/// ImageNet, docs/performance.md.
pub const DECODED_IMAGES_PER_CORE: f64 = 630.0;
/// Images that a core crops and mirrors in a second, of 32 pixels: assumed.
pub const CROPPED_IMAGES_PER_CORE: f64 = 50_000.0;

impl Hardware {
    /// A GPU by its name in lower case; `None` for one without figures.
    pub fn card(name: &str) -> Option<Self> {
        let card = CARDS.iter().find(|card| card.name == name)?;
        Some(Self {
            name: card.name.to_owned(),
            memory_bytes: Some(card.memory_gb * GIGA),
            flops: card.float32_tflops * TERA,
            bf16_flops: card.bf16_tflops * TERA,
            bandwidth: card.bandwidth_tb_s * TERA,
            efficiency: if card.own_kernels { GPU_EFFICIENCY } else { [COMPOSED_EFFICIENCY; Class::ALL.len()] },
            replayed_launch_seconds: GPU_KERNEL_SECONDS,
            launch_seconds: if card.own_kernels { GPU_LAUNCH_SECONDS } else { COMPOSED_LAUNCH_SECONDS },
            kernels: if card.own_kernels { Kernels::Gpu } else { Kernels::Composed },
            node_link: card.nvlink_gb_s * GIGA,
            program_bytes: GPU_PROGRAM_BYTES,
            calibration: card.calibration,
        })
    }

    /// The share of one of `ranks` that divide the cores of a node between them.
    pub fn cpu(peaks: MachinePeaks, ranks: usize) -> Self {
        let share = GIGA / ranks.max(1) as f64;
        Self {
            name: "cpu".to_owned(),
            memory_bytes: None,
            flops: peaks.gemm_gflop_s * share,
            // The program's kernels compute in float32.
            bf16_flops: peaks.gemm_gflop_s * share,
            bandwidth: peaks.stream_gb_s * share,
            efficiency: CPU_EFFICIENCY,
            replayed_launch_seconds: CPU_LAUNCH_SECONDS,
            launch_seconds: CPU_LAUNCH_SECONDS,
            kernels: Kernels::Cpu,
            node_link: CPU_NODE_LINK,
            program_bytes: CPU_PROGRAM_BYTES,
            calibration: Calibration::Measured,
        }
    }

    /// All of a node of which this is the share of one of `ranks`.
    pub fn of_ranks(&self, ranks: usize) -> Self {
        let ranks = ranks as f64;
        let (flops, bf16_flops) = (ranks * self.flops, ranks * self.bf16_flops);
        Self { flops, bf16_flops, bandwidth: ranks * self.bandwidth, ..self.clone() }
    }

    /// Whether it repeats the steps of `course` as it has recorded them.
    pub fn replays(&self, course: &Course) -> bool {
        self.kernels == Kernels::Gpu && course.obstacle_to_graphs.is_none()
    }

    /// What a kernel of `course` takes beside its arithmetic and bytes.
    pub fn launch_seconds_of(&self, course: &Course) -> f64 {
        if self.replays(course) { self.replayed_launch_seconds } else { self.launch_seconds }
    }

    /// The same of passes that train weights.
    pub fn launch_seconds_of_weights(&self, course: &Course) -> f64 {
        match course.obstacle_to_weight_graphs {
            Some(_) => self.launch_seconds,
            None => self.launch_seconds_of(course),
        }
    }

    /// Of layers of `class`.
    pub fn efficiency_of(&self, class: Class) -> Efficiency {
        let position = Class::ALL.iter().position(|&other| other == class).unwrap_or_default();
        self.efficiency[position]
    }
}
