//! How commands begin that compute: the ranks meet on their devices, and rank 0 of a run notes what they are.

use super::logging::Logging;
use super::numerics::check_before_run;
use super::ranks::agree;
use crate::config::{DeviceChoice, ParallelSection, RunSection};
use crate::run::{Environment, RunDirectory};
use crate::torch::{Kernels, chosen_kernels, gpu_kernels_serve, libtorch_version};
use crate::world::{CommunicatorOptions, DeviceName, Label, Ranks, World};

/// `ranks` with a device, threads and communicators each, as the configuration of a run has it; GPUs that compute wrongly are
/// refused. All ranks call this together.
///
/// # Errors
/// The first rank that cannot have them, and its reason.
pub fn open_world(ranks: &Ranks, run: &RunSection, parallel: &ParallelSection) -> anyhow::Result<World> {
    let world = meet(ranks, run.device, run.threads, parallel)?;
    check_before_run(run, &world)?;
    Ok(world)
}

/// `ranks` with a device, so many threads (0: their share of the cores) and communicators each. All call this together.
///
/// # Errors
/// The first rank that cannot have them, and its reason.
pub fn meet(
    ranks: &Ranks,
    device: DeviceChoice,
    threads: usize,
    communicator: impl Into<CommunicatorOptions>,
) -> anyhow::Result<World> {
    let device = agree(ranks, ranks.choose_device(device).map_err(Into::into))?;
    let world = World::new(ranks.clone(), device, threads, communicator);
    let world = agree(ranks, world.map_err(Into::into))?;
    tell_of_missing_kernels(&world)?;
    Ok(world)
}

/// Says where the GPU of some rank is left to libtorch's operations. All ranks call this together.
///
/// # Errors
/// When the ranks cannot be reached.
fn tell_of_missing_kernels(world: &World) -> anyhow::Result<()> {
    let is_slow = world.device.is_cuda() && chosen_kernels() == Kernels::Fused && !gpu_kernels_serve();
    if world.gather(&is_slow, Label::new("exchange of devices"))?.contains(&true) && world.is_root() {
        tracing::warn!(
            "this program has no kernels that the GPU of some rank runs, which takes several times longer; `pdarts doctor` says why"
        );
    }
    Ok(())
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
