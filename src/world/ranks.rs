//! Who is who: this process among the ranks of its run, and what they tell each other on the host.

use std::env;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::communicator::{Communicator, CommunicatorError, Label, SingleRank};
use super::host::allowed_cores;
use super::launch::{self, Announced};
use super::mpi::{self, MpiCommunicator, MpiThread};
use super::threads::default_threads;
use super::{WorldError, hostname};

/// The connection to the other ranks; there is one for a process, and it outlives what uses it: a rank that lets go of
/// MPI while others wait for it would hang with them.
static CONNECTION: OnceLock<Arc<MpiThread>> = OnceLock::new();

/// This process's place among the ranks.
#[derive(Clone)]
pub struct Ranks {
    /// From 0; rank 0 writes the run's files.
    pub rank: usize,
    /// Number of ranks, at least 1.
    pub size: usize,
    /// This rank's number among those of its node.
    pub local_rank: usize,
    /// Ranks of its node.
    pub local_size: usize,
    mpi: Option<MpiCommunicator>,
}

impl Ranks {
    /// A single rank without MPI.
    pub fn alone() -> Self {
        Self { rank: 0, size: 1, local_rank: 0, local_size: 1, mpi: None }
    }

    /// Joins the ranks that were launched with this process; without a launcher, a single rank.
    ///
    /// # Errors
    /// When the launcher and this program's MPI do not work together: [`WorldError::NotConnected`] if a launcher has
    /// started several processes and MPI knows of one.
    pub fn join() -> Result<Self, WorldError> {
        let launch = launch::detect(|name| env::var(name).ok());
        let ranks = if launch.is_mpi { Self::join_by_mpi()? } else { Self::alone() };
        match launch.announced {
            Some(Announced { launcher, variable, size }) if size > 1 && ranks.size == 1 => {
                leave();
                Err(WorldError::NotConnected { launcher, variable, size, mpi: linked_mpi() })
            }
            _ => Ok(ranks),
        }
    }

    fn join_by_mpi() -> Result<Self, WorldError> {
        let thread = Arc::new(MpiThread::start().map_err(WorldError::Mpi)?);
        let thread = Arc::clone(CONNECTION.get_or_init(|| thread));
        let MpiThread { rank, size, local_rank, local_size, .. } = *thread;
        Ok(Self { rank, size, local_rank, local_size, mpi: Some(MpiCommunicator::new(thread)) })
    }

    /// Whether this is the rank that writes and speaks for all.
    pub fn is_root(&self) -> bool {
        self.rank == 0
    }

    /// Threads for this rank's work unless told: its share of what the ranks of its node may use. All ranks call this together.
    ///
    /// # Errors
    /// When the ranks cannot talk to each other.
    pub fn default_threads(&self) -> Result<usize, CommunicatorError> {
        let own = (hostname(), allowed_cores());
        let all = self.gather(&own, Label::new("exchange of cores"))?;
        let of_node: Vec<Vec<usize>> =
            all.into_iter().filter(|(host, _)| *host == own.0).map(|(_, cores)| cores).collect();
        Ok(default_threads(&own.1, &of_node).0)
    }

    /// For tensors on the host.
    pub fn host(&self) -> Arc<dyn Communicator> {
        match &self.mpi {
            Some(mpi) => Arc::new(mpi.clone()),
            None => Arc::new(SingleRank),
        }
    }

    /// MPI's own communicator; none for a single rank without MPI.
    pub fn mpi(&self) -> Option<&MpiCommunicator> {
        self.mpi.as_ref()
    }

    /// The value of every rank, in the order of ranks.
    ///
    /// # Errors
    /// When MPI fails, a rank has come to something else or runs another program.
    pub fn gather<T: Serialize + DeserializeOwned>(
        &self,
        value: &T,
        label: Label,
    ) -> Result<Vec<T>, CommunicatorError> {
        let unsendable = |error: serde_json::Error| CommunicatorError::Unsendable { problem: error.to_string(), label };
        let mut bytes = format!("{label}\n").into_bytes();
        serde_json::to_writer(&mut bytes, value).map_err(unsendable)?;
        let all = self.gather_bytes(bytes, label)?;
        all.iter().enumerate().map(|(rank, bytes)| unpack(rank, bytes, label)).collect()
    }

    /// The bytes of every rank, in the order of ranks.
    ///
    /// # Errors
    /// When MPI fails.
    pub fn gather_bytes(&self, bytes: Vec<u8>, label: Label) -> Result<Vec<Vec<u8>>, CommunicatorError> {
        match &self.mpi {
            Some(mpi) => mpi.all_gather(&bytes, label),
            None => Ok(vec![bytes]),
        }
    }

    /// `rank 3 on node7`, for messages.
    pub fn name(&self) -> String {
        format!("rank {} on {}", self.rank, hostname())
    }
}

/// The value that `rank` has sent in `bytes`, behind the label of what it was sent for.
fn unpack<T: DeserializeOwned>(rank: usize, bytes: &[u8], label: Label) -> Result<T, CommunicatorError> {
    let garbled = |problem: String| CommunicatorError::Garbled(problem);
    let end = bytes.iter().position(|&byte| byte == b'\n').ok_or_else(|| garbled("no label".to_owned()))?;
    let theirs = String::from_utf8_lossy(&bytes[..end]);
    if theirs != label.to_string() {
        return Err(CommunicatorError::Apart { rank, theirs: theirs.into_owned(), label });
    }
    serde_json::from_slice(&bytes[end + 1..]).map_err(|error| garbled(error.to_string()))
}

/// Name, version and thread level of the MPI library; none where this process did not join other ranks.
pub fn mpi_library() -> Option<String> {
    CONNECTION.get().map(|thread| thread.library.clone())
}

/// Name and version of the MPI library that this program is linked with, whether it was started or not.
pub fn linked_mpi() -> String {
    mpi::library_name()
}

/// Who started this process, as far as the environment tells.
pub fn launcher() -> Option<&'static str> {
    launch::launcher(|name| env::var(name).ok())
}

/// Whether srun itself has started this process, not a launcher that it has started.
pub fn is_of_srun() -> bool {
    launch::is_of_srun(|name| env::var(name).ok())
}

/// The rank that the launcher gave this process, before it has joined the others.
pub fn launched_rank() -> Option<usize> {
    launch::rank(|name| env::var(name).ok())
}

/// This process's rank, if it has joined several.
pub fn joined_rank() -> Option<usize> {
    CONNECTION.get().filter(|thread| thread.size > 1).map(|thread| thread.rank)
}

/// Leaves the other ranks at the end of a run, which waits until all of them do.
pub fn leave() {
    if let Some(thread) = CONNECTION.get() {
        thread.finish();
    }
}

/// Ends all ranks with exit code `code`; returns if there are no others.
pub fn abort_all(code: u8) {
    if let Some(thread) = CONNECTION.get().filter(|thread| thread.size > 1) {
        thread.abort(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_that_has_come_to_something_else_is_named() {
        let label = Label::indexed("exchange", 2);
        assert_eq!(unpack::<Vec<u8>>(3, b"exchange 2\n[1, 2]", label).unwrap(), [1, 2]);
        let message = |bytes: &[u8]| unpack::<Option<u8>>(3, bytes, label).unwrap_err().to_string();
        let apart = message(b"comparison of cells\nnull");
        assert!(
            apart.starts_with("rank 3 has come to the comparison of cells, this one to the exchange 2: "),
            "{apart}"
        );
        for bytes in [&b"exchange 2\n[1, 2]"[..], b"null", b""] {
            assert!(message(bytes).contains("the same build of pdarts"), "{}", message(bytes));
        }
    }
}
