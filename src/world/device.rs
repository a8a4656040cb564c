//! Which device a rank computes on.

use std::path::Path;

use tch::{Cuda, Device};

use super::WorldError;
use crate::config::DeviceChoice;
use crate::torch;

const DRIVER: &str = "/proc/driver/nvidia/version";

/// The device of the rank with number `local_rank` on its node. On a GPU, this thread then has a stream of its own.
///
/// # Errors
/// When CUDA was asked for and is not usable, or there are fewer GPUs than ranks; never a silent run on the CPU.
pub(super) fn choose_device(choice: DeviceChoice, local_rank: usize) -> Result<Device, WorldError> {
    if choice == DeviceChoice::Cpu {
        return Ok(Device::Cpu);
    }
    match (usable_gpus(), choice) {
        (Ok(num_gpus), _) => {
            let gpu = gpu_of(local_rank, num_gpus)?;
            torch::use_own_stream(gpu).map_err(|error| WorldError::NoCuda(error.to_string()))?;
            Ok(Device::Cuda(gpu))
        }
        (Err(reason), DeviceChoice::Cuda) => Err(WorldError::NoCuda(reason)),
        (Err(reason), _) => {
            tracing::debug!("computing on the CPU: {reason}");
            Ok(Device::Cpu)
        }
    }
}

/// How many GPUs this process sees and can use, or why none.
///
/// # Errors
/// The reason, in words.
pub fn usable_gpus() -> Result<usize, String> {
    if !Path::new(DRIVER).exists() {
        return Err(format!("no NVIDIA driver is loaded (no {DRIVER})"));
    }
    torch::load_cuda().map_err(|error| format!("libtorch_cuda.so cannot be loaded ({error})"))?;
    let visible = usize::try_from(Cuda::device_count()).unwrap_or(0);
    if Cuda::is_available() && visible > 0 {
        return Ok(visible);
    }
    Err("libtorch finds no usable GPU (driver older than 580, or CUDA_VISIBLE_DEVICES names none)".into())
}

/// A rank that sees one GPU takes it: its launcher gives each rank its own. Otherwise they go by the rank on the node.
fn gpu_of(local_rank: usize, num_gpus: usize) -> Result<usize, WorldError> {
    match (local_rank, num_gpus) {
        (_, 1) => Ok(0),
        _ if local_rank < num_gpus => Ok(local_rank),
        _ => Err(WorldError::MoreRanksThanGpus { ranks: local_rank + 1, gpus: num_gpus }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_a_node_take_its_gpus_in_order() {
        for (local_rank, num_gpus, gpu) in [(0, 4, 0), (3, 4, 3), (0, 1, 0), (5, 1, 0)] {
            assert_eq!(gpu_of(local_rank, num_gpus).unwrap(), gpu);
        }
        let message = gpu_of(4, 4).unwrap_err().to_string();
        assert!(message.contains("5 ranks") && message.contains("4 GPUs"), "{message}");
    }

    #[test]
    fn asking_for_cuda_where_there_is_none_is_an_error_that_says_why() {
        if Path::new(DRIVER).exists() {
            println!("SKIPPED: this machine has an NVIDIA driver");
            return;
        }
        let error = choose_device(DeviceChoice::Cuda, 0).unwrap_err().to_string();
        assert!(error.contains("no NVIDIA driver"), "{error}");
        assert_eq!(choose_device(DeviceChoice::Auto, 0).unwrap(), Device::Cpu);
    }
}
