//! Searches whose ranks speak by the double, one of which is stopped: the others say whom they wait for, as by MPI.

use std::thread;
use std::time::{Duration, Instant};

use crate::program::{Folder, Process, texts};
use crate::search::{NCCL, command};

const SOON: Duration = Duration::from_secs(30);
/// Some operations after its last heartbeat a rank is in another operation than that tells.
const SOME_OPERATIONS: Duration = Duration::from_millis(100);

/// Stops rank `stopped` of `num_ranks` in a long search: one of the others must name it in a warning and in the only error.
fn assert_named(num_ranks: usize, stopped: usize) {
    let folder = Folder::new();
    let long =
        ["--config", "search.toml", "--out", "run", "--set", "search.epochs=500", "--set", "search.global_batch=6"];
    let limits = ["--set", "parallel.stall_warning_seconds=1", "--set", "parallel.stall_abort_seconds=3"];
    let mut process = Process::start(&mut command(&folder, num_ranks, &[&long[..], &limits, &NCCL].concat()));
    (0..num_ranks).for_each(|rank| process.wait_for_heartbeat(&folder, "run", rank));
    thread::sleep(SOME_OPERATIONS);
    let heartbeat = folder.signal_rank("run", stopped, "STOP");
    let start = Instant::now();
    let output = process.end();
    let (_, stderr) = texts(&output);
    assert!(start.elapsed() < SOON, "{stderr}");
    assert_eq!(output.status.code(), Some(1), "{stderr}");

    let (hostname, process) = (heartbeat["hostname"].as_str().unwrap(), &heartbeat["process"]);
    let whom = format!(" s for rank {stopped} on {hostname} (process {process}), last seen ");
    let errors: Vec<_> = stderr.lines().filter(|line| line.contains("error: ")).collect();
    // Open MPI lets the stopped rank go on before it ends it, and then that rank may wait, too.
    let warnings: Vec<_> = stderr.lines().filter(|line| line.contains("WARN") && line.contains(&whom)).collect();
    assert_eq!((warnings.len(), errors.len()), (1, 1), "{stderr}");
    for line in [warnings[0], errors[0]] {
        assert!(line.contains("the all-reduce of ") && line.contains(" has waited "), "{line}");
        assert!(line.contains(&whom) && line.contains(" in stage 1, epoch "), "{line}");
    }
    assert!(errors[0].starts_with("error: ") && errors[0].contains("(parallel.stall_abort_seconds)"), "{}", errors[0]);
}

#[test]
fn rank_that_stops_answering_is_named_once_by_rank_0() {
    assert_named(3, 1);
}

#[test]
fn rank_0_that_stops_answering_is_named_by_another() {
    assert_named(2, 0);
}
