//! What ranks do together: sums, broadcasts and exchanges of small values, whatever library carries them.
//!
//! Every rank calls the same functions in the same order with tensors of one shape and type. A call only begins the
//! operation; the [`Pending`] that it returns says when the tensor may be used again.

use std::fmt;
use std::time::Duration;

use tch::{Kind, Tensor};

use crate::config::{CommunicatorChoice, ParallelSection};

/// How the values of all ranks become one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ReduceOp {
    /// Their sum.
    Sum,
    /// Their mean; of integers, rounded towards zero.
    Average,
    /// The largest.
    Max,
}

/// What an operation is for, in traces and in messages about ranks that wait.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// As in `all-reduce of gradient bucket`.
    pub what: &'static str,
    /// Which of several.
    pub index: Option<usize>,
}

impl Label {
    /// One of its kind.
    pub const fn new(what: &'static str) -> Self {
        Self { what, index: None }
    }

    /// Number `index` of several.
    pub const fn indexed(what: &'static str, index: usize) -> Self {
        Self { what, index: Some(index) }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(formatter, "{} {index}", self.what),
            None => formatter.write_str(self.what),
        }
    }
}

/// Which communicator, and how long it may take.
#[derive(Copy, Clone, Debug)]
pub struct CommunicatorOptions {
    /// Which.
    pub choice: CommunicatorChoice,
    /// For the ranks to find each other by NCCL.
    pub join_timeout: Duration,
    /// For one operation of NCCL.
    pub patience: Duration,
}

impl From<&ParallelSection> for CommunicatorOptions {
    fn from(config: &ParallelSection) -> Self {
        Self {
            choice: config.communicator,
            // Validated to be positive; a number beyond what a duration holds means never.
            join_timeout: Duration::try_from_secs_f64(config.nccl_timeout_seconds).unwrap_or(Duration::MAX),
            patience: config.stall_limits().abort,
        }
    }
}

impl From<CommunicatorChoice> for CommunicatorOptions {
    fn from(choice: CommunicatorChoice) -> Self {
        Self { choice, ..Self::from(&ParallelSection::default()) }
    }
}

/// Collective operations of all ranks.
pub trait Communicator: Send + Sync {
    /// `none`, `mpi` or `nccl`.
    fn name(&self) -> &'static str;

    /// Begins to replace `tensor`, which is contiguous, by the reduction over all ranks.
    ///
    /// # Errors
    /// When the type cannot be reduced or the library refuses.
    fn all_reduce(&self, tensor: &Tensor, op: ReduceOp, label: Label) -> Result<Pending, CommunicatorError>;

    /// Begins to replace `tensor`, which is contiguous, by that of rank `root`.
    ///
    /// # Errors
    /// When the library refuses.
    fn broadcast(&self, tensor: &Tensor, root: usize, label: Label) -> Result<Pending, CommunicatorError>;

    /// Returns when all that was waited for is complete, on the GPU too: what is computed from it may then be kept.
    ///
    /// # Errors
    /// When an operation failed after [`Pending::wait`].
    fn settle(&self) -> Result<(), CommunicatorError> {
        Ok(())
    }
}

/// An operation under way.
///
/// Dropped, it goes on all the same, and the tensor's memory stays until it is complete: by MPI the operation has a
/// handle on it; by NCCL it is given back to the stream that is current where this is dropped, which waits. But nobody
/// learns when that is, and until then the values are neither to be read nor written: who uses the tensor again has to
/// [`wait`](Self::wait), also for what was begun before a failure.
#[must_use = "the tensor is in use until `wait` returns"]
pub struct Pending(Option<Completion>);

type Completion = Box<dyn FnOnce() -> Result<(), CommunicatorError> + Send>;

impl Pending {
    /// One that is complete.
    pub fn done() -> Self {
        Self(None)
    }

    /// One that is complete when `completion` returns.
    pub fn new(completion: impl FnOnce() -> Result<(), CommunicatorError> + Send + 'static) -> Self {
        Self(Some(Box::new(completion)))
    }

    /// Returns when the tensor may be used: at once on a GPU, whose current stream then waits.
    ///
    /// # Errors
    /// When the operation failed.
    pub fn wait(self) -> Result<(), CommunicatorError> {
        self.0.map_or(Ok(()), |completion| completion())
    }
}

/// Why ranks could not do something together.
#[derive(Debug, thiserror::Error)]
pub enum CommunicatorError {
    /// A call of the library failed.
    #[error("{call} failed in the {label}: {message}")]
    Library {
        /// The function.
        call: &'static str,
        /// What it was called for.
        label: Label,
        /// The library's reason.
        message: String,
    },
    /// The library has no such type.
    #[error("{library} cannot reduce tensors of {kind:?} (the {label})")]
    Kind {
        /// Which library.
        library: &'static str,
        /// The tensor's type.
        kind: Kind,
        /// What it was called for.
        label: Label,
    },
    /// A tensor that is not where the library works, or not contiguous.
    #[error("the {label}: {problem}")]
    Tensor {
        /// What is wrong with it.
        problem: String,
        /// What it was called for.
        label: Label,
    },
    /// The communication thread has ended.
    #[error("the communication thread has ended before the {0}")]
    Ended(Label),
    /// Something to send that no message can hold.
    #[error("the {label} cannot be sent to other ranks: {problem}")]
    Unsendable {
        /// Why not.
        problem: String,
        /// What it is.
        label: Label,
    },
    /// Other ranks sent something that cannot be read.
    #[error("another rank sent what this one cannot read ({0}): start the same build of pdarts on all nodes")]
    Garbled(String),
    /// Ranks that do not do the same.
    #[error(
        "rank {rank} has come to the {theirs}, this one to the {label}: start all ranks with the same command and the same \
         build of pdarts, on folders that all nodes share"
    )]
    Apart {
        /// The other.
        rank: usize,
        /// What it has come to.
        theirs: String,
        /// What this rank has come to.
        label: Label,
    },
    /// libtorch failed.
    #[error("libtorch: {}", .0.to_string().lines().next().unwrap_or_default())]
    Tch(#[from] tch::TchError),
}

/// The communicator of a single rank: nothing to do.
#[derive(Copy, Clone, Debug, Default)]
pub struct SingleRank;

impl Communicator for SingleRank {
    fn name(&self) -> &'static str {
        "none"
    }

    fn all_reduce(&self, _: &Tensor, _: ReduceOp, _: Label) -> Result<Pending, CommunicatorError> {
        Ok(Pending::done())
    }

    fn broadcast(&self, _: &Tensor, _: usize, _: Label) -> Result<Pending, CommunicatorError> {
        Ok(Pending::done())
    }
}
