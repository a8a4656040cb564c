//! The SLURM scripts on a real SLURM: a cluster of two nodes on this machine, started and ended here.

mod cluster;
#[path = "../program/mod.rs"]
mod program;

use std::process::Command;

use cluster::{Cluster, Job};
use program::{Folder, Outcome, json, step_lines};
use serde_json::Value;

const SEARCH: &str = "launch/slurm/search.sbatch";

/// What a search on `num_ranks` ranks comes to under mpirun, without a batch system.
fn uninterrupted(folder: &Folder, num_ranks: usize) -> Outcome {
    let out = format!("uninterrupted{num_ranks}");
    folder.search_on_ranks(num_ranks, &["--config", "search.toml", "--out", &out]);
    Outcome::of(&folder.path(&out))
}

/// One test, because its parts share the cluster.
#[test]
fn jobs_end_with_what_the_same_ranks_find_elsewhere() {
    let cluster = Cluster::start();
    let folder = Folder::new();
    let four_ranks = uninterrupted(&folder, 4);
    job_on_one_node_is_signalled_returns_to_the_queue_and_completes(&cluster, &folder);
    job_on_two_nodes_completes_under_mpirun(&cluster, &folder, &four_ranks);
    job_that_loses_a_rank_fails_and_goes_on_when_submitted_again(&cluster, &folder, &four_ranks);
    refused_configuration_ends_the_job_with_its_exit_code(&cluster, &folder);
}

fn job_on_one_node_is_signalled_returns_to_the_queue_and_completes(cluster: &Cluster, folder: &Folder) {
    let run = folder.path("signalled");
    let job = cluster.submit(SEARCH, folder, &run, &["--nodes=1"], &[]);
    job.wait_until("has taken steps", || step_lines(&run).len() >= 6);
    // What SLURM does before the time limit: it signals the batch script alone.
    job.signal_script("USR1");
    job.wait_until("has been saved", || run.join("summary.json").exists());
    job.wait_until("is back in the queue", || job.output().contains("back to the queue"));
    job.wait_for_state("COMPLETED");
    let output = job.output();
    assert!(output.contains("start 1") && output.contains("start 2"), "{output}");
    assert_eq!(json(&run.join("summary.json"))["status"], "complete", "{output}");
    Outcome::of(&run).assert_same(&uninterrupted(folder, 2));
}

fn job_on_two_nodes_completes_under_mpirun(cluster: &Cluster, folder: &Folder, expected: &Outcome) {
    let run = folder.path("mpirun");
    let job = cluster.submit(SEARCH, folder, &run, &["--nodes=2"], &[("PDARTS_LAUNCHER", "mpirun")]);
    job.wait_for_state("COMPLETED");
    let outcome = Outcome::of(&run);
    assert_eq!(outcome.summary["ranks"], Value::from(4));
    outcome.assert_same(expected);
}

fn job_that_loses_a_rank_fails_and_goes_on_when_submitted_again(
    cluster: &Cluster,
    folder: &Folder,
    expected: &Outcome,
) {
    let run = folder.path("killed");
    let job = cluster.submit(SEARCH, folder, &run, &["--nodes=2"], &[]);
    job.wait_until("has taken steps", || step_lines(&run).len() >= 6);
    let process = json(&run.join("heartbeats/rank00003.json"))["process"].to_string();
    assert!(Command::new("kill").args(["-KILL", &process]).status().unwrap().success());
    job.wait_for_state("FAILED");
    let again = cluster.submit(SEARCH, folder, &run, &["--nodes=2"], &[]);
    again.wait_for_state("COMPLETED");
    Outcome::of(&run).assert_same(expected);
}

fn refused_configuration_ends_the_job_with_its_exit_code(cluster: &Cluster, folder: &Folder) {
    let run = folder.path("refused");
    let missing = folder.path("missing.toml").display().to_string();
    let job: Job = cluster.submit(SEARCH, folder, &run, &["--nodes=1"], &[("PDARTS_CONFIG", &missing)]);
    job.wait_for_state("FAILED");
    assert!(job.description().contains("ExitCode=2:0"), "{}", job.description());
    assert_eq!(job.output().lines().filter(|line| line.starts_with("error: ")).count(), 1, "{}", job.output());
}
