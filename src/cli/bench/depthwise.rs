//! `pdarts bench depthwise`: the own depthwise operation against libtorch's and against what the machine can do at most, at
//! the shapes of the search.

use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use super::machine;
use crate::cli::numbers::threads;
use crate::cli::output;
use crate::cli::table::Table;
use crate::config::DeviceChoice;
use crate::torch::{DepthwiseGeometry, TorchError, gradients, relu_depthwise};
use crate::world::World;

const EDGES: i64 = 4;
/// Channels and size of the states between the reductions of the search.
const STATES: [(i64, i64); 3] = [(16, 32), (32, 16), (64, 8)];
/// Channels and size of the inputs that reduction cells halve.
const REDUCED_STATES: [(i64, i64); 2] = [(32, 32), (64, 16)];
/// Kernels and dilations of the operations.
const KERNELS: [(i64, i64); 5] = [(3, 1), (5, 1), (7, 1), (3, 2), (5, 2)];

#[derive(Debug, Args)]
pub struct DepthwiseArguments {
    /// Images of a batch.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    global_batch: u16,
    /// CPU threads; 0 = the cores that it may use.
    #[arg(long, default_value_t = 1, value_parser = threads())]
    threads: usize,
    /// Runs that are timed, after one that is not; the fastest counts.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Print one JSON object a line for each shape.
    #[arg(long)]
    json: bool,
}

/// One call of the operation.
#[derive(Copy, Clone, Debug, Serialize)]
struct Shape {
    kernel: i64,
    stride: i64,
    dilation: i64,
    edges: i64,
    channels: i64,
    size: i64,
    batch: i64,
}

/// Forward pass, gradient of the input, gradient of the weights.
const PASSES: [&str; 3] = ["forward", "input gradient", "weight gradient"];

/// What memory and arithmetic give at most, in 1e9 bytes and operations a second.
#[derive(Copy, Clone, Debug)]
struct Peaks {
    stream_gb_s: f64,
    gemm_gflop_s: f64,
}

/// What bounds a pass: the slower of memory and arithmetic.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Bound {
    Memory,
    Arithmetic,
}

/// One pass of one shape.
#[derive(Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    shape: Shape,
    pass: &'static str,
    seconds: f64,
    /// libtorch's.
    reference_seconds: f64,
    bound: Bound,
    /// The time that the bound allows over the time taken; what lies in a cache may exceed 1.
    share_of_bound: f64,
}

pub fn run(arguments: &DepthwiseArguments) -> anyhow::Result<()> {
    World::single(DeviceChoice::Cpu, arguments.threads)?;
    let peaks = Peaks {
        stream_gb_s: machine::stream(Device::Cpu, arguments.repeats)?,
        gemm_gflop_s: machine::gemm(Device::Cpu, arguments.repeats)?,
    };
    let mut table = Table::new(&[
        &["", "", "", "", "", "", "forward", "", "", "input", "", "", "weight", "", ""],
        &["", "", "", "", "", "", "", "", "", "gradient", "", "", "gradient", "", ""],
        &["kernel", "stride", "dilation", "edges", "channels", "size", "ms", "x", "%", "ms", "x", "%", "ms", "x", "%"],
    ]);
    for shape in shapes(i64::from(arguments.global_batch)) {
        let passes = shape.measure(arguments.repeats, peaks).with_context(|| format!("{shape:?}"))?;
        if arguments.json {
            passes
                .iter()
                .try_for_each(|pass| -> anyhow::Result<()> { Ok(output::print(serde_json::to_string(pass)?)?) })?;
        } else {
            let Shape { kernel, stride, dilation, edges, channels, size, .. } = shape;
            let shape = [kernel, stride, dilation, edges, channels, size].map(|value| value.to_string());
            table.row(shape.into_iter().chain(passes.iter().flat_map(Figures::cells)));
        }
    }
    if !arguments.json {
        output::print(format_args!(
            "{table}x: how many times as long libtorch takes\n%: of what memory (m, {:.1} GB/s) or arithmetic (a, a GEMM \
             here: {:.0} GFLOP/s) allows; what lies in a cache may exceed it",
            peaks.stream_gb_s, peaks.gemm_gflop_s
        ))?;
    }
    Ok(())
}

/// First convolutions read a state for all edges; second ones read the channels of all edges.
fn shapes(batch: i64) -> impl Iterator<Item = Shape> {
    let first = |stride| {
        move |(channels, size): (i64, i64)| {
            KERNELS.map(move |(kernel, dilation)| Shape {
                kernel,
                stride,
                dilation,
                edges: EDGES,
                channels,
                size,
                batch,
            })
        }
    };
    let second = move |(channels, size): (i64, i64)| {
        [3, 5].map(|kernel| Shape { kernel, stride: 1, dilation: 1, edges: 1, channels: EDGES * channels, size, batch })
    };
    let first_ones = STATES.into_iter().flat_map(first(1)).chain(REDUCED_STATES.into_iter().flat_map(first(2)));
    first_ones.chain(STATES.into_iter().flat_map(second))
}

impl Shape {
    fn measure(self, repeats: u16, peaks: Peaks) -> Result<[Figures; 3], TorchError> {
        let options = (Kind::Float, Device::Cpu);
        let x = Tensor::randn([self.batch, self.size, self.size, self.channels], options).permute([0, 3, 1, 2]);
        let x = x.set_requires_grad(true);
        let weight = Tensor::randn([self.edges * self.channels, 1, self.kernel, self.kernel], options);
        let weight = weight.set_requires_grad(true);
        let geometry = DepthwiseGeometry { stride: self.stride, dilation: self.dilation };
        let ours = fastest(repeats, &x, &weight, || relu_depthwise(&x, &weight, geometry))?;
        let theirs = fastest(repeats, &x, &weight, || self.reference(&x, &weight))?;
        Ok(std::array::from_fn(|pass| self.figures(pass, ours[pass], theirs[pass], peaks)))
    }

    fn figures(self, pass: usize, seconds: f64, reference_seconds: f64, peaks: Peaks) -> Figures {
        let memory = self.bytes(pass) / peaks.stream_gb_s / 1e9;
        let arithmetic = self.operations() / peaks.gemm_gflop_s / 1e9;
        let bound = if memory > arithmetic { Bound::Memory } else { Bound::Arithmetic };
        let share_of_bound = memory.max(arithmetic) / seconds;
        Figures { shape: self, pass: PASSES[pass], seconds, reference_seconds, bound, share_of_bound }
    }

    /// The same in libtorch's operations.
    fn reference(self, x: &Tensor, weight: &Tensor) -> Result<Tensor, TorchError> {
        let relu = x.f_relu()?;
        let repeated = Tensor::f_cat(&vec![&relu; self.edges as usize], 1)?;
        let padding = self.dilation * (self.kernel - 1) / 2;
        let (stride, padding, dilation) = ([self.stride; 2], [padding; 2], [self.dilation; 2]);
        Ok(repeated.f_conv2d(weight, None::<&Tensor>, stride, padding, dilation, self.edges * self.channels)?)
    }

    fn out_size(self) -> i64 {
        (self.size - 1) / self.stride + 1
    }

    /// Of any pass.
    fn operations(self) -> f64 {
        (2 * self.batch * self.edges * self.channels * (self.out_size() * self.kernel).pow(2)) as f64
    }

    /// Read and written by a pass, each once: input, output and, for the gradient of the input, that.
    fn bytes(self, pass: usize) -> f64 {
        let input = self.batch * self.channels * self.size.pow(2);
        let output = self.batch * self.edges * self.channels * self.out_size().pow(2);
        let inputs = if pass == 1 { 2 } else { 1 };
        (4 * (inputs * input + output)) as f64
    }
}

/// Seconds of the fastest forward pass, input gradient and weight gradient of `operation`.
fn fastest(
    repeats: u16,
    x: &Tensor,
    weight: &Tensor,
    operation: impl Fn() -> Result<Tensor, TorchError>,
) -> Result<[f64; 3], TorchError> {
    let y_gradient = operation()?.detach().randn_like();
    let mut fastest = [f64::INFINITY; 3];
    for repeat in 0..=repeats {
        for (pass, fastest) in fastest.iter_mut().enumerate() {
            let start = Instant::now();
            let y = operation()?;
            let forward = start.elapsed();
            let start = Instant::now();
            let _gradient = match pass {
                0 => None,
                1 => Some(gradients(&y, &y_gradient, &[x])?),
                _ => Some(gradients(&y, &y_gradient, &[weight])?),
            };
            let seconds = if pass == 0 { forward } else { start.elapsed() }.as_secs_f64();
            if repeat > 0 {
                *fastest = fastest.min(seconds);
            }
        }
    }
    Ok(fastest)
}

impl Figures {
    fn cells(&self) -> [String; 3] {
        let bound = match self.bound {
            Bound::Memory => "m",
            Bound::Arithmetic => "a",
        };
        [
            format!("{:.3}", self.seconds * 1e3),
            format!("{:.1}", self.reference_seconds / self.seconds),
            format!("{:.0} {bound}", 100.0 * self.share_of_bound),
        ]
    }
}
