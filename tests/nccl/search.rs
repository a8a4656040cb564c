//! Whole searches whose ranks speak by the double: the same as by MPI, and as safe where the library fails.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::double::library_path;
use crate::program::{Folder, Outcome, texts};

const SYNCHRONISED: [&str; 2] = ["--set", "model.batch_norm=sync"];
pub const NCCL: [&str; 2] = ["--set", "parallel.communicator=nccl"];

/// A search on ranks with the double.
pub fn command(folder: &Folder, num_ranks: usize, arguments: &[&str]) -> Command {
    let mut command = folder.ranks_command(num_ranks, arguments);
    command.env("LD_LIBRARY_PATH", library_path()).env("NCCL_DOUBLE_LOG", folder.path("log"));
    command.env_remove("NCCL_DOUBLE_FAULT");
    command
}

/// What `run` came to, whatever carried its sums.
fn outcome(folder: &Folder, run: &str, communicator: &str) -> Outcome {
    let mut outcome = Outcome::of(&folder.path(run));
    assert_eq!(outcome.summary["communicator"].take(), Value::from(communicator));
    outcome
}

#[test]
fn search_by_nccl_is_the_search_by_mpi() {
    let folder = Folder::new();
    let start = |out| [&["--config", "search.toml", "--out", out][..], &SYNCHRONISED].concat();
    folder.search_on_ranks(2, &start("mpi"));
    let output = command(&folder, 2, &[start("nccl"), NCCL.to_vec()].concat()).output().unwrap();
    let (_, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    // It is never taken for the real one in silence.
    assert!(stderr.lines().all(|line| line.contains("NCCL is a test double")) && !stderr.is_empty(), "{stderr}");
    outcome(&folder, "nccl", "nccl").assert_same(&outcome(&folder, "mpi", "mpi"));
    let calls = fs::read_to_string(folder.path("log")).unwrap();
    assert!(calls.matches("ncclAllReduce").count() > 100 && calls.contains("ncclBroadcast"));
    assert!(!calls.contains("ncclCommAbort"), "{calls}");

    // A failure on the way ends all ranks with its cause, and the run goes on from what was saved, here by MPI.
    let sums_of_a_rank = calls.matches("ncclAllReduce").count() / 2;
    let mut failing = command(&folder, 2, &[start("failing"), NCCL.to_vec()].concat());
    let output = failing.env("NCCL_DOUBLE_FAULT", format!("error-after={}", sums_of_a_rank * 2 / 3)).output().unwrap();
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{stderr}"));
    assert!(error.contains("ncclAllReduce failed in the ") && error.contains("injected: connection closed"), "{error}");
    folder.search_on_ranks(2, &["--resume", "failing", "--set", "parallel.communicator=mpi"]);
    outcome(&folder, "failing", "mpi").assert_same(&outcome(&folder, "mpi", "mpi"));
}

#[test]
fn search_by_nccl_on_the_cpu_is_refused_without_the_double() {
    let folder = Folder::new();
    let arguments = [&["--config", "search.toml", "--out", "run", "--set", "run.device=cpu"][..], &NCCL].concat();
    let output = folder.ranks_command(2, &arguments).output().unwrap();
    let (_, stderr) = texts(&output);
    let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    let expected = "error: parallel.communicator = \"nccl\" cannot be used: it works on GPUs, and this run computes on \
                    the CPU; use \"mpi\" or \"auto\"";
    assert_eq!(errors, [expected], "{stderr}");
    assert!(!output.status.success() && !folder.path("run").exists());
}
