//! Calls that cannot work as given end with one line and exit code 2, before anything is written.

use std::fs;

use crate::training::{START, folder};

/// The error of a training that cannot begin.
fn refusal(arguments: &[&str]) -> String {
    let folder = folder();
    let line = folder.refusal(arguments, 2);
    assert!(!folder.path("run").exists(), "{arguments:?}");
    line
}

fn with_setting(setting: &str) -> String {
    refusal(&[&START[..], &["--set", setting]].concat())
}

#[test]
fn genotypes_that_cannot_be_read_are_refused() {
    let with = |genotype| refusal(&["--config", "train.toml", "--genotype", genotype, "--out", "run"]);
    assert!(with("PDARTS_C11").contains("did you mean `PDARTS_C10`?"));
    assert!(with("none.json").starts_with("cannot read none.json"));
    assert!(with("Genotype(normal=[])").contains("genotype"));
}

#[test]
fn settings_that_cannot_be_used_are_refused_by_their_key() {
    let line = with_setting("train.epoch=3");
    assert!(line.contains("unknown key `train.epoch`; did you mean `train.epochs`?"), "{line}");
    let line = with_setting("zzz=3");
    assert!(line.ends_with("`pdarts config show --kind train` lists all keys"), "{line}");
    let line = with_setting("train");
    assert!(line.ends_with("for example --set train.epochs=10"), "{line}");
    let line = with_setting("model.cells=3");
    assert!(line.contains("model.auxiliary_head: it would stand behind the last of 3 cells"), "{line}");
    let line = with_setting("train.global_batch=64");
    assert!(line.contains("a batch of 64 is larger than the 32 training images"), "{line}");
    let line = with_setting("data.policy=cutmix");
    assert!(line.contains("data.policy") && line.contains("randaugment"), "{line}");
    let line = with_setting("train.global_batch=1");
    assert!(line.contains("a BatchNorm sees 1 value per channel") && line.contains("state 2 or more"), "{line}");
    let line = with_setting("train.accumulate_steps=8");
    assert!(line.contains("state 16 or more, or lower train.accumulate_steps"), "{line}");
    let line = with_setting("optimizer.kind=rmsprop");
    assert!(line.contains("optimizer.kind") && line.contains("`lamb`"), "{line}");
    let line = with_setting("optimizer.trust_coefficient=0.02");
    assert!(line.contains("\"sgd\" does not read it; leave it out or state one of \"lars\""), "{line}");
    let line = with_setting("schedule.warmup_epochs=2");
    assert!(line.contains("2 epochs leave nothing of train.epochs = 2"), "{line}");
    let line = with_setting("train.image_sizes=[{epoch=0, size=16}]");
    assert!(line.contains("train.image_sizes: the images of photodigits have one size"), "{line}");
    let line = with_setting("train.accumulate_steps=3");
    assert!(line.contains("3 parts cannot share 8 images equally"), "{line}");
}

#[test]
fn a_search_is_not_a_training() {
    let folder = folder();
    fs::write(folder.path("search.toml"), "[search]\nepochs = 2\n").unwrap();
    let line = folder.refusal(&["--config", "search.toml", "--genotype", "PDARTS_C10", "--out", "run"], 2);
    assert_eq!(
        line,
        "search.toml:1: unknown key `search`; it is of a search: pdarts search reads it, pdarts config show shows it"
    );
}

#[test]
fn training_that_diverges_says_when_and_what_to_change() {
    let folder = folder();
    let options = ["--set", "optimizer.learning_rate=1e30", "--set", "optimizer.gradient_clip=1e30"];
    let line = folder.refusal(&[&START[..], &options].concat(), 1);
    assert!(line.starts_with("the training loss became ") && line.contains("lower optimizer.learning_rate"), "{line}");
}
