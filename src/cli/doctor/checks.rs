//! What one rank finds out about its machine, before it meets the others.

use std::collections::BTreeMap;
use std::{env, fs, thread};

use serde::{Deserialize, Serialize};
use tch::utils;

use super::{Check, driver};
use crate::run::COMMIT;
use crate::torch::{gpu_kernels_serve, has_gpu_kernels, libtorch_version, load_cuda};
use crate::world::{NcclLibrary, VisibleGpu, nccl_library, usable_gpus, visible_gpus};

/// Those that decide which ranks there are and what they see.
const SLURM_VARIABLES: [&str; 9] = [
    "SLURM_JOB_ID",
    "SLURM_JOB_NODELIST",
    "SLURM_NNODES",
    "SLURM_NTASKS",
    "SLURM_NTASKS_PER_NODE",
    "SLURM_CPUS_PER_TASK",
    "SLURM_GPUS_ON_NODE",
    "SLURM_MPI_TYPE",
    "SLURM_RESTART_COUNT",
];

/// A machine as one process sees it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Version and commit.
    pub pdarts: String,
    /// Version and CUDA, and whether its CUDA half loads.
    pub libtorch: Check,
    /// NVIDIA's, and whether it is new enough.
    pub driver: Check,
    /// Whether libtorch can use a GPU.
    pub cuda: Check,
    /// Whether this program's own GPU kernels are compiled in, and the GPU runs them.
    pub gpu_kernels: Check,
    /// By their numbers.
    pub gpus: Vec<VisibleGpu>,
    /// Version and file, and whether GPUs can use it.
    pub nccl: Check,
    /// Cores that this process may use.
    pub cores: usize,
    pub slurm: BTreeMap<String, String>,
}

impl Machine {
    pub fn examine() -> Self {
        let loaded = load_cuda().map_err(|error| error.to_string());
        let cuda_version = cuda_version(loaded.is_ok());
        let driver = check_driver(cuda_version.as_deref());
        // An old driver is the reason behind whatever else fails; with NVIDIA's compatibility package it may yet do.
        let gpus = usable_gpus().and_then(|_| visible_gpus());
        let gpus = gpus.map_err(|reason| if driver.works { reason } else { driver.text.clone() });
        let nccl = check_nccl(gpus.as_ref().map(Vec::len).map_err(String::as_str));
        Self {
            pdarts: format!("{} ({COMMIT})", env!("CARGO_PKG_VERSION")),
            libtorch: check_libtorch(loaded, cuda_version),
            cuda: Check::from_result(gpus.clone().map(|gpus| format!("libtorch can use {} GPU(s)", gpus.len()))),
            driver,
            gpu_kernels: Check::from_result(check_gpu_kernels(gpus.is_ok())),
            gpus: gpus.unwrap_or_default(),
            nccl,
            cores: thread::available_parallelism().map_or(1, usize::from),
            slurm: SLURM_VARIABLES.iter().filter_map(|&name| Some((name.to_owned(), env::var(name).ok()?))).collect(),
        }
    }
}

fn check_gpu_kernels(has_gpu: bool) -> Result<String, String> {
    match (has_gpu_kernels(), has_gpu) {
        (false, _) => {
            Err("not compiled in (nvcc was not found): on a GPU, libtorch's operations take their place, which is \
                           several times slower; `make GPU=1 build` installs nvcc and compiles them"
                .into())
        }
        (true, false) => Ok("compiled in".into()),
        (true, true) if gpu_kernels_serve() => Ok("compiled in, and run on this GPU".into()),
        (true, true) => {
            Err("compiled in, but not for this GPU or for a newer driver: libtorch's operations take their place, \
                             which is several times slower"
                .into())
        }
    }
}

fn check_libtorch(loaded: Result<(), String>, cuda_version: Option<String>) -> Check {
    let built = cuda_version.map_or("no CUDA".to_owned(), |version| format!("CUDA {version}"));
    let name = format!("{} for {built}", libtorch_version());
    Check::from_result(match loaded {
        Ok(()) => Ok(format!("{name}, libtorch_cuda.so loads")),
        Err(reason) => Err(format!("{name}, libtorch_cuda.so does not load ({reason})")),
    })
}

/// The CUDA that libtorch was built for; of one whose CUDA half does not load, only the major version is known.
fn cuda_version(cuda_is_loaded: bool) -> Option<String> {
    if cuda_is_loaded && utils::has_cudart() {
        // As in 13000 or 12080.
        let code = utils::version_cudart();
        return Some(format!("{}.{}", code / 1000, code % 1000 / 10));
    }
    runtime_major(&fs::read_to_string("/proc/self/maps").unwrap_or_default())
}

/// The number in the name of CUDA's runtime, which libtorch's CPU half loads too, among the mapped files.
fn runtime_major(maps: &str) -> Option<String> {
    let name = maps.lines().find_map(|line| line.rsplit_once("/libcudart.so."))?.1;
    name.split('.').next().map(str::to_owned)
}

fn check_driver(cuda_version: Option<&str>) -> Check {
    let major = cuda_version.and_then(|version| version.split('.').next()?.parse().ok());
    let version = driver::version();
    Check::from_result(version.and_then(|version| {
        driver::check(&version, major.unwrap_or(0))?;
        Ok(version)
    }))
}

fn check_nccl(gpus: Result<usize, &str>) -> Check {
    let name = nccl_library().and_then(|(version, file)| {
        let double = if NcclLibrary::load()?.is_test_double { " (a test double on host memory)" } else { "" };
        Ok(format!("{version}{double} in {}", file.display()))
    });
    Check::from_result(match (name, gpus) {
        (Ok(name), Err(reason)) => Err(format!("{name}, without a GPU to use it: {reason}")),
        (name, _) => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_version_of_cuda_is_in_the_name_of_its_runtime() {
        let maps = "7f00-7f10 r-xp 0 08:01 1 /usr/lib/libc.so.6\n7f20-7f30 r-xp 0 08:01 2 /a b/libcudart.so.13\n";
        assert_eq!(runtime_major(maps).as_deref(), Some("13"));
        assert_eq!(runtime_major("7f20 r-xp /lib/libcudart.so.12.8.90\n").as_deref(), Some("12"));
        assert_eq!(runtime_major("7f20 r-xp /lib/libc.so.6\n"), None);
    }
}
