//! A rank's sign of life: a file in the run directory, which the other ranks read when they wait for it.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::activity::{self, Place};
use super::hostname;
use super::progress::{OperationCounts, PROGRESS};

/// One rank's sign of life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Whose.
    pub rank: usize,
    /// Its node.
    pub hostname: String,
    /// Its process there.
    pub process: u32,
    /// Operations with the other ranks that it has come to.
    pub operations: OperationCounts,
    /// The step under way.
    pub place: Place,
    /// What it does in it.
    pub phase: String,
    /// For how long it has said nothing of getting on.
    pub idle_seconds: f64,
    /// When, in seconds since 1970.
    pub time: f64,
}

impl Heartbeat {
    /// Of this process, which is rank `rank`.
    pub fn now(rank: usize) -> Self {
        let (place, phase, idle) = activity::now();
        let (hostname, process, operations) = (hostname(), std::process::id(), PROGRESS.counts());
        let (phase, idle_seconds) = (phase.to_owned(), idle.as_secs_f64());
        Self { rank, hostname, process, operations, place, phase, idle_seconds, time: now() }
    }

    /// How long ago it was, by this node's clock.
    pub fn age(&self) -> Duration {
        Duration::try_from_secs_f64(now() - self.time).unwrap_or_default()
    }

    /// How long ago the rank last got on.
    pub fn idle(&self) -> Duration {
        self.age().saturating_add(Duration::try_from_secs_f64(self.idle_seconds).unwrap_or_default())
    }

    /// Replaces the file as a whole; it need not survive a power cut.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let partial = path.with_extension("partial");
        fs::write(&partial, serde_json::to_vec(self)?)?;
        fs::rename(partial, path)
    }

    /// The one in a file; none where there is none to read.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

/// `rank 3 on node7 (process 4242), last seen 61 s ago in stage 1, epoch 2, step 30: loading images`.
impl fmt::Display for Heartbeat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rank, hostname, process, place, phase, .. } = self;
        let seconds = self.age().as_secs_f64();
        write!(
            formatter,
            "rank {rank} on {hostname} (process {process}), last seen {seconds:.0} s ago in {place}: {phase}"
        )
    }
}

/// Where rank `rank` leaves its own.
pub fn heartbeat_path(directory: &Path, rank: usize) -> PathBuf {
    directory.join(format!("rank{rank:05}.json"))
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeat_is_replaced_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = heartbeat_path(directory.path(), 3);
        assert!(Heartbeat::read(&path).is_none());
        let place = Place { stage: 1, epoch: 2, step: 30 };
        let beat = |mpi| Heartbeat {
            hostname: "node7".into(),
            process: 42,
            operations: OperationCounts { mpi, nccl: 1 },
            place,
            phase: "loading images".into(),
            // Of a clock that is ahead: however long this test takes, it was just now.
            time: now() + 1000.0,
            ..Heartbeat::now(3)
        };
        beat(7).write(&path).unwrap();
        let second = beat(8);
        second.write(&path).unwrap();
        assert_eq!(Heartbeat::read(&path).unwrap(), second);
        assert_eq!(
            second.to_string(),
            "rank 3 on node7 (process 42), last seen 0 s ago in stage 1, epoch 2, step 30: loading images"
        );
    }
}
