//! Stopped and killed trainings go on as if nothing had been.

use std::fs;

use crate::program::{Outcome, json, json_lines, names, step_lines, texts};
use crate::training::{EPOCHS, RESUME, START, STEPS_PER_EPOCH, UNINTERRUPTED, complete_training, folder};

/// Stops a training by `signal` once it has done `steps` steps, and resumes it.
fn stopped_and_resumed(signal: &str, number: i32, steps: usize) {
    let folder = folder();
    let run = folder.path("run");
    let mut training = folder.start_held(folder.alone_command(&START), "run", steps);
    training.signal(signal);
    let output = training.end();
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(128 + number), "{stderr}");
    assert!(stderr.contains(&format!("stopped by signal {number}; go on with: pdarts train --resume run")), "{stderr}");
    assert_eq!(stdout.trim(), "");
    let summary = json(&run.join("summary.json"));
    assert_eq!(summary["status"], "stopped");
    assert!(summary["test"].is_null() && summary["weights_hash"].is_null(), "{summary}");
    assert!(!run.join("weights.safetensors").exists());

    folder.run(&RESUME);
    Outcome::of(&run).assert_same(&UNINTERRUPTED);
    assert_eq!(json_lines(&run.join("environment.jsonl")).len(), 2);
    assert_eq!(names(&run.join("events")).len(), 2);
}

#[test]
fn sigterm_in_the_middle_of_an_epoch() {
    stopped_and_resumed("TERM", 15, 1);
}

#[test]
fn sigusr1_in_the_last_epoch() {
    stopped_and_resumed("USR1", 10, STEPS_PER_EPOCH + 2);
}

#[test]
fn killed_training_goes_on_from_its_last_checkpoint() {
    let folder = folder();
    let run = folder.path("run");
    let mut training = folder.start_held(folder.alone_command(&START), "run", STEPS_PER_EPOCH + 1);
    training.wait_for_checkpoint(&run);
    training.signal("KILL");
    assert_eq!(training.end().status.code(), None);
    assert!(step_lines(&run).len() > STEPS_PER_EPOCH);
    folder.run(&RESUME);
    Outcome::of(&run).assert_same(&UNINTERRUPTED);
}

#[test]
fn complete_training_is_tested_again_and_no_more() {
    let folder = complete_training();
    folder.run(&RESUME);
    let run = folder.path("run");
    Outcome::of(&run).assert_same(&UNINTERRUPTED);
    assert_eq!(step_lines(&run).len(), EPOCHS * STEPS_PER_EPOCH);
}

#[test]
fn another_cell_is_refused_and_a_damaged_checkpoint_passed_over() {
    let folder = complete_training();
    let cell = folder.path("run/genotype.json");
    let text = fs::read_to_string(&cell).unwrap();
    fs::write(&cell, text.replacen("dil_conv_3x3", "sep_conv_3x3", 1)).unwrap();
    let line = folder.refusal(&RESUME, 1);
    assert!(line.contains("was written under another configuration"), "{line}");
    fs::write(&cell, "{}").unwrap();
    let line = folder.refusal(&RESUME, 2);
    assert!(
        line.starts_with("run/genotype.json does not hold the cell of a training (it is damaged (missing field"),
        "{line}"
    );
    fs::write(&cell, text).unwrap();
    let checkpoints = names(&folder.path("run/checkpoints"));
    let newest = folder.path("run/checkpoints").join(checkpoints.last().unwrap());
    let mut bytes = fs::read(&newest).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let warning = folder.warnings(&RESUME);
    assert!(warning.contains("damaged") && warning.contains(": going on from run/checkpoints/"), "{warning}");
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED);
}

#[test]
fn settings_that_decide_the_result_cannot_change() {
    let folder = complete_training();
    assert_eq!(
        folder.refusal(&[&RESUME[..], &["--set", "train.epochs=9"]].concat(), 2),
        "--resume run: train.epochs: the run was begun with 2, now 9 was given, which cannot change within a run: leave it as \
         it was or start a new run; pdarts train --from run trains its weights on under a new schedule"
    );
    folder.run(&[&RESUME[..], &["--set", "run.threads=2"]].concat());
}
