//! Whether devices compute what they should: `pdarts doctor --numerics`, and the refusal to start a run on wrong numbers.

#[path = "program/mod.rs"]
mod program;

use std::process::{Command, Output};

use program::{Folder, mpirun, texts};
use serde_json::Value;

const FAULT: &str = "PDARTS_FAULT";

fn doctor(arguments: &[&str], fault: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pdarts"));
    command.args(["doctor", "--numerics", "--device", "cpu"]).args(arguments).env_remove(FAULT);
    // Thousands of short operations: threads that wait for each other beside another such process take ten times as long.
    command.env("OMP_NUM_THREADS", "1");
    command.envs(fault.map(|operation| (FAULT, format!("numerics@{operation}")))).output().unwrap()
}

#[test]
fn every_operation_is_a_row_and_right_on_this_cpu() {
    let output = doctor(&["--json"], None);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["right"], true);
    let rows = report["ranks"][0]["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["operation"].as_str().unwrap()).collect();
    for operation in [
        "max_pool_3x3, stride 1",
        "avg_pool_3x3, stride 2",
        "sep_conv_5x5, stride 2",
        "dil_conv_3x3, stride 1",
        "weighted sum of normalised operations",
        "BatchNorm over ranks",
        "factorized reduction",
        "cross-entropy",
        "supernet of ImageNet",
        "CIFAR network of PDARTS_C10",
        "clipped steps of LAMB",
    ] {
        assert!(names.iter().any(|name| name.starts_with(operation)), "no {operation}: {names:?}");
    }
    // Both kinds of kernels computed, or all errors would be zero; single precision rounds.
    let error = |row: &Value| row["error"].as_f64().unwrap();
    let of = |precision: &'static str| rows.iter().filter(move |row| row["precision"] == precision).map(error);
    assert!(of("float64").any(|error| error > 0.0) && of("float64").all(|error| error < 1e-10));
    assert!(of("float32").filter(|&error| error > 1e-9).count() > 50);
}

#[test]
fn wrong_operation_is_told_in_its_row_and_by_the_exit_code() {
    let output = doctor(&[], Some("avg_pool_3x3, stride 1, 2 x 8 x 8 x 8"));
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let wrong: Vec<&str> = stdout.lines().filter(|line| line.ends_with("WRONG")).collect();
    assert_eq!(wrong.len(), 3, "{stdout}");
    assert!(wrong.iter().all(|line| line.starts_with("avg_pool_3x3, stride 1, 2 x 8 x 8 x 8 ")), "{wrong:?}");
    assert!(stdout.trim_end().ends_with(" computations, 3 wrong"), "{stdout}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("error: cpu computes avg_pool_3x3, stride 1"), "{stderr}");
}

#[test]
fn run_on_wrong_numbers_is_refused_unless_it_shall_not_look() {
    let folder = Folder::new();
    let arguments = ["--config", "search.toml", "--out", "run", "--set", "search.epochs=1"];
    let search = |more: &[&str]| {
        let mut command = folder.alone_command(&[&arguments[..], more].concat());
        command.env(FAULT, "numerics@supernet").output().unwrap()
    };
    let output = search(&[]);
    let (_, stderr) = texts(&output);
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.starts_with("error: cpu computes supernet wrongly in float64"), "{stderr}");
    assert!(stderr.contains("libtorch 2.") && stderr.contains("run.check_numerics = false"), "{stderr}");
    assert!(!folder.path("run").exists());

    let output = search(&["--set", "run.check_numerics=false"]);
    let (_, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("numbers of cpu are not checked (run.check_numerics = false)"), "{stderr}");
}

#[test]
fn wrong_numbers_of_one_rank_end_all_ranks_with_its_name() {
    let folder = Folder::new();
    let mut command = mpirun();
    for (rank, fault) in ["numerics@nothing", "numerics@supernet"].iter().enumerate() {
        if rank > 0 {
            command.arg(":");
        }
        command.args(["-n", "1", "env", &format!("{FAULT}={fault}"), env!("CARGO_BIN_EXE_pdarts"), "search"]);
        command.args(["--config", "search.toml", "--out", "run"]);
    }
    let output = command.current_dir(folder.path("")).env("RUST_LOG", "warn").output().unwrap();
    let (_, stderr) = texts(&output);
    assert!(!output.status.success());
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    assert!(errors[0].contains("rank 1 on ") && errors[0].contains("cpu computes supernet wrongly"), "{}", errors[0]);
    assert!(!folder.path("run").exists());
}
