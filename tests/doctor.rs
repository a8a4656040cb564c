//! `pdarts doctor`, alone and under mpirun.

#[path = "program/mod.rs"]
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};
use std::thread;

use program::{mpirun, texts};
use serde_json::Value;

/// What launchers set, which the tests may themselves have been started under.
const LAUNCHER_VARIABLES: [&str; 6] =
    ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_ID"];

/// What bounds the number of threads.
const BOUNDS: [&str; 3] = ["OMP_NUM_THREADS", "SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK"];

fn doctor(arguments: &[&str]) -> Output {
    doctor_in(arguments, &[])
}

fn doctor_in(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pdarts"));
    for name in LAUNCHER_VARIABLES.iter().chain(&BOUNDS) {
        command.env_remove(name);
    }
    command.arg("doctor").args(arguments).envs(variables.iter().copied()).output().unwrap()
}

/// The number of threads that a run would take, and what bounds it.
fn threads(output: &Output) -> (u64, String) {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rank = &report["ranks"][0];
    (rank["threads"].as_u64().unwrap(), rank["thread_bound"].as_str().unwrap().to_owned())
}

fn doctor_on_two_ranks(arguments: &[&str]) -> Output {
    mpirun().args(["-n", "2", env!("CARGO_BIN_EXE_pdarts"), "doctor"]).args(arguments).output().unwrap()
}

fn has_driver() -> bool {
    Path::new("/proc/driver/nvidia/version").exists()
}

#[test]
fn machine_is_described_without_a_launcher() {
    let output = doctor(&[]);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "");
    for line in
        ["pdarts", "libtorch", "driver", "CUDA", "GPUs", "NCCL", "MPI", "launcher", "SLURM", "threads", "launch", "sum"]
    {
        assert!(stdout.lines().any(|found| found.split_whitespace().next() == Some(line)), "no {line}: {stdout}");
    }
    assert!(stdout.contains("1 rank(s) on 1 node(s)") && stdout.contains("nothing to sum"), "{stdout}");
}

#[test]
fn json_holds_every_finding() {
    let output = doctor(&["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["num_ranks"], &report["num_nodes"]), (&1.into(), &1.into()));
    let rank = &report["ranks"][0];
    assert!(rank["libtorch"]["text"].as_str().unwrap().starts_with("2."), "{rank}");
    assert!(rank["cores"].as_u64().unwrap() > 0 && rank["threads"].as_u64().unwrap() > 0, "{rank}");
    assert_eq!(rank["cuda"]["works"], rank["driver"]["works"], "{rank}");
    assert_eq!(rank["mpi"]["works"], false);
}

#[test]
fn threads_are_bounded_by_what_the_environment_allows() {
    let cores = thread::available_parallelism().unwrap().get() as u64;
    let json = |variables: &[(&str, &str)]| threads(&doctor_in(&["--json"], variables));
    assert_eq!(json(&[]).0, cores);
    if cores == 1 {
        println!("SKIPPED: a single core cannot be bounded");
        return;
    }
    assert_eq!(json(&[]).1, "cores");
    assert_eq!(json(&[("OMP_NUM_THREADS", "1")]), (1, "omp_num_threads".into()));
    assert_eq!(json(&[("OMP_NUM_THREADS", "1,2")]), (1, "omp_num_threads".into()));
    assert_eq!(json(&[("OMP_NUM_THREADS", ""), ("SLURM_CPUS_ON_NODE", "")]), (cores, "cores".into()));
    assert_eq!(json(&[("OMP_NUM_THREADS", "4000")]), (cores, "cores".into()));
    assert_eq!(json(&[("SLURM_CPUS_ON_NODE", "1")]), (1, "slurm".into()));
    let (stdout, _) = texts(&doctor_in(&[], &[("OMP_NUM_THREADS", "1")]));
    assert!(stdout.contains("threads   1, bounded by OMP_NUM_THREADS\n"), "{stdout}");
}

/// A control group with one processor's time, if this process may make one; removed when dropped.
struct Quota(PathBuf);

impl Quota {
    fn of_one_processor() -> Option<Self> {
        let version1 = ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "100000");
        let version2 = ("/sys/fs/cgroup", "cpu.max", "100000 100000");
        [version1, version2].into_iter().find_map(|(root, file, quota)| {
            let group = Path::new(root).join(format!("pdarts-test-{}", process::id()));
            fs::create_dir(&group).ok()?;
            let group = Self(group);
            // Not by creating it: the file is there where the processor can be bounded.
            let exists = group.0.join(file).exists();
            (exists && fs::write(group.0.join(file), quota).is_ok()).then_some(group)
        })
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn threads_are_bounded_by_the_quota_of_a_container() {
    let quota = Quota::of_one_processor();
    let Some(Quota(group)) = &quota else {
        println!("SKIPPED: this process may not make control groups for the processor");
        return;
    };
    let script =
        format!("echo $$ >{}/cgroup.procs && exec {} doctor --json", group.display(), env!("CARGO_BIN_EXE_pdarts"));
    let mut command = Command::new("sh");
    for name in LAUNCHER_VARIABLES.iter().chain(&BOUNDS) {
        command.env_remove(name);
    }
    let output = command.args(["-c", &script]).output().unwrap();
    let cores = thread::available_parallelism().unwrap().get();
    assert_eq!(threads(&output), (1, if cores == 1 { "cores" } else { "cpu_quota" }.into()));
}

#[test]
fn ranks_of_mpirun_are_one_table_and_sum() {
    let output = doctor_on_two_ranks(&["--require", "mpi"]);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout.matches("libtorch ").count(), 1, "{stdout}");
    assert!(stdout.contains("2 rank(s) on 1 node(s)") && stdout.contains("Open MPI's mpirun"), "{stdout}");
    for place in ["0 of 2", "1 of 2"] {
        assert_eq!(stdout.matches(place).count(), 1, "{stdout}");
    }
    assert!(stdout.contains("1 MiB of float32 by "), "{stdout}");
}

#[test]
fn mpi_without_a_launcher_is_refused_with_the_reason() {
    let output = doctor(&["--require", "mpi"]);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout.starts_with("pdarts"), "{stdout}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("error: mpi does not work: ") && stderr.contains("mpirun"), "{stderr}");
}

#[test]
fn gpus_without_a_driver_are_refused_with_the_reason() {
    if has_driver() {
        println!("SKIPPED: this machine has an NVIDIA driver");
        return;
    }
    for what in ["cuda", "nccl", "cuda,nccl"] {
        let output = doctor(&["--require", what]);
        let (_, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(what == "nccl" || stderr.contains("no NVIDIA driver is loaded"), "{stderr}");
    }
}

#[test]
fn ranks_tell_a_refusal_once() {
    if has_driver() {
        println!("SKIPPED: this machine has an NVIDIA driver");
        return;
    }
    let output = doctor_on_two_ranks(&["--require", "cuda"]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.matches("error: cuda does not work on rank 0").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("error:").count(), 1, "{stderr}");
}

#[test]
fn unknown_requirement_is_a_wrong_call() {
    assert_eq!(doctor(&["--require", "rocm"]).status.code(), Some(2));
}
