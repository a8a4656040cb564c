//! Jobs that lose their node, reach their time limit, are put back into the queue or taken out of it.

use std::path::Path;

use serde_json::Value;

use crate::cluster::{Cluster, held_run, release};
use crate::program::{Folder, Outcome, json, json_lines, step_lines};
use crate::{SEARCH, training};

const TRAIN: &str = "launch/slurm/train.sbatch";
/// A job of one rank beside another on a node.
const ONE_RANK: [&str; 3] = ["--nodes=1", "--ntasks-per-node=1", "--gpus-per-node=1"];
/// As many steps as leave time to be disturbed.
const LONG: [&str; 2] = ["--set", "train.epochs=6"];

fn num_starts(run: &Path) -> usize {
    json_lines(&run.join("environment.jsonl")).len()
}

fn status(run: &Path) -> Value {
    if run.join("summary.json").exists() { json(&run.join("summary.json"))["status"].clone() } else { Value::Null }
}

/// On one node a search and several trainings, which come to their limit, on the other a task of an array, which is cut off.
pub fn limits_are_reached_and_a_node_is_cut_off(cluster: &Cluster) {
    let (folder, train_folder) = (Folder::new(), training::folder());
    let train_config = train_folder.path("train.toml").display().to_string();

    let (array, array_run) = (folder.path("task"), folder.path("task-7"));
    let (variable, hold) = held_run(&array, 6);
    let (options, arguments) = (["--nodes=1", "--array=7"], ["--set", "run.seed=%a"]);
    let task = cluster.submit_with(SEARCH, &folder, &array, &options, &[(variable, &hold)], &arguments);
    task.hold(&array_run, 6, 2);
    let (seeds, first_seed) = (train_folder.path("seeds"), train_folder.path("seeds/seed0"));
    let (variable, hold) = held_run(&seeds, 3);
    let train_environment =
        [("PDARTS_CONFIG", train_config.as_str()), ("PDARTS_SEEDS", "0,1"), (variable, hold.as_str())];
    let trainings = cluster.submit_with(TRAIN, &train_folder, &seeds, &ONE_RANK, &train_environment, &LONG);
    let timed = folder.path("timed");
    // No signal before the limit: all that is left are the seconds between SIGTERM and SIGKILL.
    let (variable, hold) = held_run(&timed, 6);
    let options = [&ONE_RANK[..], &["--signal=B:CONT@1"]].concat();
    let search = cluster.submit(SEARCH, &folder, &timed, &options, &[(variable, &hold)]);
    let held = trainings.hold(&first_seed, 3, 1);
    search.hold(&timed, 6, 1);
    [&array, &seeds, &timed].into_iter().for_each(|run| release(run));
    assert_ne!(task.node(), trainings.node());
    let node = task.node();
    cluster.cut_off(&node);
    trainings.set_time_limit(2);
    search.reach_time_limit();

    trainings.go_on_with_signal(&held);
    trainings.set_time_limit(5);
    search.wait_for_state("TIMEOUT");
    // The ranks outlive the end of their job by a moment.
    search.wait_until("has saved", || status(&timed) == "stopped");
    task.wait_until_told("has lost its node", || !task.description().contains("JobState=RUNNING "));
    cluster.start_node(&node, &[]);
    let again = cluster.submit(SEARCH, &folder, &timed, &ONE_RANK, &[]);
    for job in [&trainings, &again, &task] {
        job.wait_for_state("COMPLETED");
    }

    let starts = [&first_seed, &seeds.join("seed1"), &timed, &array_run].map(|run| num_starts(run));
    assert_eq!(starts, [2, 1, 2, 2], "{}\n{}\n{}", trainings.output(), again.output(), task.output());
    folder.search_on_ranks(1, &["--config", "search.toml", "--out", "one"]);
    Outcome::of(&timed).assert_same(&Outcome::of(&folder.path("one")));
    folder.search_on_ranks(2, &["--config", "search.toml", "--out", "two", "--set", "run.seed=7"]);
    Outcome::of(&array_run).assert_same(&Outcome::of(&folder.path("two")));
    train_folder.search_on_ranks(1, &[&training::START[..], &LONG, &["--seeds", "0,1"]].concat());
    for seed in ["seed0", "seed1"] {
        Outcome::of(&seeds.join(seed)).assert_same(&Outcome::of(&train_folder.path("run").join(seed)));
    }
}

pub fn training_is_put_back_cancelled_and_submitted_again(cluster: &Cluster) {
    let folder = training::folder();
    let config = folder.path("train.toml").display().to_string();
    let run = folder.path("disturbed");
    let (variable, hold) = held_run(&run, 5);
    let environment = [("PDARTS_CONFIG", config.as_str()), (variable, hold.as_str())];
    let submit = || cluster.submit_with(TRAIN, &folder, &run, &["--nodes=1"], &environment, &LONG);
    let job = submit();
    job.hold(&run, 5, 2);
    release(&run);
    job.requeue();
    job.wait_until("has started again", || num_starts(&run) == 2);
    job.hold(&run, 10, 2);
    job.cancel();
    job.wait_for_state("CANCELLED");
    job.wait_until("has saved", || status(&run) == "stopped");
    let again = submit();
    again.wait_for_state("COMPLETED");
    assert_eq!(num_starts(&run), 3, "{}", again.output());
    folder.search_on_ranks(2, &[&training::START[..], &LONG].concat());
    Outcome::of(&run).assert_same(&Outcome::of(&folder.path("run")));
}

/// The images of all steps, in their order.
fn digests(run: &Path) -> Vec<[Value; 2]> {
    let keys = ["batch_digest", "alpha_batch_digest"];
    step_lines(run).iter().map(|line| keys.map(|key| line[key].clone())).collect()
}

pub fn elastic_job_goes_on_with_what_is_left_and_takes_back_what_returns(cluster: &Cluster) {
    let folder = Folder::new();
    let digest = ["--set", "run.digest_batches=true"];
    let run = folder.path("elastic");
    let job = cluster.submit_elastic(SEARCH, &folder, &run, &digest);
    job.hold(&run, 6, 4);
    // The script runs on the first.
    let processes = cluster.set_down("n2");
    job.wait_until("goes on without the node", || num_starts(&run) == 2);
    let held = job.hold(&run, 9, 2);
    assert_eq!(job.node(), "n1");
    cluster.start_node("n2", &processes);
    job.go_on_with_signal(&held);
    job.wait_for_state("COMPLETED");
    assert!(job.output().contains("a node is free: the job asks for more than 1"), "{}", job.output());
    let starts = json_lines(&run.join("environment.jsonl"));
    let ranks: Vec<u64> = starts.iter().map(|start| start["ranks"].as_u64().unwrap()).collect();
    assert_eq!(ranks, [4, 2, 4], "{}", job.output());
    assert_eq!(status(&run), "complete");
    // Each step has seen the images of an undisturbed run.
    folder.search_on_ranks(4, &[&["--config", "search.toml", "--out", "undisturbed"], &digest[..]].concat());
    assert_eq!(digests(&run), digests(&folder.path("undisturbed")));
}
