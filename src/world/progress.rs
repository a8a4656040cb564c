//! How far this rank has come with the others: how many operations it has come to, and which of them are under way.
//!
//! One account for the process, whichever library carries an operation: communicators write it, the watch over stalls
//! reads it. All ranks begin the operations of one library in the same order, so the same number is the same operation
//! on every rank; between two libraries the order may differ, so each counts its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Label;

/// This process's.
pub(super) static PROGRESS: Progress = Progress::new();

/// What carries an operation.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Library {
    /// On host memory.
    Mpi,
    /// Between GPUs.
    Nccl,
}

/// Operations that a rank has come to, complete or not.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationCounts {
    /// By MPI.
    pub mpi: u64,
    /// By NCCL.
    pub nccl: u64,
}

/// An operation with the other ranks.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What carries it.
    pub library: Library,
    /// From 1, among those of its library.
    pub number: u64,
    /// What it is for.
    pub label: Label,
    /// When this rank came to it.
    pub since: Instant,
}

/// The account.
pub struct Progress {
    state: Mutex<State>,
    is_watched: AtomicBool,
}

struct State {
    counts: OperationCounts,
    /// In the order in which this rank came to them.
    under_way: Vec<Operation>,
}

/// An operation under way, until dropped.
pub struct UnderWay {
    /// Which.
    pub operation: Operation,
    progress: &'static Progress,
}

impl OperationCounts {
    /// Those of one library.
    pub fn of(&self, library: Library) -> u64 {
        match library {
            Library::Mpi => self.mpi,
            Library::Nccl => self.nccl,
        }
    }

    fn increase(&mut self, library: Library) -> u64 {
        let count = match library {
            Library::Mpi => &mut self.mpi,
            Library::Nccl => &mut self.nccl,
        };
        *count += 1;
        *count
    }
}

impl Progress {
    const fn new() -> Self {
        let state = State { counts: OperationCounts { mpi: 0, nccl: 0 }, under_way: Vec::new() };
        Self { state: Mutex::new(state), is_watched: AtomicBool::new(false) }
    }

    /// Says that this rank comes to an operation, in the order of its library.
    pub fn begin(&'static self, library: Library, label: Label) -> UnderWay {
        let mut state = self.lock();
        let number = state.counts.increase(library);
        let operation = Operation { library, number, label, since: Instant::now() };
        state.under_way.push(operation);
        UnderWay { operation, progress: self }
    }

    /// Operations that this rank has come to.
    pub fn counts(&self) -> OperationCounts {
        self.lock().counts
    }

    /// The one that has been under way for longest, if any.
    pub fn oldest(&self) -> Option<Operation> {
        self.lock().under_way.first().copied()
    }

    /// Whether a watch ends operations that take too long.
    pub fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// Says that a watch begins, or ends, to do so.
    pub fn set_watched(&self, is_watched: bool) {
        self.is_watched.store(is_watched, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.progress.lock().under_way.retain(|other| *other != self.operation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_operation_is_the_first_that_is_not_complete_and_counts_are_of_each_library() {
        static PROGRESS: Progress = Progress::new();
        assert_eq!(PROGRESS.oldest(), None);
        let begin = |library, what| PROGRESS.begin(library, Label::new(what));
        let first = begin(Library::Nccl, "bucket 0");
        let second = begin(Library::Mpi, "meeting");
        let third = begin(Library::Nccl, "bucket 1");
        assert_eq!([&first, &second, &third].map(|under_way| under_way.operation.number), [1, 1, 2]);
        assert_eq!(PROGRESS.counts(), OperationCounts { mpi: 1, nccl: 2 });
        assert_eq!(PROGRESS.oldest(), Some(first.operation));
        drop(second);
        assert_eq!(PROGRESS.oldest(), Some(first.operation));
        drop(first);
        assert_eq!(PROGRESS.oldest(), Some(third.operation));
        drop(third);
        assert_eq!(PROGRESS.oldest(), None);
        assert_eq!(PROGRESS.counts(), OperationCounts { mpi: 1, nccl: 2 });
    }
}
