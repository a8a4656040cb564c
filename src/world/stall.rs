//! What is said and done when ranks wait for one that does not come.
//!
//! A stopped or hanging rank cannot answer, so every rank leaves its heartbeat in a file in the run directory: how many
//! operations with the others it has come to, and what it is doing. A rank that waits too long reads the files of the
//! others; those that have come to fewer operations of the same library are the ones that all wait for. Where ranks work
//! alone between operations, for as long as they like, a rank keeps the others waiting only while it does not get on.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::heartbeat::{Heartbeat, heartbeat_path};
use super::progress::{Operation, PROGRESS};
use super::{Ranks, abort_all, activity};
use crate::config::ParallelSection;

const LONGEST_INTERVAL: Duration = Duration::from_secs(1);
/// How long the other ranks leave the abort to the one that speaks.
const GRACE: Duration = Duration::from_secs(5);
/// How long a communicator that could end an operation itself leaves that to the watch, which can name the ranks. A
/// watch that has not ended the run by then hangs in the file system.
pub(super) const LEEWAY: Duration = Duration::from_secs(3 * GRACE.as_secs());
const EXIT_CODE: u8 = 1;

/// When to speak and when to end the run.
#[derive(Copy, Clone, Debug)]
pub struct StallLimits {
    /// An operation that takes longer is reported.
    pub warning: Duration,
    /// An operation that takes longer ends the run.
    pub abort: Duration,
}

impl StallLimits {
    fn heartbeat_interval(&self) -> Duration {
        (self.warning / 4).clamp(Duration::from_millis(10), LONGEST_INTERVAL)
    }

    /// A rank whose heartbeat is older gives no sign of life.
    fn silence(&self) -> Duration {
        (self.warning / 2).max(2 * LONGEST_INTERVAL)
    }
}

impl ParallelSection {
    /// When ranks that wait are reported, and when their run ends.
    pub fn stall_limits(&self) -> StallLimits {
        let [warning, abort] = [self.stall_warning_seconds, self.stall_abort_seconds].map(|seconds| {
            // Validated to be positive; a number beyond what a duration holds means never.
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
        });
        StallLimits { warning, abort: abort.min(Duration::MAX / 4) }
    }
}

/// What takes too long once the limits are reached.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// An operation: ranks take all their steps together.
    Operations,
    /// A step of a rank that the others wait for: each takes its steps alone.
    LoneSteps,
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
    pub fn start(directory: &Path, ranks: &Ranks, limits: StallLimits, watched: Watched) -> io::Result<Option<Self>> {
        if ranks.size == 1 {
            return Ok(None);
        }
        fs::create_dir_all(directory)?;
        let mut watch = Watch::new(directory, ranks, limits, watched);
        let own_file = heartbeat_path(directory, ranks.rank);
        activity::gets_on();
        Heartbeat::now(ranks.rank).write(&own_file)?;
        let (end, ended) = channel();
        let body = move || {
            while ended.recv_timeout(limits.heartbeat_interval()) == Err(RecvTimeoutError::Timeout) {
                watch.beat();
            }
        };
        let thread = thread::Builder::new().name("heartbeat".into()).spawn(body)?;
        PROGRESS.set_watched(true);
        Ok(Some(Self { end: Some(end), thread: Some(thread), own_file }))
    }
}

impl Drop for StallWatch {
    fn drop(&mut self) {
        PROGRESS.set_watched(false);
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
    watched: Watched,
    /// The operation that was last warned of.
    warned_of: Option<Operation>,
    last_beat: Instant,
    /// Since when this process has run without being stopped itself.
    awake_since: Instant,
    /// Until when those that are waited for have got on, as far as was looked.
    got_on_until: Instant,
}

impl Watch {
    fn new(directory: &Path, ranks: &Ranks, limits: StallLimits, watched: Watched) -> Self {
        let (directory, now) = (directory.to_owned(), Instant::now());
        let Ranks { rank, size, .. } = *ranks;
        let (warned_of, last_beat, awake_since, got_on_until) = (None, now, now, now);
        Self { directory, rank, size, limits, watched, warned_of, last_beat, awake_since, got_on_until }
    }

    fn beat(&mut self) {
        // A rank that was stopped and goes on finds its operation long overdue, but was the one to be waited for.
        let now = Instant::now();
        if now - self.last_beat > self.limits.silence() {
            self.awake_since = now;
        }
        self.last_beat = now;
        if let Err(error) = Heartbeat::now(self.rank).write(&heartbeat_path(&self.directory, self.rank)) {
            tracing::debug!("cannot write a heartbeat into {}: {error}", self.directory.display());
        }
        let Some(operation) = PROGRESS.oldest() else { return };
        let since = operation.since.max(self.awake_since).max(self.got_on_until);
        let mut waited = now.saturating_duration_since(since);
        if waited < self.limits.warning {
            return;
        }
        let read = |rank| (rank, Heartbeat::read(&heartbeat_path(&self.directory, rank)));
        let mut beats: Vec<_> = (0..self.size).map(read).collect();
        if self.watched == Watched::LoneSteps {
            waited = waited.min(longest_idle(operation, self.rank, &beats).unwrap_or(waited));
            if waited < self.limits.warning {
                // Not looked at again before it can have been idle for long enough.
                self.got_on_until = now.checked_sub(waited).unwrap_or(now);
                return;
            }
            let gets_on = |beat: &Heartbeat| !has_come(beat, operation) && beat.idle() < self.limits.warning;
            beats.retain(|(_, beat)| !beat.as_ref().is_some_and(gets_on));
        }
        let stall = Stall::find(operation, waited, self.rank, beats, self.limits.silence());
        let aborts = waited >= if stall.speaks { self.limits.abort } else { self.limits.abort + GRACE };
        if aborts {
            let line =
                format!("error: {stall}: the run is ended (parallel.stall_abort_seconds); what was saved is intact\n");
            // Not through `tracing`, which may be told to be silent; in one piece, for ranks and their launcher share it.
            let _ = io::stderr().write_all(line.as_bytes());
            abort_all(EXIT_CODE);
        } else if stall.speaks && self.warned_of != Some(operation) {
            self.warned_of = Some(operation);
            let abort = self.limits.abort.as_secs();
            tracing::warn!("{stall}; the run ends after {abort} s (parallel.stall_abort_seconds)");
        }
    }
}

/// Whether the rank of `beat` has come to `operation`.
fn has_come(beat: &Heartbeat, operation: Operation) -> bool {
    beat.operations.of(operation.library) >= operation.number
}

/// How long the rank that has been so for longest has not got on, of those that rank `own` waits for in `operation`; when
/// all have come to it, how long ago the last may have. None if a rank has left no heartbeat to tell.
fn longest_idle(operation: Operation, own: usize, beats: &[(usize, Option<Heartbeat>)]) -> Option<Duration> {
    let others = || beats.iter().filter(|(rank, _)| *rank != own).map(|(_, beat)| beat.as_ref());
    let all = others().collect::<Option<Vec<_>>>()?;
    let missing = all.iter().filter(|beat| !has_come(beat, operation)).map(|beat| beat.idle()).max();
    missing.or_else(|| all.iter().map(|beat| beat.idle()).min())
}

/// What one rank finds out about an operation that takes too long.
struct Stall {
    operation: Operation,
    waited: Duration,
    /// Whether this rank speaks for all: the lowest that waits and is alive.
    speaks: bool,
    /// Ranks that have not come to it.
    missing: Vec<String>,
    /// Ranks that have come to it and have given no sign of life since.
    silent: Vec<String>,
}

impl Stall {
    /// What `beats`, heartbeats by rank, tell to rank `own`; older than `silence`, they tell of no life.
    fn find(
        operation: Operation,
        waited: Duration,
        own: usize,
        beats: Vec<(usize, Option<Heartbeat>)>,
        silence: Duration,
    ) -> Self {
        let mut stall = Self { operation, waited, speaks: true, missing: Vec::new(), silent: Vec::new() };
        for (rank, beat) in beats.into_iter().filter(|(rank, _)| *rank != own) {
            match beat {
                None => stall.missing.push(format!("rank {rank}, which has left no heartbeat")),
                Some(beat) if !has_come(&beat, operation) => stall.missing.push(beat.to_string()),
                Some(beat) if beat.age() > silence => stall.silent.push(beat.to_string()),
                Some(_) => stall.speaks &= rank > own,
            }
        }
        stall
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (label, seconds) = (self.operation.label, self.waited.as_secs());
        if !self.missing.is_empty() {
            return write!(formatter, "the {label} has waited {seconds} s for {}", self.missing.join("; and for "));
        }
        write!(formatter, "the {label} has taken {seconds} s, though all ranks have come to it")?;
        match self.silent.is_empty() {
            true => Ok(()),
            false => write!(formatter, "; no sign of life from {}", self.silent.join("; nor from ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::activity::Place;
    use super::super::progress::{Library, OperationCounts};
    use super::super::{Label, hostname};
    use super::*;

    const SILENCE: Duration = Duration::from_secs(30);

    /// The heartbeat of a rank that has come to so many operations, so many seconds ago.
    fn beat(rank: usize, mpi: u64, nccl: u64, seconds_ago: f64) -> Option<Heartbeat> {
        let place = Place { stage: 1, epoch: 2, step: 3 };
        let beat = Heartbeat { operations: OperationCounts { mpi, nccl }, place, ..Heartbeat::now(rank) };
        Some(Heartbeat { process: 42, phase: "forward".into(), time: beat.time - seconds_ago, ..beat })
    }

    /// What `finds` finds while the seconds since a heartbeat, in whole numbers, are what they were.
    fn at_once<T>(finds: impl Fn() -> T) -> T {
        loop {
            let start = Instant::now();
            let found = finds();
            if start.elapsed() < Duration::from_millis(400) {
                return found;
            }
        }
    }

    /// What rank `own` finds out about operation 7 of NCCL.
    fn find(own: usize, beats: &[Option<Heartbeat>]) -> Stall {
        let beats = beats.iter().cloned().enumerate().collect();
        Stall::find(operation(), Duration::from_secs(61), own, beats, SILENCE)
    }

    fn operation() -> Operation {
        let label = Label::indexed("all-reduce of gradient bucket", 2);
        Operation { library: Library::Nccl, number: 7, label, since: Instant::now() }
    }

    #[test]
    fn ranks_with_fewer_operations_of_the_same_library_are_named_by_the_lowest_that_waits() {
        // Rank 0 is ahead by MPI and behind by NCCL, rank 2 the other way round.
        let found = at_once(|| {
            let beats = [beat(0, 9, 6, 40.0), beat(1, 5, 7, 0.0), beat(2, 4, 8, 0.0), None];
            [1, 2].map(|rank| find(rank, &beats)).map(|stall| (stall.speaks, stall.to_string()))
        });
        let host = hostname();
        let expected = format!(
            "the all-reduce of gradient bucket 2 has waited 61 s for rank 0 on {host} (process 42), last seen 40 s ago \
             in stage 1, epoch 2, step 3: forward; and for rank 3, which has left no heartbeat"
        );
        assert_eq!(found, [(true, expected.clone()), (false, expected)]);
    }

    #[test]
    fn rank_that_stops_within_an_operation_is_named_as_silent_and_speaks_for_nobody() {
        let told = "the all-reduce of gradient bucket 2 has taken 61 s, though all ranks have come to it";
        let alive = find(1, &[beat(0, 1, 7, 1.0), beat(1, 1, 7, 0.0)]);
        assert_eq!((alive.speaks, alive.to_string()), (false, told.into()));
        let stopped = at_once(|| {
            let stall = find(1, &[beat(0, 1, 7, 60.0), beat(1, 1, 7, 0.0)]);
            (stall.speaks, stall.to_string())
        });
        let place = "(process 42), last seen 60 s ago in stage 1, epoch 2, step 3: forward";
        let silent = format!("{told}; no sign of life from rank 0 on {} {place}", hostname());
        assert_eq!(stopped, (true, silent));
    }

    #[test]
    fn rank_that_works_alone_is_waited_for_while_it_gets_on() {
        // The rank that waits is 0. What is said of others: operations by NCCL, when they were seen, idle for how long then.
        let longest = |others: &[(u64, f64, f64)]| {
            let told = |(rank, (nccl, seconds_ago, idle_seconds)): (usize, &(u64, f64, f64))| {
                (rank, beat(rank, 1, *nccl, *seconds_ago).map(|beat| Heartbeat { idle_seconds: *idle_seconds, ..beat }))
            };
            let beats = [(0, beat(0, 1, 7, 0.0))].into_iter().chain((1..).zip(others).map(told)).collect::<Vec<_>>();
            at_once(|| longest_idle(operation(), 0, &beats).unwrap().as_secs())
        };
        // All train; one hangs, though its heartbeat is fresh; one is stopped.
        assert_eq!(longest(&[(6, 1.0, 2.0), (6, 0.0, 5.0)]), 5);
        assert_eq!(longest(&[(6, 1.0, 2.0), (6, 1.0, 60.0)]), 61);
        assert_eq!(longest(&[(6, 90.0, 0.0), (6, 1.0, 2.0)]), 90);
        // Those that wait, too, are idle; when the last has come, nothing is wrong yet.
        assert_eq!(longest(&[(7, 1.0, 60.0), (6, 0.0, 5.0)]), 5);
        assert_eq!(longest(&[(7, 1.0, 60.0), (7, 0.0, 5.0)]), 5);
        assert_eq!(longest_idle(operation(), 0, &[(0, beat(0, 1, 7, 0.0)), (1, None)]), None);
    }

    #[test]
    fn single_rank_needs_no_watch() {
        let limits = StallLimits { warning: Duration::from_secs(1), abort: Duration::from_secs(2) };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heartbeats");
        assert!(StallWatch::start(&path, &Ranks::alone(), limits, Watched::Operations).unwrap().is_none());
        assert!(!path.exists());
    }
}
