//! The ranks take their places and sum something: what the launch can do.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::Check;
use super::checks::Machine;
use crate::cli::error::one_line;
use crate::config::{CommunicatorChoice, DeviceChoice};
use crate::torch::synchronise;
use crate::world::{
    DeviceName, Label, Pending, Ranks, ReduceOp, ThreadBound, World, WorldError, hostname, launcher, linked_mpi,
    mpi_library,
};

/// 1 MiB of float32.
const NUM_ELEMENTS: i64 = 1 << 18;
/// All-reduces, of which the first are slower.
const NUM_REPEATS: usize = 5;

/// A rank among the others.
#[derive(Debug, Serialize, Deserialize)]
pub struct Launch {
    pub rank: usize,
    pub local_rank: usize,
    /// Ranks of this node.
    pub local_size: usize,
    pub hostname: String,
    /// None for a process that was started by a shell.
    pub launcher: Option<String>,
    pub device: String,
    /// CPU threads of this rank.
    pub threads: usize,
    /// What bounds their number.
    pub thread_bound: ThreadBound,
    /// Whether MPI connects the ranks.
    pub mpi: Check,
    /// A small sum over all ranks on each communicator; none on a single rank.
    pub sums: Vec<Sum>,
}

/// A small sum over all ranks.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sum {
    /// `mpi` or `nccl`.
    pub communicator: String,
    #[serde(flatten)]
    pub check: Check,
    /// Of the fastest; none when it failed.
    pub seconds: Option<f64>,
}

impl Launch {
    /// Uses what a run would use; where GPUs cannot be used together, notes why in `machine` and goes on with CPUs. All
    /// ranks call this together.
    ///
    /// # Errors
    /// When the ranks cannot work together at all.
    pub fn try_out(ranks: &Ranks, machine: &mut Machine) -> anyhow::Result<Self> {
        let world = join_world(ranks, machine)?;
        let mut sums = Vec::new();
        if ranks.size > 1 {
            sums.push(Sum::try_out(&world));
            if world.device != Device::Cpu {
                sums.push(Sum::try_out(&join_on(ranks, Device::Cpu)?));
            }
        }
        if let Some(failed) = sums.iter().find(|sum| sum.communicator == "nccl" && !sum.check.works) {
            machine.nccl = failed.check.clone();
        }
        Ok(Self {
            rank: ranks.rank,
            local_rank: ranks.local_rank,
            local_size: ranks.local_size,
            hostname: hostname(),
            launcher: launcher().map(str::to_owned),
            device: DeviceName(world.device).to_string(),
            threads: world.threads,
            thread_bound: world.thread_bound,
            mpi: check_mpi(),
            sums,
        })
    }
}

impl Sum {
    fn try_out(world: &World) -> Self {
        let name = world.communicator().name();
        let timed = time_all_reduce(world).map_err(|error| one_line(&error));
        let seconds = timed.as_ref().ok().copied();
        let text = timed.map(|seconds| format!("1 MiB of float32 by {name} in {:.3} ms", 1e3 * seconds));
        Self { communicator: name.to_owned(), check: Check::from_result(text), seconds }
    }
}

/// The world that a run would have; where GPUs cannot be used together, that of CPUs.
fn join_world(ranks: &Ranks, machine: &mut Machine) -> anyhow::Result<World> {
    let choice = if machine.cuda.works { DeviceChoice::Auto } else { DeviceChoice::Cpu };
    let device = ranks.choose_device(choice).map_err(|error| error.to_string());
    if let Err(reason) = &device {
        machine.cuda = Check { works: false, text: reason.clone() };
    }
    let devices = ranks.gather(&device.is_ok(), Label::new("exchange of devices"))?;
    if let (true, Ok(device)) = (devices.iter().all(|&is_known| is_known), device) {
        let world = join_on(ranks, device);
        let joined = ranks.gather(&world.is_ok(), Label::new("exchange of communicators"))?;
        match world {
            Ok(world) if joined.iter().all(|&has_joined| has_joined) => return Ok(world),
            Err(error) => machine.nccl = Check { works: false, text: error.to_string() },
            Ok(_) => machine.nccl = Check { works: false, text: "other ranks cannot join".into() },
        }
    } else if ranks.size > 1 && machine.nccl.works {
        machine.nccl = Check { works: false, text: "not every rank has a GPU".into() };
    }
    Ok(join_on(ranks, Device::Cpu)?)
}

fn join_on(ranks: &Ranks, device: Device) -> Result<World, WorldError> {
    World::new(ranks.clone(), device, 0, CommunicatorChoice::Auto)
}

fn check_mpi() -> Check {
    Check::from_result(mpi_library().ok_or_else(|| {
        format!(
            "{} is not in use, this process was started without it: start it with mpirun or srun --mpi=pmix",
            linked_mpi()
        )
    }))
}

/// The fastest of a few, in seconds.
fn time_all_reduce(world: &World) -> anyhow::Result<f64> {
    let mut fastest = f64::INFINITY;
    let expected = (world.size * (world.size + 1) / 2) as f64;
    for _ in 0..NUM_REPEATS {
        let tensor = Tensor::f_full([NUM_ELEMENTS], (world.rank + 1) as f64, (Kind::Float, world.device))?;
        synchronise(world.device);
        let start = Instant::now();
        let label = Label::new("doctor's all-reduce");
        world.communicator().all_reduce(&tensor, ReduceOp::Sum, label).and_then(Pending::wait)?;
        synchronise(world.device);
        fastest = start.elapsed().as_secs_f64().min(fastest);
        let num_wrong = tensor.f_ne(expected)?.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        anyhow::ensure!(num_wrong == 0, "{num_wrong} of {NUM_ELEMENTS} sums are wrong");
    }
    Ok(fastest)
}
