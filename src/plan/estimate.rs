//! Memory, time and cores of a course on a hardware.

use serde::Serialize;

use super::counter::{Counter, Kernels};
use super::course::{Course, Phase, Steps};
use super::hardware::{CROPPED_IMAGES_PER_CORE, DECODED_IMAGES_PER_CORE, Hardware};
use super::layer::{Class, Layer, Pass};
use super::link::{Cluster, cut_gradients, exposed_seconds, ring_seconds};
use crate::genotype::{NUM_EDGES, Operation};

const VALUE_BYTES: f64 = 4.0;
const SECONDS_PER_HOUR: f64 = 3600.0;
/// Weights, gradients and momentum: zeroed, clipped, stepped.
const OPTIMIZER_PASSES: f64 = 10.0;
const OPTIMIZER_LAUNCHES: f64 = 20.0;
/// Of both cells: an alpha for each operation of an edge, and with PC-DARTS a beta for the edge. The arithmetic counts
/// nothing of them.
const ALPHA_BYTES: f64 = (2 * NUM_EDGES * (Operation::SEARCH_SPACE.len() + 1)) as f64 * VALUE_BYTES;

/// Bytes of one GPU, or of one rank's process.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize)]
pub struct Memory {
    /// Libraries and the like.
    pub program: f64,
    /// Weights.
    pub weights: f64,
    /// Gradients.
    pub gradients: f64,
    /// Momentum, moments, averages.
    pub optimizer: f64,
    /// Images of a part of a step.
    pub images: f64,
    /// What forward keeps for backward.
    pub activations: f64,
    /// What a layer needs beside that while it computes.
    pub workspace: f64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.program + self.of_step()
    }

    /// All but the program's own.
    pub fn of_step(&self) -> f64 {
        self.weights + self.gradients + self.optimizer + self.images + self.activations + self.workspace
    }
}

/// Seconds of one step of a rank.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize)]
pub struct StepEstimate {
    /// At what arithmetic and memory allow.
    pub device_seconds: f64,
    /// For starting kernels.
    pub launch_seconds: f64,
    /// Sums over ranks, hidden or not.
    pub communication_seconds: f64,
    /// What of them is waited for.
    pub exposed_seconds: f64,
    /// Altogether.
    pub seconds: f64,
}

impl StepEstimate {
    /// Of `steps` one after the other.
    fn sum(steps: &[StepEstimate]) -> Self {
        let total = |of: fn(&StepEstimate) -> f64| steps.iter().map(of).sum();
        Self {
            device_seconds: total(|step| step.device_seconds),
            launch_seconds: total(|step| step.launch_seconds),
            communication_seconds: total(|step| step.communication_seconds),
            exposed_seconds: total(|step| step.exposed_seconds),
            seconds: total(|step| step.seconds),
        }
    }
}

/// One phase.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PhaseEstimate {
    /// Its name.
    pub name: String,
    /// Trained values.
    pub parameters: u64,
    /// Of one image, forward.
    pub multiply_adds: u64,
    /// Kept of one image for backward, in bytes, all cells kept.
    pub activation_bytes: u64,
    /// Kernels that a step of the weights starts.
    pub launches: u64,
    /// Operations of all ranks in a step of the weights, forward and backward.
    pub step_flop: f64,
    /// Bytes of activations that they read and write in it.
    pub step_bytes: f64,
    /// Of one GPU.
    pub memory: Memory,
    /// Their sum.
    pub memory_bytes: f64,
    /// Of the alphas, in a search.
    pub alpha_step: Option<StepEstimate>,
    /// Of the weights.
    pub weight_step: StepEstimate,
    /// Over all ranks, while steps are made, of both kinds.
    pub images_per_second: f64,
    /// In an epoch.
    pub steps_per_epoch: usize,
    /// In all.
    pub epochs: usize,
    /// Steps and validation.
    pub hours: f64,
}

/// Cores that load for one GPU.
#[derive(Copy, Clone, PartialEq, Debug, Serialize)]
pub struct LoaderNeed {
    /// That a GPU takes, at most.
    pub images_per_second: f64,
    /// That a core loads.
    pub images_per_second_and_core: f64,
    /// That are busy with it.
    pub cores: f64,
    /// Threads of the configuration.
    pub threads: usize,
}

/// The whole run.
#[derive(Copy, Clone, PartialEq, Debug, Serialize)]
pub struct Totals {
    /// Of the phase that needs most.
    pub memory_bytes: f64,
    /// Whether the GPU has as much; unknown of a CPU.
    pub fits: Option<bool>,
    /// From start to end.
    pub hours: f64,
    /// That times the GPUs.
    pub gpu_hours: f64,
}

/// What a course will need.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Estimate {
    /// Images that go through the network at once on a rank.
    pub images_of_part: usize,
    /// In their order.
    pub phases: Vec<PhaseEstimate>,
    /// For each GPU.
    pub loader: LoaderNeed,
    /// All phases.
    pub totals: Totals,
}

/// Of `course` on a `cluster` of `hardware`.
pub fn estimate(course: &Course, hardware: &Hardware, cluster: &Cluster) -> Estimate {
    let images = course.images_of_part(cluster.ranks);
    let model = Model { course, hardware, cluster, images: images as f64 };
    let phases: Vec<PhaseEstimate> = course.phases.iter().map(|phase| model.phase(phase)).collect();
    let most = |value: fn(&PhaseEstimate) -> f64| phases.iter().map(value).fold(0.0, f64::max);
    let memory_bytes = most(|phase| phase.memory_bytes);
    let images_per_second = most(|phase| phase.images_per_second) / cluster.ranks as f64;
    let per_core = if course.decodes { DECODED_IMAGES_PER_CORE } else { CROPPED_IMAGES_PER_CORE };
    let hours = phases.iter().map(|phase| phase.hours).sum();
    Estimate {
        images_of_part: images,
        loader: LoaderNeed {
            images_per_second,
            images_per_second_and_core: per_core,
            cores: images_per_second / per_core,
            threads: course.loader_threads,
        },
        totals: Totals {
            memory_bytes,
            fits: hardware.memory_bytes.map(|bytes| memory_bytes <= bytes),
            hours,
            gpu_hours: hours * cluster.ranks as f64,
        },
        phases,
    }
}

/// Everything that an estimate of a phase looks at.
struct Model<'a> {
    course: &'a Course,
    hardware: &'a Hardware,
    cluster: &'a Cluster,
    /// Of a part.
    images: f64,
}

/// The passes of a step behind the forward pass.
type Backward = fn(&Layer) -> Pass;

const OF_WEIGHTS: Backward = |layer| layer.input_gradient + layer.weight_gradient;
const OF_ALPHAS: Backward = |layer| layer.input_gradient + layer.alpha_gradient;

impl Model<'_> {
    fn phase(&self, phase: &Phase) -> PhaseEstimate {
        let network = &phase.network;
        let launch = self.hardware.launch_seconds_of(self.course);
        let of_weights = |launch| self.step(phase, OF_WEIGHTS, self.gradient_bytes(network), launch);
        let weight_step = of_weights(self.hardware.launch_seconds_of_weights(self.course));
        let (alpha_step, alpha_epochs) = match phase.steps {
            Steps::Search { alpha_epochs, second_order } => {
                let first_order = self.step(phase, OF_ALPHAS, 0.0, launch);
                // A pass on the weights as they are and as they would be, and one to both sides of these.
                let passes = [of_weights(launch), of_weights(launch), first_order, first_order];
                let step = if second_order { StepEstimate::sum(&passes) } else { first_order };
                (Some(step), alpha_epochs)
            }
            Steps::Train => (None, 0),
        };
        let seconds_of_alphas = alpha_step.map_or(0.0, |step| step.seconds);
        let steps = |epochs: usize| (phase.steps_per_epoch * epochs) as f64;
        let evaluation = phase.pace.weights * self.seconds(network, |layer| layer.forward, launch).0 / self.images
            * phase.evaluated_images as f64
            / self.cluster.ranks as f64;
        let seconds = steps(phase.epochs) * weight_step.seconds + steps(alpha_epochs) * seconds_of_alphas + evaluation;
        let num_steps = if alpha_step.is_some() { 2.0 } else { 1.0 };
        let both = network.total(|layer| layer.forward + OF_WEIGHTS(layer));
        let memory = self.memory(phase);
        PhaseEstimate {
            name: phase.name.clone(),
            parameters: network.parameters,
            multiply_adds: network.multiply_adds(),
            activation_bytes: network.kept_bytes(self.course.activation_bytes),
            launches: both.launches,
            step_flop: 2.0 * both.multiply_adds as f64 * self.course.global_batch as f64,
            step_bytes: (both.values * self.course.activation_bytes) as f64 * self.course.global_batch as f64,
            memory,
            memory_bytes: memory.total(),
            images_per_second: num_steps * self.course.global_batch as f64 / (weight_step.seconds + seconds_of_alphas),
            alpha_step,
            weight_step,
            steps_per_epoch: phase.steps_per_epoch,
            epochs: phase.epochs,
            hours: seconds / SECONDS_PER_HOUR,
        }
    }

    /// A step of which `gradients` bytes are averaged over the ranks while backward runs; those of alphas come at its end.
    /// Starting a kernel of its passes takes `launch` seconds.
    fn step(&self, phase: &Phase, backward: Backward, gradients: f64, launch: f64) -> StepEstimate {
        let Phase { network, pace, .. } = phase;
        let pace = if gradients > 0.0 { pace.weights } else { pace.alphas };
        let at_pace = |(device, launches): (f64, f64)| (pace * device, pace * launches);
        let parts = self.course.parts as f64;
        let forward = at_pace(self.seconds(network, |layer| layer.forward, launch));
        let back = at_pace(self.seconds(network, backward, launch));
        let again = if self.course.checkpoint_cells { forward } else { (0.0, 0.0) };
        let optimizer = at_pace((
            OPTIMIZER_PASSES * gradients / self.memory_rate(Class::Elementwise),
            OPTIMIZER_LAUNCHES * self.hardware.launch_seconds_of(self.course),
        ));
        let sum =
            |which: fn((f64, f64)) -> f64| parts * (which(forward) + which(back) + which(again)) + which(optimizer);
        let (device_seconds, launch_seconds) = (sum(|seconds| seconds.0), sum(|seconds| seconds.1));
        let (first, others, compression) = self.course.buckets;
        let (communication_seconds, exposed_seconds) = if gradients > 0.0 {
            let buckets = cut_gradients(gradients, network.tensors, first, others);
            let all = buckets.iter().map(|bucket| ring_seconds(compression * bucket.bytes, self.cluster)).sum();
            // Only the last part's backward pass has all gradients.
            (all, exposed_seconds(&buckets, self.together(back), compression, self.cluster))
        } else {
            let seconds = ring_seconds(ALPHA_BYTES, self.cluster);
            (seconds, seconds)
        };
        let seconds = self.together((device_seconds, launch_seconds)) + exposed_seconds;
        StepEstimate { device_seconds, launch_seconds, communication_seconds, exposed_seconds, seconds }
    }

    /// A CPU starts a kernel when the one before it has ended, and so does a GPU that replays them; one that the host gives
    /// kernels to has them queued.
    fn together(&self, (device, launches): (f64, f64)) -> f64 {
        match self.hardware.kernels {
            Kernels::Cpu | Kernels::Gpu => device + launches,
            Kernels::Composed => device.max(launches),
        }
    }

    /// Of one part: on the device, and for starting kernels of which each takes `launch`.
    fn seconds(&self, network: &Counter, pass: impl Fn(&Layer) -> Pass, launch: f64) -> (f64, f64) {
        let mut seconds = (0.0, 0.0);
        for layer in &network.layers {
            let Pass { multiply_adds, values, launches } = pass(layer);
            let arithmetic = 2.0 * multiply_adds as f64 * self.images / self.arithmetic_rate(layer.class);
            let bytes = (values * self.course.activation_bytes) as f64 * self.images;
            seconds.0 += arithmetic.max(bytes / self.memory_rate(layer.class));
            seconds.1 += launches as f64 * launch;
        }
        seconds
    }

    fn arithmetic_rate(&self, class: Class) -> f64 {
        let in_bf16 = class == Class::Dense && self.course.activation_bytes == 2;
        let peak = if in_bf16 { self.hardware.bf16_flops } else { self.hardware.flops };
        peak * self.hardware.efficiency_of(class).arithmetic
    }

    fn memory_rate(&self, class: Class) -> f64 {
        self.hardware.bandwidth * self.hardware.efficiency_of(class).memory
    }

    fn gradient_bytes(&self, network: &Counter) -> f64 {
        VALUE_BYTES * network.parameters as f64
    }

    fn memory(&self, phase: &Phase) -> Memory {
        let Phase { network, image_size, .. } = phase;
        let weights = self.gradient_bytes(network);
        let bytes = self.course.activation_bytes;
        let kept = match self.course.checkpoint_cells {
            true => network.kept_bytes_with_checkpoints(bytes),
            false => network.kept_bytes(bytes),
        };
        Memory {
            program: self.hardware.program_bytes,
            weights,
            gradients: weights,
            optimizer: self.course.optimizer_buffers as f64 * weights,
            images: VALUE_BYTES * (3 * image_size * image_size) as f64 * self.images,
            activations: kept as f64 * self.images,
            workspace: (network.largest_values() * bytes) as f64 * self.images,
        }
    }
}

#[cfg(test)]
mod tests;
