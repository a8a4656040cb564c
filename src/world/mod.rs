//! The ranks of a run, what each computes on, and how they work together.
//!
//! - `ranks`: who is who; `launch`: how that is found out
//! - `device`, `host`, `threads`: GPUs and cores of a rank, and how many threads it computes with
//! - `start`, `signals`: what has to be settled or known of a process before anything else; `end`: how it ends
//! - `communicator`: what ranks do together; `mpi` does it on the host, `nccl` between GPUs
//! - `activity`: what this rank is doing; `progress`: how far it has come with the others; `heartbeat` tells them of both
//! - `stall`: what is said and done when ranks wait for one that does not come

pub mod activity;
mod communicator;
mod device;
mod end;
mod heartbeat;
mod host;
mod launch;
mod mpi;
mod nccl;
mod progress;
mod ranks;
mod signals;
mod stall;
mod start;
mod threads;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tch::Device;

pub use communicator::{Communicator, CommunicatorError, CommunicatorOptions, Label, Pending, ReduceOp, SingleRank};
pub use device::usable_gpus;
pub use end::end_process;
pub use heartbeat::Heartbeat;
pub use host::{forget_peak_memory, hostname, peak_memory_mib, process_seconds};
pub use mpi::MpiCommunicator;
pub use nccl::{NcclCommunicator, NcclLibrary, NcclVersion, VisibleGpu, nccl_library, visible_gpus};
pub use progress::OperationCounts;
pub use ranks::{Ranks, abort_all, is_of_srun, joined_rank, launched_rank, launcher, leave, linked_mpi, mpi_library};
pub use signals::{is_ignored, outlive_file_size_limit};
pub use stall::{StallLimits, StallWatch, Watched};
pub use threads::ThreadBound;

use crate::config::{CommunicatorChoice, DeviceChoice};

/// One rank of a run and what it computes on.
#[derive(Clone)]
pub struct World {
    /// The place of this rank among all.
    pub ranks: Ranks,
    /// Where this rank's network lives.
    pub device: Device,
    /// CPU threads of this rank.
    pub threads: usize,
    /// What decided their number.
    pub thread_bound: ThreadBound,
    communicator: Arc<dyn Communicator>,
}

/// Why this process cannot take its place.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A GPU was asked for and cannot be used.
    #[error(
        "device \"cuda\" was asked for, but {0}; the CPU is device \"cpu\" (run.device, or --device of eval and bench)"
    )]
    NoCuda(String),
    /// Ranks without a GPU of their own.
    #[error("there are {ranks} ranks or more on this node and {gpus} GPUs: start one rank for each GPU")]
    MoreRanksThanGpus {
        /// At least so many.
        ranks: usize,
        /// Visible to this rank.
        gpus: usize,
    },
    /// Ranks that see one GPU each, and that is the same.
    #[error(
        "ranks {first} and {second} on {hostname} have the same GPU, which NCCL does not support: start one rank for \
         each GPU"
    )]
    SharedGpu {
        /// The lower rank.
        first: usize,
        /// The higher rank.
        second: usize,
        /// Their node.
        hostname: String,
    },
    /// Several processes of a launcher that MPI does not connect.
    #[error(
        "{launcher} has started {size} processes ({variable}), but {mpi}, with which pdarts was built, connects 1, so \
         each would work alone: start them by the mpirun of this MPI (launch/mpirun.sh) or by `srun --mpi=pmix` \
         (`srun --mpi=list` shows what there is); for one process, unset {variable}"
    )]
    NotConnected {
        /// By name.
        launcher: &'static str,
        /// Where it says how many there are.
        variable: &'static str,
        /// How many.
        size: usize,
        /// Name and version of the MPI library.
        mpi: String,
    },
    /// MPI does not start.
    #[error("MPI cannot be initialised: {0}")]
    Mpi(String),
    /// Some ranks compute on GPUs and some on CPUs.
    #[error("rank 0 computes on {first}, rank {rank} on {other}: state run.device for all ranks")]
    MixedDevices {
        /// Kind of device of rank 0.
        first: String,
        /// The first rank that differs.
        rank: usize,
        /// Its kind of device.
        other: String,
    },
    /// A communicator that the device cannot use.
    #[error("parallel.communicator = \"{communicator}\" cannot be used: {reason}")]
    NoCommunicator {
        /// Which was asked for.
        communicator: &'static str,
        /// Why not, and what to do.
        reason: String,
    },
    /// Talking to the other ranks failed.
    #[error(transparent)]
    Communicator(#[from] CommunicatorError),
}

impl WorldError {
    /// Whether the call asks for what cannot be had here. Ranks and GPUs that do not match can also come of a GPU or a machine
    /// that was lost since, with which an elastic launch starts again on fewer ranks.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::NoCuda(_) | Self::NotConnected { .. } => true,
            Self::MoreRanksThanGpus { .. }
            | Self::SharedGpu { .. }
            | Self::MixedDevices { .. }
            | Self::Mpi(_)
            | Self::NoCommunicator { .. }
            | Self::Communicator(_) => false,
        }
    }
}

/// What a rank tells the others of where it sits.
#[derive(Serialize, Deserialize)]
struct Seat {
    hostname: String,
    cores: Vec<usize>,
    device: String,
}

impl World {
    /// A world of one rank with the chosen device; `threads` = 0 takes all that it may use. Sets libtorch's thread count.
    ///
    /// # Errors
    /// When CUDA was asked for and is not usable; never a silent run on the CPU.
    pub fn single(choice: DeviceChoice, threads: usize) -> Result<Self, WorldError> {
        Self::new(Ranks::alone(), device::choose_device(choice, 0)?, threads, CommunicatorChoice::Auto)
    }

    /// This rank on `device`; `threads` = 0 takes this rank's share of what its node's ranks may use. Sets libtorch's
    /// thread count.
    /// All ranks call this together.
    ///
    /// # Errors
    /// When the communicator cannot be used, or the ranks' devices differ in kind.
    pub fn new(
        ranks: Ranks,
        device: Device,
        threads: usize,
        communicator: impl Into<CommunicatorOptions>,
    ) -> Result<Self, WorldError> {
        let seat = Seat { hostname: hostname(), cores: host::allowed_cores(), device: kind_of(device).into() };
        let seats = ranks.gather(&seat, Label::new("exchange of devices"))?;
        if let Some(rank) = seats.iter().position(|other| other.device != seats[0].device) {
            let [first, other] = [0, rank].map(|rank| seats[rank].device.clone());
            return Err(WorldError::MixedDevices { first, rank, other });
        }
        let neighbours = seats.into_iter().filter(|other| other.hostname == seat.hostname).map(|other| other.cores);
        let (threads, thread_bound) = match threads {
            0 => threads::default_threads(&seat.cores, &neighbours.collect::<Vec<_>>()),
            stated => (stated, ThreadBound::Stated),
        };
        tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
        let communicator = choose_communicator(&ranks, device, communicator.into())?;
        Ok(Self { ranks, device, threads, thread_bound, communicator })
    }

    /// For tensors on this rank's device.
    pub fn communicator(&self) -> &Arc<dyn Communicator> {
        &self.communicator
    }
}

impl Ranks {
    /// The device of this rank.
    ///
    /// # Errors
    /// When CUDA was asked for and is not usable, or there are fewer GPUs than ranks; never a silent run on the CPU.
    pub fn choose_device(&self, choice: DeviceChoice) -> Result<Device, WorldError> {
        device::choose_device(choice, self.local_rank)
    }
}

impl Deref for World {
    type Target = Ranks;

    fn deref(&self) -> &Ranks {
        &self.ranks
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

fn kind_of(device: Device) -> &'static str {
    if device.is_cuda() { "GPUs" } else { "the CPU" }
}

fn choose_communicator(
    ranks: &Ranks,
    device: Device,
    options: CommunicatorOptions,
) -> Result<Arc<dyn Communicator>, WorldError> {
    match options.choice {
        _ if ranks.size == 1 => Ok(Arc::new(SingleRank)),
        CommunicatorChoice::Auto | CommunicatorChoice::Mpi if device == Device::Cpu => Ok(ranks.host()),
        CommunicatorChoice::Mpi => Err(WorldError::NoCommunicator {
            communicator: "mpi",
            reason: "MPI works on host memory, this run computes on GPUs; use \"nccl\" or \"auto\"".into(),
        }),
        CommunicatorChoice::Auto | CommunicatorChoice::Nccl => {
            Ok(Arc::new(NcclCommunicator::join(ranks, device, &options)?))
        }
    }
}
