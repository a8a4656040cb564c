//! Before a run on a GPU: do its operations compute what they should?

use std::sync::OnceLock;
use std::time::Instant;

use super::ranks::agree;
use crate::config::RunSection;
use crate::numerics::{Extent, NumericsError, check, fault_is_planned, verdict};
use crate::torch::libtorch_version;
use crate::world::{DeviceName, World};

/// Refuses to start on a GPU that computes wrongly, unless `run.check_numerics` is off. The runs of one process (several seeds,
/// an experiment) share its device, which the first of them checks. All ranks call this together, each for its own device.
///
/// # Errors
/// The first operation that is wrong, or that cannot be computed.
pub fn check_before_run(run: &RunSection, world: &World) -> anyhow::Result<()> {
    if !world.device.is_cuda() && !fault_is_planned() {
        return Ok(());
    }
    if !run.check_numerics {
        if world.is_root() {
            tracing::warn!("the numbers of {} are not checked (run.check_numerics = false)", DeviceName(world.device));
        }
        return Ok(());
    }
    static RIGHT: OnceLock<()> = OnceLock::new();
    if RIGHT.get().is_some() {
        return Ok(());
    }
    let start = Instant::now();
    let rows = agree(world, check_device(world).map_err(Into::into))?;
    RIGHT.get_or_init(|| ());
    if world.is_root() {
        let (device, seconds) = (DeviceName(world.device), start.elapsed().as_secs_f64());
        tracing::info!(
            "numbers of {device} checked: {rows} computations agree with the CPU's (libtorch {}, {seconds:.1} s)",
            libtorch_version()
        );
    }
    Ok(())
}

/// Returns how many computations are right.
fn check_device(world: &World) -> Result<usize, NumericsError> {
    let rows = check(world.device, Extent::Quick)?;
    verdict(&rows, world.device)?;
    Ok(rows.len())
}
