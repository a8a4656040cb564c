//! `--dry-run`: what a run would take is told, what stands against it refused, and nothing is left.

mod program;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::{Folder, texts};

const SEARCH: [&str; 5] = ["--config", "search.toml", "--out", "run", "--dry-run"];

const TRAINING: &str = r#"
[run]
threads = 1
device = "cpu"

[data]
dataset = "photodigits"
limit = 40
train_fraction = 0.8

[model]
channels = 4
cells = 4

[train]
global_batch = 8
epochs = 2
ema_decay = 0.9
"#;

/// What lies in `folder`.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}

#[test]
fn search_is_tried_stage_by_stage_and_leaves_nothing() {
    let folder = Folder::new();
    let text = folder.search(&SEARCH);
    for expected in ["stage 1", "stage 2", "3 cells, 5 operations", "3 cells, 3 operations", "whole run: about"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(text.contains("images: 16 to train weights, 16 to train alphas"), "{text}");
    // More checkpoints than it will ever write are no more than it writes.
    let keep_all = ["--json", "--set", "run.keep_checkpoints=1000000000"];
    let json: Value = serde_json::from_str(&folder.search(&[&SEARCH[..], &keep_all].concat())).unwrap();
    let parts = json["parts"].as_array().unwrap();
    assert_eq!(parts.len(), program::STAGES);
    for part in parts {
        assert!(number(&part["weight_step_seconds"]) > 0.0 && number(&part["peak_memory_mib"]) > 10.0, "{part}");
        assert!(part["alpha_step_seconds"].is_number() && number(&part["checkpoint_bytes"]) > 1e4, "{part}");
    }
    assert!(number(&json["disk_bytes"]) < number(&json["free_bytes"]), "{json}");
    assert_eq!(names(&folder.path("")), ["search.toml"]);
}

#[test]
fn checkpoints_are_as_large_as_was_told() {
    let folder = Folder::new();
    let json: Value = serde_json::from_str(&folder.search(&[&SEARCH[..], &["--json"]].concat())).unwrap();
    folder.search(&SEARCH[..4]);
    let last = names(&folder.path("run/checkpoints")).pop().unwrap();
    let found = fs::metadata(folder.path("run/checkpoints").join(last)).unwrap().len() as f64;
    let told = number(&json["parts"][program::STAGES - 1]["checkpoint_bytes"]);
    // Other operations are left than fresh alphas leave, and the records of all epochs are in the file.
    assert!((0.7..1.4).contains(&(found / told)), "{told} told, {found} found");
}

#[test]
fn training_is_tried_for_all_seeds_and_two_ranks() {
    let folder = Folder::with("train", TRAINING);
    let call = ["--config", "train.toml", "--genotype", "PDARTS_C10", "--seeds", "0,1,2", "--dry-run"];
    let text = folder.run(&call);
    for expected in ["epochs 1 to 2", "4 cells, 4 channels, 32 pixels", "32 to train on, 8 to validate on", "(3 runs)"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let output = folder.ranks_command(2, &call).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    assert!(stdout.contains("ranks: 2 on cpu") && stdout.matches("whole run").count() == 1, "{stdout}");
    assert_eq!(names(&folder.path("")), ["train.toml"]);
}

#[test]
fn search_is_tried_on_two_ranks() {
    let folder = Folder::new();
    let output = folder.ranks_command(2, &SEARCH).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    assert!(stdout.contains("ranks: 2 on cpu") && stdout.matches("stage 2").count() == 1, "{stdout}");
    assert_eq!(names(&folder.path("")), ["search.toml"]);
}

#[test]
fn what_stands_against_the_run_is_one_line() {
    let folder = Folder::new();
    let missing = [&SEARCH[..], &["--set", "data.dataset=cifar10", "--data", "none"]].concat();
    assert!(folder.refusal(&missing, 2).contains("none"));
    fs::create_dir(folder.path("run")).unwrap();
    fs::write(folder.path("run/thesis.tex"), "mine").unwrap();
    assert!(folder.refusal(&SEARCH, 2).contains("is not empty (it holds `thesis.tex`)"));
    assert_eq!(names(&folder.path("run")), ["thesis.tex"]);
    let file = ["--config", "search.toml", "--out", "search.toml/run", "--dry-run"];
    assert!(folder.refusal(&file, 2).contains("a file is in its place"));
    let resumed = folder.refusal(&["--resume", "run", "--dry-run"], 2);
    assert!(resumed.contains("cannot be used with"), "{resumed}");
    let unwritable = ["--config", "search.toml", "--out", "/proc/run", "--dry-run"];
    assert!(folder.refusal(&unwritable, 2).contains("cannot create the run directory"));
    assert!(folder.refusal(&[&SEARCH[..], &["--set", "search.epohcs=3"]].concat(), 2).contains("epochs"));
}

#[test]
fn disk_without_room_is_told_before_the_run() {
    let folder = Folder::new();
    let disk = folder.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(&disk).output().unwrap();
    if !mount.status.success() {
        println!("SKIPPED: a full disk needs the right to mount a tmpfs: {}", String::from_utf8_lossy(&mount.stderr));
        return;
    }
    let call = ["--config", "search.toml", "--out", "disk/run", "--dry-run"];
    let refusal = std::panic::catch_unwind(|| folder.refusal(&call, 1));
    let left = names(&disk);
    assert!(Command::new("umount").arg("--lazy").arg(&disk).status().unwrap().success());
    let refusal = refusal.unwrap();
    assert!(refusal.contains("disk has 0.5 MiB left, the run is to take"), "{refusal}");
    assert!(refusal.ends_with("free some space or choose another --out") && left.is_empty(), "{refusal}: {left:?}");
}
