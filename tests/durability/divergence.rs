//! Steps whose images are made NaN on one rank: stopped with a message, dropped, or gone back from.

use std::fs;

use crate::program::{Folder, Outcome, json, json_lines, texts};
use crate::tasks::{Task, command};

const POISONED_STEP: usize = 6;

/// A run with a poisoned step on the last of `num_ranks` ranks; its folder, exit code and stderr.
fn poisoned(task: Task, num_ranks: usize, policy: &str, arguments: &[&str]) -> (Folder, Option<i32>, String) {
    let folder = task.folder();
    let policy = format!("run.on_divergence={policy}");
    let arguments = [&task.start()[..], &["--set", &policy], arguments].concat();
    let fault = format!("nan@{POISONED_STEP}:{}", num_ranks - 1);
    let output = command(&folder, num_ranks, &arguments).env("PDARTS_FAULT", fault).output().unwrap();
    let code = output.status.code();
    (folder, code, texts(&output).1)
}

fn incidents(folder: &Folder) -> Vec<serde_json::Value> {
    let lines = json_lines(&folder.path("run/metrics.jsonl"));
    lines.into_iter().filter(|line| line["kind"] == "dropped" || line["kind"] == "rewound").collect()
}

/// The page tells it, and takes no line for a damaged one.
fn assert_told(folder: &Folder, sentence: &str) {
    let page = fs::read_to_string(folder.path("run/report.html")).unwrap();
    assert!(page.contains(sentence) && !page.contains("damaged"), "{page}");
}

#[test]
fn by_default_the_run_stops_and_names_step_rank_and_tensor() {
    for (task, num_ranks) in [(Task::Search, 2), (Task::Train, 1)] {
        let (folder, code, stderr) = poisoned(task, num_ranks, "stop", &[]);
        assert_eq!(code, Some(1), "{stderr}");
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{stderr}");
        let error = errors[0];
        let rank = if num_ranks == 1 { "" } else { " on rank 1" };
        assert!(error.contains(&format!("loss became NaN{rank} in ")), "{error}");
        assert!(
            error.contains(&format!(", at step {POISONED_STEP} (the first gradient that is not finite: ")),
            "{error}"
        );
        assert!(error.contains("lower optimizer") && error.contains("run.on_divergence=rewind"), "{error}");
        assert!(error.contains(&format!("pdarts {} --resume run", task.name())), "{error}");
        folder.wait_until_left();
        // Nothing was lost: without the fault the run goes on as if it had not been.
        let output = command(&folder, num_ranks, &["--resume", "run"]).output().unwrap();
        assert!(output.status.success(), "{}", texts(&output).1);
        Outcome::of(&folder.path("run")).assert_same(&task.undisturbed(num_ranks));
    }
}

#[test]
fn a_dropped_step_leaves_everything_as_it_was() {
    for (task, num_ranks) in [(Task::Search, 1), (Task::Train, 2)] {
        let (folder, code, stderr) = poisoned(task, num_ranks, "skip", &[]);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains("is not finite") || stderr.contains("loss became NaN"), "{stderr}");
        assert!(stderr.lines().count() == 1 && stderr.contains(": the step is dropped"), "{stderr}");
        let found = incidents(&folder);
        assert_eq!((found.len(), &found[0]["kind"], &found[0]["step"]), (1, &"dropped".into(), &POISONED_STEP.into()));
        let summary = json(&folder.path("run/summary.json"));
        assert_eq!((&summary["status"], &summary["dropped_steps"]), (&"complete".into(), &1.into()));
        // The numbers of all other steps are finite, and their images those of an undisturbed run.
        let numbers = json_lines(&folder.path("run/metrics.jsonl"));
        assert!(numbers.iter().all(|line| line["kind"] == "dropped" || line["train_loss"].is_f64()), "{numbers:?}");
        assert_told(&folder, "1 step was dropped: ");
        let undisturbed = task.undisturbed(num_ranks);
        let until = |metrics: &[serde_json::Value]| metrics[..POISONED_STEP - 1].to_vec();
        assert_eq!(until(&Outcome::of(&folder.path("run")).metrics), until(&undisturbed.metrics));
    }
}

#[test]
fn a_run_goes_back_to_its_last_checkpoint_and_sees_other_images() {
    for (task, num_ranks) in [(Task::Search, 2), (Task::Train, 1)] {
        let (folder, code, stderr) = poisoned(task, num_ranks, "rewind", &[]);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.lines().count() == 1 && stderr.contains(": back to the checkpoint after step 4"), "{stderr}");
        let summary = json(&folder.path("run/summary.json"));
        assert_eq!((&summary["status"], &summary["rewinds"]), (&"complete".into(), &1.into()));
        let lines = json_lines(&folder.path("run/metrics.jsonl"));
        let losses: Vec<&serde_json::Value> = lines
            .iter()
            .filter(|line| line["kind"] == "steps" && line["step"] == POISONED_STEP - 1)
            .map(|line| &line["train_loss"])
            .collect();
        assert!(losses.len() == 2 && losses[0] != losses[1], "{losses:?}");
        assert_told(&folder, "It went back to a checkpoint once: ");
    }
}

#[test]
fn what_never_gets_better_stops_after_so_many_times() {
    let task = Task::Train;
    for policy in ["skip", "rewind"] {
        let hopeless = ["--set", "optimizer.learning_rate=1e30", "--set", "run.divergence_limit=2"];
        let folder = task.folder();
        let policy = format!("run.on_divergence={policy}");
        let arguments = [&task.start()[..], &["--set", &policy], &hopeless].concat();
        let output = command(&folder, 1, &arguments).output().unwrap();
        let (_, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(incidents(&folder).len(), 2, "{stderr}");
        assert_eq!(stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{stderr}");
    }
}
