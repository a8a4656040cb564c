//! `pdarts bench machine`: what this machine can do at most, to hold the figures of operations against.

use std::time::Instant;

use clap::Args;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::cli::numbers::threads;
use crate::cli::output;
use crate::plan::MachinePeaks;
use crate::torch::TorchError;
use crate::world::World;

/// Elements of each of three arrays: 192 MiB together, more than a cache holds.
const STREAM_ELEMENTS: i64 = 16 << 20;
const GEMM_SIZE: i64 = 1024;
const QUICK_REPEATS: u16 = 20;

#[derive(Debug, Args)]
pub struct MachineArguments {
    /// CPU threads; 0 = the cores that it may use.
    #[arg(long, default_value_t = 0, value_parser = threads())]
    threads: usize,
    /// Runs that are timed, after one that is not; the fastest counts.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Peaks of the machine in float32.
#[derive(Debug, Serialize)]
struct Figures {
    threads: usize,
    /// Bytes that `a = b + c` on long arrays moves in a second (two read, one written).
    stream_gb_s: f64,
    /// Operations (a multiply-add is two) of a product of matrices in a second.
    gemm_gflop_s: f64,
    /// Operations on a byte above which arithmetic bounds, below which memory does.
    balance_flop_per_byte: f64,
}

pub fn run(arguments: &MachineArguments) -> anyhow::Result<()> {
    let world = World::single(crate::config::DeviceChoice::Cpu, arguments.threads)?;
    let stream_gb_s = stream(arguments.repeats)?;
    let gemm_gflop_s = gemm(arguments.repeats)?;
    let balance = gemm_gflop_s / stream_gb_s;
    let figures = Figures { threads: world.threads, stream_gb_s, gemm_gflop_s, balance_flop_per_byte: balance };
    if arguments.json {
        output::print(serde_json::to_string(&figures)?)?;
    } else {
        output::print(format_args!(
            "{} threads, float32\n  \
             stream  {stream_gb_s:.1} GB/s\n  \
             GEMM    {gemm_gflop_s:.0} GFLOP/s\n  \
             memory bounds what does fewer than {balance:.1} operations on a byte",
            world.threads
        ))?;
    }
    Ok(())
}

/// Of all cores, without the cost of a long measurement.
pub fn machine_peaks() -> anyhow::Result<MachinePeaks> {
    let _world = World::single(crate::config::DeviceChoice::Cpu, 0)?;
    Ok(MachinePeaks { gemm_gflop_s: gemm(QUICK_REPEATS)?, stream_gb_s: stream(QUICK_REPEATS)? })
}

/// Bytes/s of memory, in 1e9.
pub(super) fn stream(repeats: u16) -> Result<f64, TorchError> {
    let options = (Kind::Float, Device::Cpu);
    let [b, c] = [(); 2].map(|()| Tensor::ones([STREAM_ELEMENTS], options));
    let a = Tensor::zeros([STREAM_ELEMENTS], options);
    let seconds = fastest(repeats, || {
        let _sum = b.f_add_out(&a, &c)?;
        Ok(())
    })?;
    Ok(3.0 * 4.0 * STREAM_ELEMENTS as f64 / seconds / 1e9)
}

/// Operations/s of arithmetic, in 1e9.
pub(super) fn gemm(repeats: u16) -> Result<f64, TorchError> {
    let options = (Kind::Float, Device::Cpu);
    let [a, b] = [(); 2].map(|()| Tensor::ones([GEMM_SIZE, GEMM_SIZE], options));
    let seconds = fastest(repeats, || {
        let _product = a.f_mm(&b)?;
        Ok(())
    })?;
    Ok(2.0 * (GEMM_SIZE as f64).powi(3) / seconds / 1e9)
}

fn fastest(repeats: u16, mut work: impl FnMut() -> Result<(), TorchError>) -> Result<f64, TorchError> {
    work()?;
    let mut fastest = f64::INFINITY;
    for _ in 0..repeats {
        let start = Instant::now();
        work()?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok(fastest)
}
