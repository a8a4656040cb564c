//! Searches whose ranks speak by the double, one of which is stopped: the others say whom they wait for, as by MPI.

use std::thread;
use std::time::{Duration, Instant};

use pdarts::world::activity::{self, Place};
use pdarts::world::{Label, ReduceOp, StallLimits, StallWatch, Watched};
use signal_hook::consts::SIGSTOP;
use signal_hook::low_level::raise;
use tch::{Device, Kind, Tensor};

use crate::double::{as_rank, meet, out, world};
use crate::failures::all_reduce;
use crate::program::{Folder, Process, names_who_is_waited_for, texts};
use crate::search::{NCCL, command};

const SOON: Duration = Duration::from_secs(90);
/// Some operations after its last heartbeat a rank is in another operation than that tells.
const SOME_OPERATIONS: Duration = Duration::from_millis(100);

/// Stops rank `stopped` of `num_ranks` in a long search: the others must name it in a warning and in every error, of which
/// there is one.
fn assert_named(num_ranks: usize, stopped: usize) {
    let folder = Folder::new();
    let long =
        ["--config", "search.toml", "--out", "run", "--set", "search.epochs=500", "--set", "search.global_batch=6"];
    let limits = ["--set", "parallel.stall_warning_seconds=3", "--set", "parallel.stall_abort_seconds=6"];
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
    let whom = format!("rank {stopped} on {hostname} (process {process}), last seen ");
    let names = |line: &str| names_who_is_waited_for(line, &whom);
    let errors: Vec<_> = stderr.lines().filter(|line| line.contains("error: ")).collect();
    // Open MPI lets the stopped rank go on before it ends it, and then that rank may wait, too; on a machine that is busy
    // the rank that is to speak may be silent for so long that another speaks for it, or both do at the same time.
    let warnings: Vec<_> = stderr.lines().filter(|line| line.contains("WARN") && names(line)).collect();
    assert!(!warnings.is_empty() && (1..num_ranks).contains(&errors.len()), "{stderr}");
    for line in errors.iter().copied().chain([warnings[0]]) {
        assert!(names(line), "{line}");
        assert!(line.contains(" in stage 1, epoch "), "{line}");
    }
    assert!(errors.iter().all(|error| error.contains("(parallel.stall_abort_seconds)")), "{stderr}");
}

#[test]
fn rank_that_stops_answering_is_named() {
    assert_named(3, 1);
}

#[test]
fn rank_0_that_stops_answering_is_named_by_another() {
    assert_named(2, 0);
}

/// Comes to more operations by MPI than the other, then stops itself before the third by NCCL.
#[test]
fn rank_that_stops() {
    as_rank("stalls::rank_that_stops", |ranks| {
        let mpi = ranks.host();
        let world = world(ranks, &[])?;
        let limits = StallLimits { warning: Duration::from_secs(2), abort: Duration::from_secs(8) };
        let _watch = StallWatch::start(&out().join("heartbeats"), &world, limits, Watched::Operations)?;
        activity::begin_step(Place { stage: 1, epoch: 2, step: 3 });
        let _span = activity::phase("backward");
        all_reduce(&world)?;
        all_reduce(&world)?;
        if world.rank == 1 {
            let tensor = Tensor::zeros([1], (Kind::Float, Device::Cpu));
            let _ahead = mpi.all_reduce(&tensor, ReduceOp::Sum, Label::new("meeting"))?;
            // Its heartbeats tell of all that.
            thread::sleep(limits.warning);
            // By a signal to this thread, from which it does not return. One to the process is met by any thread: on a
            // busy machine this one went on meanwhile and came to the sum, and nobody was left to name the other.
            raise(SIGSTOP)?;
        }
        all_reduce(&world)
    });
}

#[test]
fn stalled_sum_names_the_rank_that_is_behind_by_nccl_though_ahead_by_mpi() {
    let meeting = meet("stalls::rank_that_stops", 2, None);
    assert_eq!(meeting.exit_code, Some(1), "{}", meeting.stderr);
    let errors: Vec<_> = meeting.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{}", meeting.stderr);
    let told = [
        "the all-reduce of gradient bucket 2 has waited ",
        " s for rank 1 on ",
        "in stage 1, epoch 2, step 3: backward",
    ];
    assert!(told.iter().all(|what| errors[0].contains(what)), "{}", errors[0]);
}
