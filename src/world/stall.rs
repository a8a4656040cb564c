//! Heartbeats, and what is said and done when ranks wait for one that does not come.
//!
//! A stopped or hanging rank cannot answer, so every rank leaves its heartbeat in a file in the run directory: how many
//! operations with the others it has come to, and what it is doing. A rank that waits too long reads the files of the
//! others; those that have come to fewer operations are the ones that all wait for.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::activity::{self, Place};
use super::mpi::MpiStatus;
use super::{Ranks, abort_all, hostname, ranks};
use crate::config::ParallelConfig;

const LONGEST_INTERVAL: Duration = Duration::from_secs(1);
/// How long the other ranks leave the abort to the one that speaks.
const GRACE: Duration = Duration::from_secs(5);
const EXIT_CODE: u8 = 1;

/// When to speak and when to end the run.
#[derive(Copy, Clone, Debug)]
pub struct StallLimits {
    /// An operation that takes longer is reported.
    pub warning: Duration,
    /// An operation that takes longer ends the run.
    pub abort: Duration,
}

impl ParallelConfig {
    /// When ranks that wait are reported, and when their run ends.
    pub fn stall_limits(&self) -> StallLimits {
        let [warning, abort] = [self.stall_warning_seconds, self.stall_abort_seconds].map(|seconds| {
            // Validated to be positive; a number beyond what a duration holds means never.
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
        });
        StallLimits { warning, abort: abort.min(Duration::MAX / 4) }
    }
}

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
    pub operations: u64,
    /// The step under way.
    pub place: Place,
    /// What it does in it.
    pub phase: String,
    /// When, in seconds since 1970.
    pub time: f64,
}

/// The thread that beats and watches, until dropped.
pub struct StallWatch {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    own_file: PathBuf,
}

impl StallWatch {
    /// Begins to write this rank's heartbeat into `directory`, which all ranks share, and to watch over the others';
    /// nothing on a single rank.
    ///
    /// # Errors
    /// When the directory cannot be written or the system refuses a thread.
    pub fn start(directory: &Path, ranks: &Ranks, limits: StallLimits) -> io::Result<Option<Self>> {
        if ranks.size == 1 {
            return Ok(None);
        }
        fs::create_dir_all(directory)?;
        let watch =
            Watch { directory: directory.to_owned(), rank: ranks.rank, size: ranks.size, limits, warned_of: None };
        let own_file = heartbeat_path(directory, ranks.rank);
        write(&own_file, &watch.heartbeat())?;
        let (end, ended) = channel();
        let interval = (limits.warning / 4).clamp(Duration::from_millis(10), LONGEST_INTERVAL);
        let body = move || {
            let mut watch = watch;
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                watch.beat();
            }
        };
        let thread = thread::Builder::new().name("heartbeat".into()).spawn(body)?;
        Ok(Some(Self { end: Some(end), thread: Some(thread), own_file }))
    }
}

impl Drop for StallWatch {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // A file that stays behind says nothing wrong: a new start writes it anew.
        let _ = fs::remove_file(&self.own_file);
    }
}

struct Watch {
    directory: PathBuf,
    rank: usize,
    size: usize,
    limits: StallLimits,
    /// The operation that was last warned of.
    warned_of: Option<u64>,
}

impl Watch {
    fn heartbeat(&self) -> Heartbeat {
        let (place, phase) = activity::now();
        Heartbeat {
            rank: self.rank,
            hostname: hostname(),
            process: std::process::id(),
            operations: ranks::status().map_or(0, |status| status.operations),
            place,
            phase: phase.to_owned(),
            time: now(),
        }
    }

    fn beat(&mut self) {
        if let Err(error) = write(&heartbeat_path(&self.directory, self.rank), &self.heartbeat()) {
            tracing::debug!("cannot write a heartbeat into {}: {error}", self.directory.display());
        }
        let Some(MpiStatus { operations, current: Some((label, since)) }) = ranks::status() else { return };
        let waited = since.elapsed();
        if waited < self.limits.warning {
            return;
        }
        let others: Vec<Option<Heartbeat>> =
            (0..self.size).map(|rank| read(&heartbeat_path(&self.directory, rank))).collect();
        let has_come = |beat: &Option<Heartbeat>| beat.as_ref().is_some_and(|beat| beat.operations >= operations);
        // The lowest rank that waits speaks for all.
        let speaks = !others[..self.rank].iter().any(has_come);
        let missing = others.iter().enumerate().filter(|(rank, beat)| *rank != self.rank && !has_come(beat));
        let missing: Vec<String> = missing.map(|(rank, beat)| describe(rank, beat.as_ref())).collect();
        let seconds = waited.as_secs();
        let story = match missing.is_empty() {
            true => format!("the {label} has taken {seconds} s, though all ranks have come to it"),
            false => format!("the {label} has waited {seconds} s for {}", missing.join("; and for ")),
        };
        let aborts = waited >= if speaks { self.limits.abort } else { self.limits.abort + GRACE };
        if aborts {
            // Not through `tracing`, which may be told to be silent.
            let _ = writeln!(
                io::stderr(),
                "error: {story}: the run is ended (parallel.stall_abort_seconds); what was saved is intact"
            );
            abort_all(EXIT_CODE);
        } else if speaks && self.warned_of != Some(operations) {
            self.warned_of = Some(operations);
            let abort = self.limits.abort.as_secs();
            tracing::warn!("{story}; the run ends after {abort} s (parallel.stall_abort_seconds)");
        }
    }
}

/// `rank 3 on node7 (process 4242), last seen 61 s ago in stage 1, epoch 2, step 30: loading images`.
fn describe(rank: usize, beat: Option<&Heartbeat>) -> String {
    match beat {
        None => format!("rank {rank}, which has left no heartbeat"),
        Some(Heartbeat { hostname, process, place, phase, time, .. }) => {
            let seconds = (now() - time).max(0.0);
            format!("rank {rank} on {hostname} (process {process}), last seen {seconds:.0} s ago in {place}: {phase}")
        }
    }
}

fn heartbeat_path(directory: &Path, rank: usize) -> PathBuf {
    directory.join(format!("rank{rank:05}.json"))
}

/// Replaces the file as a whole; it need not survive a power cut.
fn write(path: &Path, heartbeat: &Heartbeat) -> io::Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, serde_json::to_vec(heartbeat)?)?;
    fs::rename(partial, path)
}

fn read(path: &Path) -> Option<Heartbeat> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
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
        assert!(read(&path).is_none());
        let place = Place { stage: 1, epoch: 2, step: 30 };
        let beat = |operations| Heartbeat {
            rank: 3,
            hostname: "node7".into(),
            process: 42,
            operations,
            place,
            phase: "loading images".into(),
            time: now(),
        };
        write(&path, &beat(7)).unwrap();
        write(&path, &beat(8)).unwrap();
        assert_eq!(read(&path).unwrap().operations, 8);
        assert_eq!(
            describe(3, read(&path).as_ref()),
            "rank 3 on node7 (process 42), last seen 0 s ago in stage 1, epoch 2, step 30: loading images"
        );
        assert_eq!(describe(1, None), "rank 1, which has left no heartbeat");
    }

    #[test]
    fn single_rank_needs_no_watch() {
        let limits = StallLimits { warning: Duration::from_secs(1), abort: Duration::from_secs(2) };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heartbeats");
        assert!(StallWatch::start(&path, &Ranks::alone(), limits).unwrap().is_none());
        assert!(!path.exists());
    }
}
