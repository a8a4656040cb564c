//! That every rank has a GPU of its own, whatever number it goes by there.
//!
//! With a launcher that shows each rank one GPU, all of them are number 0, and only their identities tell whether two
//! ranks share one, which NCCL does not support.

use cudarc::driver::{result, sys};
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::world::WorldError;

/// Set by tests on machines with one GPU, where each rank also needs a `NCCL_HOSTID` of its own.
const SHARE_GPUS: &str = "PDARTS_RANKS_SHARE_GPUS";

/// A GPU by what does not depend on who sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gpu {
    /// The driver's.
    uuid: [u8; 16],
    /// As in `NVIDIA H100 80GB HBM3`.
    model: String,
}

impl Gpu {
    /// The GPU of a rank on `device`; none on the CPU.
    ///
    /// # Errors
    /// The driver's reason, in words.
    pub fn of(device: Device) -> Result<Option<Self>, String> {
        let Device::Cuda(index) = device else { return Ok(None) };
        require_driver()?;
        let ask = || {
            result::init()?;
            let device = result::device::get(i32::try_from(index).unwrap_or(i32::MAX))?;
            Ok((result::device::get_uuid(device)?, result::device::get_name(device)?))
        };
        let (uuid, model) = ask().map_err(|error: result::DriverError| format!("the NVIDIA driver: {error}"))?;
        Ok(Some(Self { uuid: uuid.bytes.map(|byte| byte as u8), model }))
    }
}

/// A GPU that this process may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisibleGpu {
    /// As in `NVIDIA H100 80GB HBM3`.
    pub model: String,
    /// All of its memory.
    pub memory_mib: usize,
}

/// The GPUs that this process may use, in the order of their numbers.
///
/// # Errors
/// The driver's reason, in words.
pub fn visible_gpus() -> Result<Vec<VisibleGpu>, String> {
    require_driver()?;
    let describe = |index| {
        let device = result::device::get(index)?;
        // SAFETY: a device of the driver, which is initialised.
        let memory_mib = unsafe { result::device::total_mem(device) }? >> 20;
        Ok(VisibleGpu { model: result::device::get_name(device)?, memory_mib })
    };
    let all = || -> Result<Vec<VisibleGpu>, result::DriverError> {
        result::init()?;
        (0..result::device::get_count()?).map(describe).collect()
    };
    all().map_err(|error| format!("the NVIDIA driver: {error}"))
}

fn require_driver() -> Result<(), String> {
    // cudarc ends the process where the library is missing, so it is asked first.
    // SAFETY: loads the driver's library, whose constructors have no preconditions.
    match unsafe { sys::is_culib_present() } {
        true => Ok(()),
        false => Err("the NVIDIA driver's libcuda.so is not found".into()),
    }
}

/// Whether the GPUs of all ranks, with their nodes, can work together; warns of ones that may hold the others up.
///
/// # Errors
/// [`WorldError::SharedGpu`] for the first two ranks that share one.
pub(super) fn check(gpus: &[(String, Option<Gpu>)]) -> Result<(), WorldError> {
    if std::env::var_os(SHARE_GPUS).is_some() {
        tracing::warn!("{SHARE_GPUS} is set: ranks may share a GPU, which only serves to try them");
        return Ok(());
    }
    for (second, (hostname, gpu)) in gpus.iter().enumerate() {
        let Some(gpu) = gpu else { continue };
        let is_same = |other: &(String, Option<Gpu>)| other.1.as_ref().is_some_and(|other| other.uuid == gpu.uuid);
        if let Some(first) = gpus[..second].iter().position(is_same) {
            return Err(WorldError::SharedGpu { first, second, hostname: hostname.clone() });
        }
    }
    let Some((_, Some(first))) = gpus.first() else { return Ok(()) };
    let other = gpus.iter().enumerate().find_map(|(rank, (_, gpu))| {
        let gpu = gpu.as_ref().filter(|gpu| gpu.model != first.model)?;
        Some((rank, &gpu.model))
    });
    if let Some((rank, model)) = other {
        let first = &first.model;
        tracing::warn!("rank 0 computes on {first}, rank {rank} on {model}: each step takes as long as on the slowest");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(uuid: u8, model: &str) -> (String, Option<Gpu>) {
        (format!("node{}", uuid / 2), Some(Gpu { uuid: [uuid; 16], model: model.into() }))
    }

    #[test]
    fn ranks_on_one_gpu_are_named() {
        check(&[gpu(0, "H100"), gpu(1, "H100"), gpu(2, "A100")]).unwrap();
        check(&[("node0".into(), None), ("node0".into(), None)]).unwrap();
        let message = check(&[gpu(4, "H100"), gpu(7, "H100"), gpu(5, "H100"), gpu(7, "H100")]).unwrap_err().to_string();
        assert!(message.contains("ranks 1 and 3 on node3"), "{message}");
    }
}
