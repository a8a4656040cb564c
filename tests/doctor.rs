//! `pdarts doctor`: alone, on two ranks, and what it requires.

#[path = "program/mod.rs"]
mod program;

use std::process::{Command, Output};

use program::{mpirun, texts};
use serde_json::Value;

fn alone(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pdarts")).arg("doctor").args(arguments).output().unwrap()
}

fn on_two_ranks(arguments: &[&str]) -> Output {
    mpirun().args(["-n", "2", env!("CARGO_BIN_EXE_pdarts"), "doctor"]).args(arguments).output().unwrap()
}

#[test]
fn process_on_its_own_is_described_without_mpi_daemons() {
    let output = alone(&[]);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    for expected in ["libtorch   2.13", "MPI        Open MPI", "none: a process on its own", "1 on 1 machines"] {
        assert!(stdout.contains(expected), "{expected}: {stdout}");
    }
}

#[test]
fn ranks_are_one_table_with_the_time_of_an_all_reduce() {
    let output = on_two_ranks(&["--json", "--require", "mpi"]);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    let findings: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(findings["ranks"].as_array().unwrap().len(), 2);
    assert_eq!(findings["ranks"][1]["local_rank"], 1);
    assert_eq!(findings["all_reduce"]["communicator"], "mpi");
    assert!(findings["all_reduce"]["milliseconds"].as_f64().unwrap() > 0.0);
    assert!(findings["mpi"].as_str().unwrap().contains("threads"), "{stdout}");
}

#[test]
fn what_is_required_and_does_not_work_is_one_line_and_exit_code_1() {
    if std::path::Path::new("/proc/driver/nvidia/version").exists() {
        println!("SKIPPED: this machine has an NVIDIA driver");
    } else {
        for output in [alone(&["--require", "cuda"]), on_two_ranks(&["--require", "cuda,mpi"])] {
            let (_, stderr) = texts(&output);
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
            assert_eq!(errors.len(), 1, "{stderr}");
            assert!(errors[0].contains("cuda does not work on rank 0") && errors[0].contains("no NVIDIA driver"));
        }
    }
    if !std::path::Path::new("/proc/driver/nvidia/version").exists() {
        // Whether or not the library is installed.
        let output = alone(&["--require", "nccl"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(texts(&output).1.starts_with("error: nccl does not work on rank 0"));
    }
    let (_, stderr) = texts(&alone(&["--require", "mpi"]));
    assert!(stderr.starts_with("error: mpi does not work here"), "{stderr}");
}
