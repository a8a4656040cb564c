//! `pdarts bench depthwise`: the own depthwise operation against libtorch's, at the shapes of the search.

use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::torch::{DepthwiseGeometry, TorchError, gradients, relu_depthwise};

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
    /// CPU threads; 0 = all cores.
    #[arg(long, default_value_t = 1)]
    threads: i32,
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

/// Seconds, ours and libtorch's.
#[derive(Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    shape: Shape,
    forward_s: f64,
    input_gradient_s: f64,
    weight_gradient_s: f64,
    reference_forward_s: f64,
    reference_input_gradient_s: f64,
    reference_weight_gradient_s: f64,
}

pub fn run(arguments: &DepthwiseArguments) -> anyhow::Result<()> {
    if arguments.threads > 0 {
        tch::set_num_threads(arguments.threads);
    }
    if !arguments.json {
        println!("milliseconds and 1e9 operations/s, then how many times as long libtorch takes");
        println!("kernel stride dilation edges channels size       forward     input gradient    weight gradient");
    }
    for shape in shapes(i64::from(arguments.global_batch)) {
        let figures = shape.measure(arguments.repeats).with_context(|| format!("{shape:?}"))?;
        if arguments.json {
            println!("{}", serde_json::to_string(&figures)?);
        } else {
            println!("{}", figures.row());
        }
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
    fn measure(self, repeats: u16) -> Result<Figures, TorchError> {
        let options = (Kind::Float, Device::Cpu);
        let x = Tensor::randn([self.batch, self.size, self.size, self.channels], options).permute([0, 3, 1, 2]);
        let x = x.set_requires_grad(true);
        let weight = Tensor::randn([self.edges * self.channels, 1, self.kernel, self.kernel], options);
        let weight = weight.set_requires_grad(true);
        let geometry = DepthwiseGeometry { stride: self.stride, dilation: self.dilation };
        let [forward_s, input_gradient_s, weight_gradient_s] =
            fastest(repeats, &x, &weight, || relu_depthwise(&x, &weight, geometry))?;
        let [reference_forward_s, reference_input_gradient_s, reference_weight_gradient_s] =
            fastest(repeats, &x, &weight, || self.reference(&x, &weight))?;
        Ok(Figures {
            shape: self,
            forward_s,
            input_gradient_s,
            weight_gradient_s,
            reference_forward_s,
            reference_input_gradient_s,
            reference_weight_gradient_s,
        })
    }

    /// The same in libtorch's operations.
    fn reference(self, x: &Tensor, weight: &Tensor) -> Result<Tensor, TorchError> {
        let relu = x.f_relu()?;
        let repeated = Tensor::f_cat(&vec![&relu; self.edges as usize], 1)?;
        let padding = self.dilation * (self.kernel - 1) / 2;
        let (stride, padding, dilation) = ([self.stride; 2], [padding; 2], [self.dilation; 2]);
        Ok(repeated.f_conv2d(weight, None::<&Tensor>, stride, padding, dilation, self.edges * self.channels)?)
    }

    fn operations(self) -> f64 {
        let out_size = (self.size - 1) / self.stride + 1;
        (2 * self.batch * self.edges * self.channels * (out_size * self.kernel).pow(2)) as f64
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
    fn row(&self) -> String {
        let Shape { kernel, stride, dilation, edges, channels, size, .. } = self.shape;
        let passes = [
            (self.forward_s, self.reference_forward_s),
            (self.input_gradient_s, self.reference_input_gradient_s),
            (self.weight_gradient_s, self.reference_weight_gradient_s),
        ];
        let columns = passes.map(|(ours, theirs)| {
            format!("{:7.3} {:4.0} {:5.1}", ours * 1e3, self.shape.operations() / ours / 1e9, theirs / ours)
        });
        let columns = columns.join("  ");
        format!("{kernel:6} {stride:6} {dilation:8} {edges:5} {channels:8} {size:4}  {columns}")
    }
}
