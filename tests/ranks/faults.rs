//! Ranks that are killed, stop answering or panic: all end soon, with the cause, and nothing saved is lost.

use std::time::{Duration, Instant};

use pdarts::cli::guard;
use pdarts::world::{Label, Ranks};

use crate::program::{Folder, Outcome, mpirun, names_who_is_waited_for, texts};
use crate::runs::UNINTERRUPTED_ON_TWO;

/// A long search on two ranks.
const ARGUMENTS: [&str; 6] = ["--config", "search.toml", "--out", "run", "--set", "search.epochs=500"];
const SOON: Duration = Duration::from_secs(90);

#[test]
fn killed_rank_ends_the_others_and_the_run_resumes() {
    let folder = Folder::new();
    let call = folder.ranks_command(2, &["--config", "search.toml", "--out", "run"]);
    let mut process = folder.start_held(call, "run", 6);
    process.wait_for_checkpoint(&folder.path("run"));
    folder.signal_rank("run", 1, "KILL");
    folder.release();
    let start = Instant::now();
    let output = process.end();
    assert!(start.elapsed() < SOON && !output.status.success());
    folder.search_on_ranks(2, &["--resume", "run"]);
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED_ON_TWO);
}

#[test]
fn rank_that_stops_answering_is_named_and_the_run_is_ended() {
    let folder = Folder::new();
    let limits = ["--set", "parallel.stall_warning_seconds=3", "--set", "parallel.stall_abort_seconds=6"];
    let mut process = folder.start_on_ranks(2, &[&ARGUMENTS[..], &limits].concat());
    process.wait_for_heartbeat(&folder, "run", 1);
    folder.signal_rank("run", 1, "STOP");
    let start = Instant::now();
    let output = process.end();
    let (_, stderr) = texts(&output);
    assert!(start.elapsed() < SOON && !output.status.success(), "{stderr}");
    for what in ["WARN", "error: "] {
        // On a busy machine a rank may have waited for another so long before.
        let mut lines = stderr.lines().filter(|line| line.contains(what) && line.contains("in stage 1, epoch "));
        assert!(lines.any(|line| names_who_is_waited_for(line, "rank 1 on ")), "{what}: {stderr}");
    }
}

#[test]
fn rank_0_that_stops_answering_is_named_by_another() {
    let folder = Folder::new();
    let limits = ["--set", "parallel.stall_warning_seconds=1", "--set", "parallel.stall_abort_seconds=4"];
    let mut process = folder.start_on_ranks(2, &[&ARGUMENTS[..], &limits].concat());
    process.wait_for_heartbeat(&folder, "run", 0);
    folder.signal_rank("run", 0, "STOP");
    let start = Instant::now();
    let (_, stderr) = texts(&process.end());
    assert!(start.elapsed() < SOON, "{stderr}");
    let named = |line: &str| line.starts_with("error: ") && names_who_is_waited_for(line, "rank 0 on ");
    assert!(stderr.lines().any(named), "{stderr}");
}

const PANIC: &str = "PDARTS_TEST_PANIC";

/// What the next test runs under mpirun: rank 1 panics while the others wait for it.
#[test]
fn panicking_rank() {
    if std::env::var_os(PANIC).is_none() {
        // On its own there is nobody to take along.
        assert_eq!(Ranks::join().unwrap().size, 1);
        return;
    }
    let _code = guard(|| {
        let ranks = Ranks::join()?;
        assert!(ranks.rank != 1, "injected");
        ranks.gather(&0, Label::new("meeting"))?;
        Ok(0)
    });
}

#[test]
fn panic_of_a_rank_ends_all_with_its_place() {
    let mut command = mpirun();
    command.args(["-n", "3"]).arg(std::env::current_exe().unwrap()).env(PANIC, "1");
    let start = Instant::now();
    let output = command.args(["--exact", "faults::panicking_rank", "--nocapture"]).output().unwrap();
    let (_, stderr) = texts(&output);
    assert!(start.elapsed() < SOON, "{stderr}");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let lines: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    assert!(lines[0].contains("rank 1 on ") && lines[0].contains("faults.rs") && lines[0].contains("injected"));
}
