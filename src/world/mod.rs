//! This process's place in a run: rank, device and threads.

use std::fmt;
use std::num::NonZeroUsize;

use tch::Device;

use crate::config::DeviceChoice;
use crate::torch;

/// One process of a run and what it computes on.
#[derive(Copy, Clone, Debug)]
pub struct World {
    /// From 0; rank 0 writes the run's files.
    pub rank: usize,
    /// Number of ranks, at least 1.
    pub size: usize,
    /// Where this rank's network lives.
    pub device: Device,
    /// CPU threads of this rank.
    pub threads: usize,
}

/// Why this process cannot take its place.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A GPU was asked for and cannot be used.
    #[error("run.device = \"cuda\", but {0}; use --set run.device=cpu to run on the CPU")]
    NoCuda(String),
}

impl World {
    /// A world of one rank with the chosen device; `threads` = 0 takes all cores. Sets libtorch's thread count.
    ///
    /// # Errors
    /// When CUDA was asked for and is not usable; never a silent run on the CPU.
    pub fn single(choice: DeviceChoice, threads: usize) -> Result<Self, WorldError> {
        let threads = if threads == 0 { available_cores() } else { threads };
        tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
        Ok(Self { rank: 0, size: 1, device: choose_device(choice)?, threads })
    }
}

impl fmt::Display for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = DeviceName(self.device);
        write!(formatter, "rank {} of {}, {device}, {} threads", self.rank, self.size, self.threads)
    }
}

/// A device by the name that users write: `cpu`, `cuda:0`.
#[derive(Copy, Clone, Debug)]
pub struct DeviceName(pub Device);

impl fmt::Display for DeviceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Device::Cpu => formatter.write_str("cpu"),
            Device::Cuda(index) => write!(formatter, "cuda:{index}"),
            other => write!(formatter, "{other:?}"),
        }
    }
}

fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn choose_device(choice: DeviceChoice) -> Result<Device, WorldError> {
    if choice == DeviceChoice::Cpu {
        return Ok(Device::Cpu);
    }
    match (usable_cuda(), choice) {
        (Ok(()), _) => Ok(Device::Cuda(0)),
        (Err(reason), DeviceChoice::Cuda) => Err(WorldError::NoCuda(reason)),
        (Err(reason), _) => {
            tracing::debug!("computing on the CPU: {reason}");
            Ok(Device::Cpu)
        }
    }
}

/// Whether CUDA works here, or why not.
fn usable_cuda() -> Result<(), String> {
    if !std::path::Path::new("/proc/driver/nvidia/version").exists() {
        return Err("no NVIDIA driver is loaded (no /proc/driver/nvidia/version)".into());
    }
    torch::load_cuda().map_err(|error| format!("libtorch_cuda.so cannot be loaded ({error})"))?;
    if tch::Cuda::is_available() { Ok(()) } else { Err("libtorch finds no usable GPU (is the driver too old?)".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_for_cuda_where_there_is_none_is_an_error_that_says_why() {
        if std::path::Path::new("/proc/driver/nvidia/version").exists() {
            println!("SKIPPED: this machine has an NVIDIA driver");
            return;
        }
        let error = World::single(DeviceChoice::Cuda, 1).unwrap_err().to_string();
        assert!(error.contains("no NVIDIA driver"), "{error}");
        assert_eq!(World::single(DeviceChoice::Auto, 1).unwrap().device, Device::Cpu);
    }
}
