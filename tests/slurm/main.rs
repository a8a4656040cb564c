//! The SLURM scripts on a real SLURM: a cluster of two nodes on this machine, started and ended here.

mod cluster;
mod losses;
mod pipeline;
#[path = "../program/mod.rs"]
mod program;
#[path = "../train/training.rs"]
mod training;

use std::fs;
use std::path::Path;
use std::process::Command;

use cluster::{Cluster, Job, held_run, release};
use program::{Folder, Outcome, json, json_lines, step_lines};
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
    losses::limits_are_reached_and_a_node_is_cut_off(&cluster);
    losses::training_is_put_back_cancelled_and_submitted_again(&cluster);
    losses::elastic_job_goes_on_with_what_is_left_and_takes_back_what_returns(&cluster);
    let folder = Folder::new();
    let four_ranks = uninterrupted(&folder, 4);
    job_on_one_node_is_signalled_returns_to_the_queue_and_completes(&cluster, &folder);
    job_on_two_nodes_completes_under_mpirun(&cluster, &folder, &four_ranks);
    job_that_loses_a_rank_fails_and_goes_on_when_submitted_again(&cluster, &folder, &four_ranks);
    refused_configuration_ends_the_job_with_its_exit_code(&cluster, &folder);
    tasks_of_an_array_have_runs_of_their_own_and_return_to_the_queue_alone(&cluster, &folder);
    pipeline::missing_inputs_are_named_and_nothing_is_submitted(&cluster);
    pipeline::search_and_both_trainings_follow_each_other_through_the_queue(&cluster);
    pipeline::failed_search_leaves_no_job_behind(&cluster);
}

fn job_on_one_node_is_signalled_returns_to_the_queue_and_completes(cluster: &Cluster, folder: &Folder) {
    let run = folder.path("signalled");
    let (variable, hold) = held_run(&run, 6);
    let job = cluster.submit(SEARCH, folder, &run, &["--nodes=1"], &[(variable, &hold)]);
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
    let (variable, hold) = held_run(&run, 6);
    let job = cluster.submit(SEARCH, folder, &run, &["--nodes=2"], &[(variable, &hold)]);
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

fn tasks_of_an_array_have_runs_of_their_own_and_return_to_the_queue_alone(cluster: &Cluster, folder: &Folder) {
    const TASKS: [usize; 2] = [3, 5];
    let options = ["--nodes=1", "--array=3,5"];
    let seed = ["--set", "run.seed=%a"];
    let (variable, hold) = held_run(&folder.path("array"), 2);
    let job = cluster.submit_with(SEARCH, folder, &folder.path("array"), &options, &[(variable, &hold)], &seed);
    let runs = TASKS.map(|task| folder.path(&format!("array-{task}")));
    let summary =
        |run: &Path| if run.join("summary.json").exists() { json(&run.join("summary.json")) } else { Value::Null };
    job.wait_until("have taken steps", || runs.iter().all(|run| step_lines(run).len() >= 2));
    // The last task to start has the number of the whole array.
    job.signal_task(TASKS[1], "USR1");
    job.wait_until("has been saved", || summary(&runs[1])["status"] != Value::Null);
    release(&folder.path("array"));
    job.wait_until("are complete", || runs.iter().all(|run| summary(run)["status"] == "complete"));
    let starts = runs.each_ref().map(|run| json_lines(&run.join("environment.jsonl")).len());
    assert_eq!(starts, [1, 2], "{}", job.output());
    for (run, task) in runs.iter().zip(TASKS) {
        let config = fs::read_to_string(run.join("config.toml")).unwrap();
        assert!(config.contains(&format!("seed = {task}\n")), "{config}");
    }
    assert!(!folder.path("array").exists());
}
