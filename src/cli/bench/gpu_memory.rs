//! How much memory of its GPU a benchmark took.

use crate::torch::{TorchError, peak_gpu_bytes};
use crate::world::World;
use tch::Device;

/// The most that tensors took at one time; none on CPUs.
///
/// # Errors
/// When libtorch does not tell.
pub(super) fn peak_gpu_mib(world: &World) -> Result<Option<f64>, TorchError> {
    match world.device {
        Device::Cuda(index) => Ok(Some(peak_gpu_bytes(index)? as f64 / f64::from(1 << 20))),
        _ => Ok(None),
    }
}

/// A line below the other figures, if there is one to tell.
pub(super) fn gpu_memory_line(peak_gpu_mib: Option<f64>) -> String {
    peak_gpu_mib.map_or_else(String::new, |peak| format!("\n  peak GPU memory    {peak:.0} MiB"))
}
