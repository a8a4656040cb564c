//! Recipes for large batches: each optimizer with schedules per step and mixed images resumes as if nothing had been,
//! and several ranks mix as one does.

use std::path::Path;

use crate::program::{Outcome, json, step_lines, texts};
use crate::training::{EPOCHS, RESUME, START, STEPS_PER_EPOCH, folder};

/// A warm-up and a schedule that change with every step, images mixed both ways, gradients of two parts.
const RECIPE: [&str; 8] = [
    "train.mixup_alpha=0.4",
    "train.cutmix_alpha=1",
    "train.accumulate_steps=2",
    "optimizer.no_decay_on_norm_and_bias=true",
    "schedule.kind=polynomial",
    "schedule.update=step",
    "schedule.warmup_epochs=1",
    "schedule.warmup_update=step",
];

fn arguments<'a>(start: &[&'a str], settings: &[&'a str]) -> Vec<&'a str> {
    start.iter().copied().chain(settings.iter().flat_map(|setting| ["--set", *setting])).collect()
}

/// Stops a training with these settings after a few steps, and compares what it comes to with an uninterrupted one.
fn resumes(settings: &[&str]) {
    let folder = folder();
    let start = arguments(&START, &[&RECIPE[..], settings].concat());
    folder.run(&start);
    let run = folder.path("run");
    let uninterrupted = Outcome::of(&run);
    std::fs::remove_dir_all(&run).unwrap();
    let mut training = folder.start_held(folder.alone_command(&start), "run", 2);
    training.signal("TERM");
    let output = training.end();
    assert_eq!(output.status.code(), Some(128 + 15), "{}", texts(&output).1);
    folder.run(&RESUME);
    Outcome::of(&run).assert_same(&uninterrupted);
}

#[test]
fn training_with_lars_resumes() {
    resumes(&["optimizer.kind=lars", "optimizer.trust_coefficient=0.02", "optimizer.learning_rate=0.5"]);
}

#[test]
fn training_with_lamb_resumes() {
    resumes(&["optimizer.kind=lamb", "optimizer.epsilon=1e-6", "optimizer.gradient_clip=0"]);
}

#[test]
fn training_with_adamw_resumes() {
    resumes(&["optimizer.kind=adamw", "optimizer.learning_rate=0.002"]);
}

#[test]
fn training_with_nesterov_momentum_resumes() {
    resumes(&["optimizer.nesterov=true"]);
}

#[test]
fn metrics_have_the_rate_of_each_step_for_the_batch() {
    let folder = folder();
    let scaled = ["optimizer.learning_rate=0.04", "optimizer.base_global_batch=16"];
    folder.run(&arguments(&START, &[&RECIPE[..], &scaled].concat()));
    let rates: Vec<f64> =
        step_lines(&folder.path("run")).iter().map(|line| line["learning_rate"].as_f64().unwrap()).collect();
    // Half of the rate for half of the batch; a ramp over the first epoch, then the square of what is left.
    let expected = [0.25, 0.5, 0.75, 1.0, 1.0, 0.5625, 0.25, 0.0625].map(|share| 0.02 * share);
    assert_eq!(rates.len(), EPOCHS * STEPS_PER_EPOCH);
    for (rate, expected) in rates.iter().zip(expected) {
        assert!((rate - expected).abs() < 1e-15, "{rates:?}");
    }
}

#[test]
fn ranks_mix_images_as_one_rank_does() {
    let folder = folder();
    let comparable = ["model.batch_norm=sync", "train.drop_path=0", "optimizer.learning_rate=0.001"];
    let settings = [&comparable[..], &["train.mixup_alpha=0.4", "train.cutmix_alpha=1"]].concat();
    let start = |out| [&START[..4], &["--out", out]].concat();
    folder.run(&arguments(&start("one"), &settings));
    folder.search_on_ranks(2, &arguments(&start("ranks"), &settings));
    let losses =
        |run: &Path| -> Vec<f64> { step_lines(run).iter().map(|line| line["train_loss"].as_f64().unwrap()).collect() };
    let (ours, theirs) = (losses(&folder.path("ranks")), losses(&folder.path("one")));
    assert_eq!(ours.len(), EPOCHS * STEPS_PER_EPOCH);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!((ours - theirs).abs() < 1e-3 * theirs.max(1.0), "{ours}, {theirs}");
    }
    let summary = json(&folder.path("ranks/summary.json"));
    assert_eq!(summary["ranks"], 2);
}

#[test]
fn a_share_of_one_image_is_refused_on_ranks_before_anything_is_written() {
    let folder = folder();
    let output = folder.ranks_command(2, &arguments(&START, &["train.global_batch=2"])).output().unwrap();
    let line = texts(&output).1;
    assert!(line.contains("train.global_batch: 2 is 1 image in each of 1 parts on each of 2 ranks"), "{line}");
    assert!(line.contains("state 4 or more") && line.contains("model.batch_norm = \"sync\""), "{line}");
    assert!(!folder.path("run").exists());
}
