//! What every run does at its start: the ranks meet on their devices, and rank 0 notes what they are.

use super::logging::Logging;
use super::numerics::check_before_run;
use super::ranks::agree;
use crate::config::{ParallelSection, RunSection};
use crate::run::{Environment, RunDirectory};
use crate::torch::{Kernels, chosen_kernels, gpu_kernels_serve, libtorch_version};
use crate::world::{DeviceName, Label, Ranks, World};

/// `ranks` with a device, threads and communicators each, as the configuration has it; GPUs that compute wrongly are refused.
/// All ranks call this together.
///
/// # Errors
/// The first rank that cannot have them, and its reason.
pub fn open_world(ranks: &Ranks, run: &RunSection, parallel: &ParallelSection) -> anyhow::Result<World> {
    let device = agree(ranks, ranks.choose_device(run.device).map_err(Into::into))?;
    let world = World::new(ranks.clone(), device, run.threads, parallel);
    let world = agree(ranks, world.map_err(Into::into))?;
    let is_slow = world.device.is_cuda() && chosen_kernels() == Kernels::Fused && !gpu_kernels_serve();
    if world.gather(&is_slow, Label::new("exchange of devices"))?.contains(&true) && world.is_root() {
        tracing::warn!(
            "this program has no kernels that the GPU of some rank runs: steps take several times longer; `pdarts doctor` says why"
        );
    }
    check_before_run(run, &world)?;
    Ok(world)
}

/// From now on `run` has the log of this process, and a line about what this start of it runs on.
///
/// # Errors
/// When they cannot be written.
pub fn record_start(run: &RunDirectory, world: &World, logging: &Logging) -> anyhow::Result<()> {
    logging.record_to(&run.log_path())?;
    let (kernels, device) = (chosen_kernels().to_string(), DeviceName(world.device).to_string());
    let environment = Environment::capture(libtorch_version(), &kernels, &device, world.threads, world.size);
    Ok(run.record_environment(&environment)?)
}
