//! `pdarts bench pool`: the own 3x3 poolings against libtorch's, at the shapes of the search.

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
use crate::torch::{TorchError, avg_pool_3x3, gradients, max_pool_3x3};
use crate::world::World;

/// Channels and size of the states of the search.
const STATES: [(i64, i64); 3] = [(16, 32), (32, 16), (64, 8)];

#[derive(Debug, Args)]
pub struct PoolArguments {
    /// Images of a batch.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    global_batch: u16,
    /// CPU threads; 0 = the cores that it may use.
    #[arg(long, default_value_t = 1, value_parser = threads())]
    threads: usize,
    /// Runs that are timed, after one that is not; the fastest counts.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Print one JSON object a line for each shape.
    #[arg(long)]
    json: bool,
}

type Pool = fn(&Tensor, i64) -> Result<Tensor, TorchError>;

/// Ours and the same of libtorch.
const OPERATIONS: [(&str, Pool, Pool); 2] = [
    ("max_pool_3x3", max_pool_3x3, |x, stride| Ok(x.f_max_pool2d([3, 3], [stride; 2], [1, 1], [1, 1], false)?)),
    ("avg_pool_3x3", avg_pool_3x3, |x, stride| Ok(x.f_avg_pool2d([3, 3], [stride; 2], [1, 1], false, false, None)?)),
];

/// Seconds, ours and libtorch's.
#[derive(Debug, Serialize)]
struct Figures {
    operation: &'static str,
    stride: i64,
    channels: i64,
    size: i64,
    batch: i64,
    forward_s: f64,
    backward_s: f64,
    reference_forward_s: f64,
    reference_backward_s: f64,
    /// Bytes of the input and the output, which each pass reads and writes once.
    bytes: f64,
}

pub fn run(arguments: &PoolArguments) -> anyhow::Result<()> {
    World::single(DeviceChoice::Cpu, arguments.threads)?;
    let mut table = Table::new(&[
        &["", "", "", "", "forward", "", "", "backward", "", ""],
        &["operation", "stride", "channels", "size", "us", "GB/s", "ratio", "us", "GB/s", "ratio"],
    ]);
    for operation in OPERATIONS {
        for (stride, (channels, size)) in [1, 2].into_iter().flat_map(|stride| STATES.map(|state| (stride, state))) {
            let figures = measure(operation, arguments, stride, channels, size)
                .with_context(|| format!("{}, stride {stride}, {channels} channels, size {size}", operation.0))?;
            if arguments.json {
                output::print(serde_json::to_string(&figures)?)?;
            }
            table.row(figures.cells());
        }
    }
    if !arguments.json {
        let stream = machine::stream(Device::Cpu, arguments.repeats)?;
        output::print(format_args!(
            "{table}ratio: how many times as long libtorch takes; arrays too long for a cache stream {stream:.1} GB/s"
        ))?;
    }
    Ok(())
}

fn measure(
    (operation, ours, theirs): (&'static str, Pool, Pool),
    arguments: &PoolArguments,
    stride: i64,
    channels: i64,
    size: i64,
) -> Result<Figures, TorchError> {
    let batch = i64::from(arguments.global_batch);
    let x = Tensor::randn([batch, size, size, channels], (Kind::Float, Device::Cpu)).permute([0, 3, 1, 2]);
    let x = x.set_requires_grad(true);
    let [forward_s, backward_s] = fastest(arguments.repeats, &x, || ours(&x, stride))?;
    let [reference_forward_s, reference_backward_s] = fastest(arguments.repeats, &x, || theirs(&x, stride))?;
    let out_size = (size - 1) / stride + 1;
    let bytes = (4 * batch * channels * (size * size + out_size * out_size)) as f64;
    Ok(Figures {
        operation,
        stride,
        channels,
        size,
        batch,
        forward_s,
        backward_s,
        reference_forward_s,
        reference_backward_s,
        bytes,
    })
}

/// Seconds of the fastest forward pass and of the fastest backward pass.
fn fastest(
    repeats: u16,
    x: &Tensor,
    operation: impl Fn() -> Result<Tensor, TorchError>,
) -> Result<[f64; 2], TorchError> {
    let y_gradient = operation()?.detach().randn_like();
    let mut fastest = [f64::INFINITY; 2];
    for _ in 0..repeats {
        let start = Instant::now();
        let y = operation()?;
        fastest[0] = fastest[0].min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let _gradient = gradients(&y, &y_gradient, &[x])?;
        fastest[1] = fastest[1].min(start.elapsed().as_secs_f64());
    }
    Ok(fastest)
}

impl Figures {
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.operation.to_owned()];
        cells.extend([self.stride, self.channels, self.size].map(|number| number.to_string()));
        for (ours, theirs) in [(self.forward_s, self.reference_forward_s), (self.backward_s, self.reference_backward_s)]
        {
            let columns = [(1e6 * ours, 0), (self.bytes / ours / 1e9, 1), (theirs / ours, 1)];
            cells.extend(columns.map(|(value, digits)| format!("{value:.digits$}")));
        }
        cells
    }
}
