//! What is kept, and what happens when nothing can be written.

use std::fs;

use crate::program::{Outcome, STEPS_PER_EPOCH, json_lines, names, texts};
use crate::tasks::{Task, command};

#[test]
fn the_best_epoch_is_kept_beside_the_newest() {
    for task in Task::ALL {
        let folder = task.folder();
        let keep = ["--set", "run.keep_checkpoints=1", "--set", "run.keep_best_checkpoint=true"];
        let output = command(&folder, 1, &[&task.start()[..], &keep].concat()).output().unwrap();
        assert_eq!((output.status.success(), texts(&output).1.as_str()), (true, ""));
        let kept = names(&folder.path("run/checkpoints"));
        assert!(kept.len() == 2 && kept[0] == "best.safetensors" && kept[1].starts_with("stage"), "{kept:?}");
        Outcome::of(&folder.path("run")).assert_same(&task.undisturbed(1));
    }
}

/// A folder that is gone cannot be written by root either.
#[test]
fn a_folder_that_is_gone_is_told_and_the_run_goes_on_up_to_a_limit() {
    let task = Task::Search;
    let gone = |limit: &str| {
        let folder = task.folder();
        let limit = format!("run.max_failed_checkpoints={limit}");
        let call = command(&folder, 1, &[&task.start()[..], &["--set", &limit]].concat());
        let mut process = folder.start_held(call, "run", STEPS_PER_EPOCH + 1);
        process.wait_for_checkpoint(&folder.path("run"));
        // A file in its place: the folder does not come back.
        fs::rename(folder.path("run/checkpoints"), folder.path("saved")).unwrap();
        fs::write(folder.path("run/checkpoints"), "").unwrap();
        folder.release();
        let output = process.end();
        (folder, output.status.code(), texts(&output).1)
    };
    let (folder, code, stderr) = gone("100");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("cannot write run/checkpoints") && stderr.contains("goes on without this checkpoint"),
        "{stderr}"
    );
    let mut outcome = Outcome::of(&folder.path("run"));
    let undisturbed = task.undisturbed(1);
    outcome.metrics.truncate(undisturbed.metrics.len());
    outcome.assert_same(&undisturbed);

    let (folder, code, stderr) = gone("1");
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stderr.lines().filter(|line| line.starts_with("error: cannot write ")).count(), 1, "{stderr}");
    // What was saved serves.
    fs::remove_file(folder.path("run/checkpoints")).unwrap();
    fs::rename(folder.path("saved"), folder.path("run/checkpoints")).unwrap();
    let output = command(&folder, 1, &["--resume", "run"]).output().unwrap();
    assert_eq!((output.status.success(), texts(&output).1.as_str()), (true, ""));
    Outcome::of(&folder.path("run")).assert_same(&undisturbed);
    assert!(json_lines(&folder.path("run/metrics.jsonl")).iter().all(|line| line["train_loss"].is_f64()));
}

/// The same global batch on fewer ranks, in parts.
#[test]
fn a_run_of_two_ranks_goes_on_on_one_in_parts() {
    for (task, parts) in [(Task::Search, "search.accumulate_steps=2"), (Task::Train, "train.accumulate_steps=2")] {
        let folder = task.folder();
        let mut process = folder.start_held(command(&folder, 2, &task.start()), "run", 6);
        process.signal_launcher("TERM");
        process.end();
        folder.wait_until_left();
        let output = command(&folder, 1, &["--resume", "run", "--set", parts]).output().unwrap();
        assert_eq!((output.status.success(), texts(&output).1.as_str()), (true, ""));
        let (found, expected) = (Outcome::of(&folder.path("run")), task.undisturbed(2));
        assert_eq!(found.metrics.len(), expected.metrics.len());
        // Up to the rounding of other sums and the shares of BatchNorm, the same images.
        for (ours, theirs) in found.metrics.iter().zip(&expected.metrics) {
            let [ours, theirs] = [ours, theirs].map(|line| line["train_loss"].as_f64().unwrap());
            assert!((ours - theirs).abs() < 0.35, "{ours} {theirs}");
        }
    }
}
