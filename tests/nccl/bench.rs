//! `pdarts bench allreduce` by MPI, by MPI's own call and by the double.

use serde_json::Value;

use crate::double::library_path;
use crate::program::{Folder, mpirun, texts};

fn bench(num_ranks: usize, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = mpirun();
    command.args(["-n", &num_ranks.to_string(), env!("CARGO_BIN_EXE_pdarts"), "bench", "allreduce", "--device", "cpu"]);
    command.args(arguments).env("LD_LIBRARY_PATH", library_path()).env_remove("RUST_LOG");
    let output = command.output().unwrap();
    let (stdout, stderr) = texts(&output);
    (output.status.code(), stdout, stderr)
}

#[test]
fn each_size_is_a_line_of_consistent_figures() {
    for (num_ranks, how) in [(2, vec![]), (2, vec!["--raw"]), (3, vec!["--communicator", "nccl"])] {
        let arguments = [&["--json", "--sizes", "4,64KiB,1MiB", "--repeats", "3"][..], &how].concat();
        let (code, stdout, stderr) = bench(num_ranks, &arguments);
        assert_eq!(code, Some(0), "{how:?}: {stderr}");
        let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let bytes: Vec<u64> = lines.iter().map(|line| line["bytes"].as_u64().unwrap()).collect();
        assert_eq!(bytes, [4, 64 << 10, 1 << 20]);
        for line in &lines {
            let number = |key: &str| line[key].as_f64().unwrap();
            let algbw = number("bytes") / number("seconds") / 1e9;
            assert!((number("algbw_gbps") / algbw - 1.0).abs() < 1e-6, "{line}");
            let factor = 2.0 * (num_ranks - 1) as f64 / num_ranks as f64;
            assert!((number("busbw_gbps") / (factor * algbw) - 1.0).abs() < 1e-6, "{line}");
        }
    }
    let (code, stdout, stderr) = bench(2, &["--sizes", "1KiB", "--repeats", "1"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("sums of float32 by mpi (rank 0 of 2") && stdout.contains("\n1024 "), "{stdout}");
}

#[test]
fn calls_that_cannot_work_are_refused() {
    let (code, _, stderr) = bench(2, &["--raw", "--communicator", "nccl"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("error: --raw is MPI's own call, the ranks use nccl"), "{stderr}");
    let output = Folder::new().command(&["bench", "allreduce"]).output().unwrap();
    let (_, stderr) = texts(&output);
    assert!(output.status.code() == Some(2) && stderr.contains("nothing to sum on a single rank"), "{stderr}");
}
