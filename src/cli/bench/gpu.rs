//! What a benchmark tells of its GPU.

use tch::Device;

use crate::torch::{TorchError, peak_gpu_bytes};
use crate::world::World;

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

/// Kernels and copies of the graphs that a step replayed, by how many were replayed before and after it; none where nothing is
/// recorded.
pub(super) fn launches(before: u64, after: u64) -> Option<u64> {
    Some(after.saturating_sub(before)).filter(|&launches| launches > 0)
}
