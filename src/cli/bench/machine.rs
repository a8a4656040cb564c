//! `pdarts bench machine`: what this machine or its GPU can do at most, to hold the figures of operations against.

use std::time::Instant;

use anyhow::anyhow;
use clap::Args;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::cli::numbers::threads;
use crate::cli::output;
use crate::config::DeviceChoice;
use crate::plan::MachinePeaks;
use crate::torch::{TorchError, synchronise};
use crate::world::{DeviceName, World, visible_gpus};

/// How much a run works on.
#[derive(Copy, Clone, Debug)]
struct Sizes {
    /// Elements of each of three arrays: more together than a cache holds.
    stream_elements: i64,
    gemm_size: i64,
    /// Calls that are timed together.
    calls: u16,
}

impl Sizes {
    const CPU: Self = Self { stream_elements: 16 << 20, gemm_size: 1024, calls: 1 };
    /// A call lasts a fraction of a millisecond, of which launching it and waiting for it must not be seen.
    const GPU: Self = Self { stream_elements: 64 << 20, gemm_size: 8192, calls: 10 };

    fn of(device: Device) -> Self {
        match device {
            Device::Cuda(_) => Self::GPU,
            _ => Self::CPU,
        }
    }
}

const QUICK_REPEATS: u16 = 20;

#[derive(Debug, Args)]
pub struct MachineArguments {
    /// CPU threads; 0 = the cores that it may use.
    #[arg(long, default_value_t = 0, value_parser = threads())]
    threads: usize,
    /// Runs that are timed, after one that is not; the fastest counts.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// What to measure: auto, cpu or cuda.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Peaks of the machine or its GPU in float32.
#[derive(Debug, Serialize)]
struct Figures {
    /// `cpu`, or as in `cuda:0, NVIDIA H200`.
    device: String,
    threads: usize,
    /// Bytes that `a = b + c` on long arrays moves in a second (two read, one written).
    stream_gb_s: f64,
    /// Operations (a multiply-add is two) of a product of matrices in a second.
    gemm_gflop_s: f64,
    /// Operations on a byte above which arithmetic bounds, below which memory does.
    balance_flop_per_byte: f64,
}

pub fn run(arguments: &MachineArguments) -> anyhow::Result<()> {
    let world = World::single(arguments.device, arguments.threads)?;
    let device = name_of(world.device)?;
    let stream_gb_s = stream(world.device, arguments.repeats)?;
    let gemm_gflop_s = gemm(world.device, arguments.repeats)?;
    let balance = gemm_gflop_s / stream_gb_s;
    let measured = match world.device {
        Device::Cuda(_) => device.clone(),
        _ => format!("{} threads", world.threads),
    };
    let figures = Figures { device, threads: world.threads, stream_gb_s, gemm_gflop_s, balance_flop_per_byte: balance };
    if arguments.json {
        output::print(serde_json::to_string(&figures)?)?;
    } else {
        output::print(format_args!(
            "{measured}, float32\n  \
             stream  {stream_gb_s:.1} GB/s\n  \
             GEMM    {gemm_gflop_s:.0} GFLOP/s\n  \
             memory bounds what does fewer than {balance:.1} operations on a byte"
        ))?;
    }
    Ok(())
}

/// Of all cores, without the cost of a long measurement.
pub fn machine_peaks() -> anyhow::Result<MachinePeaks> {
    let device = World::single(DeviceChoice::Cpu, 0)?.device;
    Ok(MachinePeaks { gemm_gflop_s: gemm(device, QUICK_REPEATS)?, stream_gb_s: stream(device, QUICK_REPEATS)? })
}

/// With its model, if it is a GPU.
fn name_of(device: Device) -> anyhow::Result<String> {
    let name = DeviceName(device).to_string();
    let Device::Cuda(index) = device else { return Ok(name) };
    let gpus = visible_gpus().map_err(|reason| anyhow!(reason))?;
    Ok(gpus.get(index).map_or_else(|| name.clone(), |gpu| format!("{name}, {}", gpu.model)))
}

/// Bytes/s of memory, in 1e9.
pub(super) fn stream(device: Device, repeats: u16) -> Result<f64, TorchError> {
    let elements = Sizes::of(device).stream_elements;
    let array = || Tensor::f_ones([elements], (Kind::Float, device));
    let (a, b, c) = (array()?, array()?, array()?);
    let seconds = fastest(device, repeats, || {
        let _sum = b.f_add_out(&a, &c)?;
        Ok(())
    })?;
    Ok(3.0 * 4.0 * elements as f64 / seconds / 1e9)
}

/// Operations/s of arithmetic, in 1e9.
pub(super) fn gemm(device: Device, repeats: u16) -> Result<f64, TorchError> {
    let size = Sizes::of(device).gemm_size;
    let matrix = || Tensor::f_ones([size, size], (Kind::Float, device));
    let (a, b) = (matrix()?, matrix()?);
    let seconds = fastest(device, repeats, || {
        let _product = a.f_mm(&b)?;
        Ok(())
    })?;
    Ok(2.0 * (size as f64).powi(3) / seconds / 1e9)
}

/// Seconds of a call of `work` in the fastest of `repeats` runs.
fn fastest(device: Device, repeats: u16, work: impl Fn() -> Result<(), TorchError>) -> Result<f64, TorchError> {
    let calls = Sizes::of(device).calls;
    let run = || -> Result<f64, TorchError> {
        let start = Instant::now();
        (0..calls).try_for_each(|_| work())?;
        synchronise(device);
        Ok(start.elapsed().as_secs_f64() / f64::from(calls))
    };
    // The first takes memory and lets libraries choose.
    run()?;
    (0..repeats).try_fold(f64::INFINITY, |fastest, _| Ok(fastest.min(run()?)))
}
