//! `pdarts bench allreduce`: how fast ranks sum tensors, with the columns of NVIDIA's nccl-tests.
//!
//! `algbw` is the tensor's bytes by the time. `busbw` is `algbw * 2 (n - 1) / n` on `n` ranks: what each rank must send and
//! receive at least, so it can be compared with the wire's bandwidth whatever the number of ranks.

use std::str::FromStr;
use std::time::Instant;

use anyhow::{anyhow, bail};
use clap::Args;
use serde::Serialize;
use tch::{Kind, Tensor};

use super::supernet::median;
use crate::cli::error::UsageError;
use crate::cli::output;
use crate::cli::ranks::{agree, join};
use crate::cli::table::Table;
use crate::config::{CommunicatorChoice, DeviceChoice};
use crate::torch::synchronise;
use crate::world::{CommunicatorError, Label, Pending, ReduceOp, World};

/// Beyond any memory of a rank.
const MAX_BYTES: usize = 1 << 40;
const ELEMENT_BYTES: usize = 4;
const NUM_WARM_UPS: usize = 3;
const LABEL: Label = Label::new("benchmark's all-reduce");

#[derive(Debug, Args)]
pub struct AllReduceArguments {
    /// Bytes of the tensors, separated by commas, as in 1KiB,25MiB
    #[arg(long, value_delimiter = ',', default_value = "1KiB,4KiB,16KiB,64KiB,256KiB,1MiB,4MiB,16MiB,64MiB,256MiB")]
    sizes: Vec<Size>,
    /// All-reduces of each size that are timed, after four that are not; the median counts
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,
    /// Time MPI's own all-reduce, without waiting for the other ranks first as the program does to stay responsive
    #[arg(long)]
    raw: bool,
    /// Where the tensors are: auto, cpu or cuda
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// What carries sums between ranks: auto, mpi or nccl
    #[arg(long, default_value = "auto")]
    communicator: CommunicatorChoice,
    /// Print one JSON object a line for each size
    #[arg(long)]
    json: bool,
}

/// A number of bytes as users write it: `4096`, `4KiB`, `25MiB`, `1GiB`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Size(usize);

#[derive(Debug, Serialize)]
struct Figures {
    bytes: usize,
    /// Of one all-reduce on rank 0.
    seconds: f64,
    /// 1e9 bytes a second.
    algbw_gbps: f64,
    busbw_gbps: f64,
}

pub fn run(arguments: &AllReduceArguments) -> anyhow::Result<()> {
    let ranks = join()?;
    let device = agree(&ranks, ranks.choose_device(arguments.device).map_err(Into::into))?;
    let world = World::new(ranks.clone(), device, 0, arguments.communicator);
    let world = agree(&ranks, world.map_err(Into::into))?;
    check(arguments, &world)?;
    let mut all = Vec::new();
    for &size in &arguments.sizes {
        let figures = measure(arguments, &world, size)?;
        if arguments.json && world.is_root() {
            output::print(serde_json::to_string(&figures)?)?;
        }
        all.push(figures);
    }
    if !arguments.json && world.is_root() {
        output::print(table(&world, &all))?;
    }
    Ok(())
}

fn check(arguments: &AllReduceArguments, world: &World) -> anyhow::Result<()> {
    let name = world.communicator().name();
    if world.size == 1 {
        let message = "there is nothing to sum on a single rank: start it as `mpirun -n 2 pdarts bench allreduce`";
        return Err(UsageError::new(anyhow!(message)).into());
    }
    if arguments.raw && name != "mpi" {
        return agree(world, Err(UsageError::new(anyhow!("--raw is MPI's own call, the ranks use {name}")).into()));
    }
    Ok(())
}

fn measure(arguments: &AllReduceArguments, world: &World, size: Size) -> anyhow::Result<Figures> {
    let elements = size.0.div_ceil(ELEMENT_BYTES).max(1);
    let tensor = Tensor::f_full([elements as i64], (world.rank + 1) as f64, (Kind::Float, world.device))?;
    all_reduce(arguments, world, &tensor)?;
    let expected = (world.size * (world.size + 1) / 2) as f64;
    let num_wrong = tensor.f_ne(expected)?.f_sum(Kind::Int64)?.f_int64_value(&[])?;
    if num_wrong > 0 {
        bail!("{num_wrong} of {elements} sums are wrong");
    }
    // Sums of zeros stay what they are.
    let _ = tensor.shallow_clone().f_zero_()?;
    let mut seconds = Vec::new();
    for repeat in 0..NUM_WARM_UPS + usize::from(arguments.repeats) {
        let start = Instant::now();
        all_reduce(arguments, world, &tensor)?;
        if repeat >= NUM_WARM_UPS {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    Ok(Figures::new(elements * ELEMENT_BYTES, median(&mut seconds), world.size))
}

/// Sums and waits for the result.
fn all_reduce(arguments: &AllReduceArguments, world: &World, tensor: &Tensor) -> Result<(), CommunicatorError> {
    match world.mpi().filter(|_| arguments.raw) {
        Some(mpi) => mpi.all_reduce_raw(tensor, ReduceOp::Sum, LABEL).wait()?,
        None => world.communicator().all_reduce(tensor, ReduceOp::Sum, LABEL).and_then(Pending::wait)?,
    }
    synchronise(world.device);
    Ok(())
}

impl Figures {
    fn new(bytes: usize, seconds: f64, num_ranks: usize) -> Self {
        let algbw_gbps = bytes as f64 / seconds / 1e9;
        let busbw_gbps = algbw_gbps * 2.0 * (num_ranks - 1) as f64 / num_ranks as f64;
        Self { bytes, seconds, algbw_gbps, busbw_gbps }
    }
}

fn table(world: &World, all: &[Figures]) -> String {
    let mut table = Table::new(&[&["bytes", "us", "algbw GB/s", "busbw GB/s"]]);
    for Figures { bytes, seconds, algbw_gbps, busbw_gbps } in all {
        table.row([
            bytes.to_string(),
            format!("{:.1}", seconds * 1e6),
            format!("{algbw_gbps:.3}"),
            format!("{busbw_gbps:.3}"),
        ]);
    }
    format!("sums of float32 by {} ({world})\n{table}", world.communicator().name())
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
        let parsed = units.into_iter().find_map(|(unit, bytes)| {
            let number: usize = text.strip_suffix(unit)?.trim().parse().ok()?;
            number.checked_mul(bytes).filter(|bytes| (1..=MAX_BYTES).contains(bytes))
        });
        parsed.map(Self).ok_or_else(|| "state bytes, as 4096, 64KiB or 25MiB, at most 1024GiB".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [("4096", 4096), ("1KiB", 1024), ("25 MiB", 25 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "0", "-1", "1MB", "KiB", "1.5MiB", "99999999999999999999", "9999999999999999GiB", "1025GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn bandwidths_are_those_of_nccl_tests() {
        let Figures { algbw_gbps, busbw_gbps, .. } = Figures::new(2_000_000_000, 0.5, 4);
        assert_eq!((algbw_gbps, busbw_gbps), (4.0, 6.0));
    }
}
