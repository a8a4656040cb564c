//! Whole searches on ranks: the same twice, resumed as uninterrupted, also on another number of ranks.

use std::fs;
use std::sync::LazyLock;

use serde_json::Value;

use crate::program::{Folder, Outcome, json, step_lines};

const START: [&str; 4] = ["--config", "search.toml", "--out", "run"];

/// The ranks are compared after every step.
const CHECKED: [&str; 2] = ["--set", "parallel.check_every_steps=1"];

/// Of an uninterrupted search on two ranks, which all tests share.
pub static UNINTERRUPTED_ON_TWO: LazyLock<Outcome> = LazyLock::new(|| {
    let folder = Folder::new();
    folder.search_on_ranks(2, &[&START[..], &CHECKED].concat());
    Outcome::of(&folder.path("run"))
});

#[test]
fn one_mpi_rank_is_a_plain_process() {
    let folder = Folder::new();
    folder.search(&["--config", "search.toml", "--out", "plain"]);
    folder.search_on_ranks(1, &START);
    let [plain, mpi] = ["plain", "run"].map(|run| Outcome::of(&folder.path(run)));
    mpi.assert_same(&plain);
}

#[test]
fn same_command_on_ranks_gives_the_same_search() {
    let folder = Folder::new();
    folder.search_on_ranks(2, &[&START[..], &CHECKED].concat());
    let again = Outcome::of(&folder.path("run"));
    again.assert_same(&UNINTERRUPTED_ON_TWO);
    assert_eq!((&again.summary["ranks"], &again.summary["communicator"]), (&Value::from(2), &Value::from("mpi")));
    assert!(!folder.path("run/heartbeats").read_dir().unwrap().any(|_| true), "heartbeats are removed at the end");
}

#[test]
fn stopped_ranks_resume_as_if_nothing_had_been() {
    let folder = Folder::new();
    let mut process = folder.start_held(folder.ranks_command(2, &START), "run", 6);
    process.signal_launcher("USR1");
    let output = process.end();
    assert!(!output.status.success());
    assert_eq!(json(&folder.path("run/summary.json"))["status"], "stopped");
    folder.search_on_ranks(2, &["--resume", "run"]);
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED_ON_TWO);
}

#[test]
fn search_resumes_on_another_number_of_ranks() {
    let folder = Folder::new();
    let mut process = folder.start_held(folder.ranks_command(2, &START), "run", 6);
    process.signal_launcher("USR1");
    process.end();
    let steps = step_lines(&folder.path("run")).len();
    folder.search(&["--resume", "run"]);
    let summary = json(&folder.path("run/summary.json"));
    assert_eq!((&summary["status"], &summary["ranks"]), (&Value::from("complete"), &Value::from(1)));
    assert!(step_lines(&folder.path("run")).len() > steps);
}

#[test]
fn trace_shows_buckets_reduced_while_backward_goes_on() {
    let folder = Folder::new();
    let small = "parallel.first_bucket_mib=0.001";
    let others = "parallel.bucket_mib=0.01";
    folder.search_on_ranks(
        2,
        &["--config", "search.toml", "--out", "run", "--trace", "trace.json", "--set", small, "--set", others],
    );
    let trace: Value = serde_json::from_slice(&fs::read(folder.path("trace.json")).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let [first, second] = [0, 1].map(|rank| -> Vec<bool> {
        let spans = |name: &str| -> Vec<(f64, f64)> {
            let named = events.iter().filter(|event| event["pid"] == rank && event["name"] == name);
            named.map(|event| (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap())).collect()
        };
        let backward = spans("backward");
        let inside = |(begin, length): &(f64, f64)| {
            backward.iter().any(|(start, duration)| start < begin && begin + length < start + duration)
        };
        spans("all-reduce of gradient bucket 0").iter().map(inside).collect()
    });
    assert_eq!(first.len(), second.len());
    // The rank that comes to a sum last has it done at once, in the middle of its own backward pass; on a busy machine the other
    // may have been waiting behind its own.
    let hidden = first.iter().zip(&second).filter(|(first, second)| **first || **second).count();
    assert!(hidden * 2 > first.len(), "{hidden} of {} first buckets hidden: {first:?}, {second:?}", first.len());
}
