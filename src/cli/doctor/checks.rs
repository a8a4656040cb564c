//! What one rank can find out about its machine and its launch.

use std::env;
use std::fs;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::config::{CommunicatorChoice, DeviceChoice, ParallelConfig};
use crate::run::COMMIT;
use crate::torch::libtorch_version;
use crate::world::{Label, Ranks, ReduceOp, World, WorldError, describe_mpi, hostname, nccl_library, usable_gpus};

/// The oldest NVIDIA driver that libtorch's CUDA 13 runs on.
const OLDEST_DRIVER: u32 = 580;
const DRIVER: &str = "/proc/driver/nvidia/version";
const ALL_REDUCE_KIB: usize = 256;
const NUM_REPEATS: usize = 5;

/// SLURM's variables that decide where ranks go.
const SLURM_VARIABLES: [&str; 6] = [
    "SLURM_JOB_ID",
    "SLURM_JOB_NODELIST",
    "SLURM_NTASKS",
    "SLURM_NTASKS_PER_NODE",
    "SLURM_CPUS_PER_TASK",
    "SLURM_GPUS_PER_NODE",
];
const LAUNCHERS: [(&str, &str); 4] = [
    ("OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun, or srun through PMIx"),
    ("PMIX_RANK", "PMIx (srun --mpi=pmix)"),
    ("PMI_RANK", "PMI (MPICH, Intel MPI or srun --mpi=pmi2)"),
    ("MPI_LOCALNRANKS", "MPICH's mpiexec"),
];

/// Of one rank.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RankFindings {
    pub rank: usize,
    pub hostname: String,
    pub local_rank: usize,
    pub local_size: usize,
    /// Cores that it may use.
    pub cores: usize,
    /// CPU threads that it would compute with.
    pub threads: usize,
    /// GPUs that it sees and libtorch can use, or why there is none.
    pub gpus: Result<usize, String>,
    /// Version and file of NCCL's library, or why it cannot be loaded.
    pub nccl: Result<String, String>,
}

/// Of all ranks.
#[derive(Debug, Serialize)]
pub struct Findings {
    pub program: String,
    pub libtorch: String,
    pub driver: String,
    pub mpi: String,
    pub launcher: String,
    pub slurm: Vec<String>,
    pub all_reduce: Option<AllReduce>,
    pub ranks: Vec<RankFindings>,
}

/// A small sum over all ranks.
#[derive(Debug, Serialize)]
pub struct AllReduce {
    pub communicator: &'static str,
    pub kib: usize,
    /// Of the fastest.
    pub milliseconds: f64,
}

impl RankFindings {
    /// All ranks call this together.
    ///
    /// # Errors
    /// When the ranks cannot be reached.
    pub fn of(ranks: &Ranks) -> Result<Self, WorldError> {
        let world = World::new(ranks.clone(), Device::Cpu, 0, &ParallelConfig::default())?;
        Ok(Self {
            rank: ranks.rank,
            hostname: hostname(),
            local_rank: ranks.local_rank,
            local_size: ranks.local_size,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads: world.threads,
            gpus: usable_gpus(),
            nccl: nccl_library().map(|(version, file)| format!("{version}, {}", file.display())),
        })
    }
}

impl Findings {
    /// All ranks call this together.
    ///
    /// # Errors
    /// When the small sum over all ranks fails.
    pub fn of(ranks: &Ranks, all: Vec<RankFindings>) -> Result<Self, WorldError> {
        Ok(Self {
            program: format!("{} ({COMMIT})", env!("CARGO_PKG_VERSION")),
            libtorch: format!("{}, built for CUDA 13", libtorch_version()),
            driver: describe_driver(fs::read_to_string(DRIVER).ok().as_deref()),
            mpi: describe_mpi(),
            launcher: launcher(|name| env::var_os(name).is_some()).to_owned(),
            slurm: SLURM_VARIABLES.iter().filter_map(|name| Some(format!("{name}={}", env::var(name).ok()?))).collect(),
            all_reduce: all_reduce(ranks, &all)?,
            ranks: all,
        })
    }
}

/// Times a sum on the communicator that a run would use.
fn all_reduce(ranks: &Ranks, all: &[RankFindings]) -> Result<Option<AllReduce>, WorldError> {
    if ranks.mpi().is_none() {
        return Ok(None);
    }
    let has_gpus = all.iter().all(|rank| rank.gpus.is_ok() && rank.nccl.is_ok());
    let choice = if has_gpus { DeviceChoice::Auto } else { DeviceChoice::Cpu };
    let device = ranks.choose_device(choice)?;
    let parallel = ParallelConfig { communicator: CommunicatorChoice::Auto, ..ParallelConfig::default() };
    let world = World::new(ranks.clone(), device, 0, &parallel)?;
    let elements = (ALL_REDUCE_KIB * 1024 / Kind::Float.elt_size_in_bytes()) as i64;
    let tensor = Tensor::f_ones([elements], (Kind::Float, device)).map_err(crate::world::CommunicatorError::from)?;
    let mut fastest = f64::INFINITY;
    for _ in 0..NUM_REPEATS {
        let start = Instant::now();
        let label = Label::new("small all-reduce");
        world.communicator().all_reduce(&tensor, ReduceOp::Average, label)?.wait()?;
        // Reading a value waits for the device.
        let _value = tensor.f_double_value(&[0]).map_err(crate::world::CommunicatorError::from)?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    let communicator = world.communicator().name();
    Ok(Some(AllReduce { communicator, kib: ALL_REDUCE_KIB, milliseconds: 1e3 * fastest }))
}

fn launcher(is_set: impl Fn(&str) -> bool) -> &'static str {
    LAUNCHERS.iter().find(|(variable, _)| is_set(variable)).map_or("none: a process on its own", |(_, name)| name)
}

/// The driver's version and whether it is new enough; `text` is what the driver says of itself.
fn describe_driver(text: Option<&str>) -> String {
    let Some(text) = text else { return format!("none (no {DRIVER})") };
    let version = text.split_whitespace().find(|word| word.contains('.') && word.starts_with(|c: char| c.is_numeric()));
    let Some(version) = version else { return "of unknown version".to_owned() };
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0);
    if major >= OLDEST_DRIVER {
        return format!("NVIDIA {version}");
    }
    format!(
        "NVIDIA {version}, too old: CUDA 13 needs {OLDEST_DRIVER}; update it, or build with LIBTORCH=DIR on a libtorch of \
         an older CUDA"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_is_judged_by_its_version() {
        let text = |version: &str| format!("NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Release Build");
        assert_eq!(describe_driver(Some(&text("580.65.06"))), "NVIDIA 580.65.06");
        let old = describe_driver(Some(&text("535.183.01")));
        assert!(old.starts_with("NVIDIA 535.183.01, too old") && old.contains("LIBTORCH"), "{old}");
        assert!(describe_driver(None).starts_with("none"));
    }

    #[test]
    fn launchers_are_named_by_their_variables() {
        assert_eq!(launcher(|name| name == "PMI_RANK"), LAUNCHERS[2].1);
        assert_eq!(launcher(|_| false), "none: a process on its own");
    }
}
