//! Collectives on host memory by MPI.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use tch::Tensor;

use super::MpiThread;
use crate::world::{Communicator, CommunicatorError, Label, Pending, ReduceOp};

/// Queues operations on the MPI thread.
#[derive(Clone)]
pub struct MpiCommunicator {
    thread: Arc<MpiThread>,
}

impl MpiCommunicator {
    /// On the ranks that `thread` has joined.
    pub fn new(thread: Arc<MpiThread>) -> Self {
        Self { thread }
    }

    /// The bytes of every rank, in the order of ranks; they may differ in length.
    ///
    /// # Errors
    /// When MPI fails.
    pub fn all_gather(&self, bytes: &[u8], label: Label) -> Result<Vec<Vec<u8>>, CommunicatorError> {
        let bytes = bytes.to_vec();
        let (reply, gathered) = sync_channel(1);
        let pending = self.thread.submit(label, move |mpi| {
            // The receiver lives until the operation is complete.
            let _ = reply.send(mpi.all_gather(&bytes, label)?);
            Ok(())
        });
        pending.wait()?;
        gathered.recv().map_err(|_| CommunicatorError::Ended(label))
    }

    /// Begins the library's all-reduce without waiting for the other ranks first: for comparisons.
    pub fn all_reduce_raw(&self, tensor: &Tensor, op: ReduceOp, label: Label) -> Pending {
        let tensor = tensor.shallow_clone();
        self.thread.submit_unmet(label, move |mpi| mpi.all_reduce(&tensor, op, label))
    }
}

impl Communicator for MpiCommunicator {
    fn name(&self) -> &'static str {
        "mpi"
    }

    fn all_reduce(&self, tensor: &Tensor, op: ReduceOp, label: Label) -> Result<Pending, CommunicatorError> {
        let tensor = tensor.shallow_clone();
        Ok(self.thread.submit(label, move |mpi| mpi.all_reduce(&tensor, op, label)))
    }

    fn broadcast(&self, tensor: &Tensor, root: usize, label: Label) -> Result<Pending, CommunicatorError> {
        let tensor = tensor.shallow_clone();
        Ok(self.thread.submit(label, move |mpi| mpi.broadcast(&tensor, root, label)))
    }
}
