//! A whole search whose ranks speak by the double is the search whose ranks speak by MPI.

use std::fs;

use crate::double::library_path;
use crate::program::{Folder, Outcome, texts};

#[test]
fn search_by_nccl_is_the_search_by_mpi() {
    let folder = Folder::new();
    let arguments = |out| ["--config", "search.toml", "--out", out, "--set", "model.batch_norm=sync"];
    folder.search_on_ranks(2, &arguments("mpi"));
    let log = folder.path("log");
    let nccl = [&arguments("nccl")[..], &["--set", "parallel.communicator=nccl"]].concat();
    let mut command = folder.ranks_command(2, &nccl);
    command.env("LD_LIBRARY_PATH", library_path()).env("NCCL_DOUBLE_LOG", &log);
    let output = command.output().unwrap();
    let (_, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    // It is never taken for the real one in silence.
    assert!(stderr.lines().all(|line| line.contains("NCCL is a test double")) && !stderr.is_empty(), "{stderr}");
    Outcome::of(&folder.path("nccl")).assert_same(&Outcome::of(&folder.path("mpi")));
    let calls = fs::read_to_string(log).unwrap();
    assert!(calls.matches("ncclAllReduce").count() > 100 && calls.contains("ncclBroadcast"));
    assert!(!calls.contains("ncclCommAbort"), "{calls}");
}
