//! Tables of runs whose files the tests write.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::genotype::{Variant, library};
use crate::run::{GenotypeFile, Provenance};

fn write(root: &Path, name: &str, value: &Value) {
    fs::create_dir_all(root).unwrap();
    fs::write(root.join(name), value.to_string()).unwrap();
}

fn environment(root: &Path, device: &str, ranks: usize) {
    write(root, "environment.jsonl", &json!({"device": device, "threads": 2, "ranks": ranks}));
}

/// The cell of a published search, as if it had been found here.
fn search(root: &Path, cell: &str, status: &str) {
    let genotype = library::find(cell).unwrap().genotype;
    let variant = Variant { max_skip_connects: 2, skip_connects: 2, genotype };
    let file = GenotypeFile::new(&[variant], 2, Some(Provenance::now(root, "cifar100", 0, "ab")));
    write(root, "genotype.json", &serde_json::to_value(file).unwrap());
    write(root, "summary.json", &json!({"status": status, "seconds": 5400.0, "stages": []}));
    environment(root, "cuda:3", 8);
}

/// A training of `cell` that was wrong about `error` percent of the test images.
fn training(root: &Path, cell: &str, seed: u64, error: f64, epochs: usize) {
    let genotype = library::find(cell).unwrap().genotype;
    let scores = json!({"loss": 0.1, "top1": 100.0 - error, "top5": 100.0, "samples": 10_000});
    let summary = json!({
        "status": "complete",
        "cell": {"name": cell, "genotype": genotype, "python": ""},
        "dataset": "cifar10", "epochs": epochs, "test": scores, "test_ema": null,
        "network": {
            "channels": 36, "cells": 20,
            "parameters": 3, "auxiliary_parameters": 1, "multiply_adds": 5, "multiply_adds_all": 7
        },
        "seconds": 3600.0 * (seed as f64 + 1.0),
    });
    write(root, "summary.json", &summary);
    fs::write(root.join("config.toml"), format!("[run]\nseed = {seed}\n[train]\nepochs = {epochs}\n")).unwrap();
    environment(root, "cpu", 1);
}

fn own_rows(roots: &[PathBuf]) -> Vec<ResultRow> {
    collect(roots).unwrap().into_iter().filter(|row| !row.published).collect()
}

#[test]
fn seeds_are_one_row_with_mean_deviation_and_the_search_of_their_cell() {
    let folder = TempDir::new().unwrap();
    let root = |name: &str| folder.path().join(name);
    for (seed, error) in [(0, 2.0), (1, 3.0), (2, 4.0)] {
        training(&root(&format!("seed{seed}")), "PDARTS_C10", seed, error, 600);
    }
    search(&root("search"), "PDARTS_C10", "complete");
    let roots = ["seed0", "seed1", "search", "seed2", "seed1"].map(root);
    let rows = own_rows(&roots);
    assert_eq!(rows.len(), 1);
    let expected = ResultRow {
        cell: "PDARTS_C10".to_owned(),
        published: false,
        searched_on: Some("cifar100".to_owned()),
        evaluated_on: Some("cifar10".to_owned()),
        error_percent: Some(3.0),
        error_deviation: Some(1.0),
        error_top5_percent: None,
        error_ema_percent: None,
        test_scored_every_epoch: false,
        seeds: Some(3),
        epochs: Some(600),
        parameters: Some(3),
        multiply_adds: Some(5),
        search_hours: Some(1.5),
        search_devices: Some("8 x cuda".to_owned()),
        train_hours: Some(2.0),
        train_devices: Some("cpu (2 threads)".to_owned()),
        runs: ["seed0", "seed1", "seed2", "search"].map(root).to_vec(),
    };
    assert_eq!(rows[0], expected);
}

#[test]
fn other_cells_and_other_epochs_are_rows_of_their_own() {
    let folder = TempDir::new().unwrap();
    let root = |name: &str| folder.path().join(name);
    training(&root("a"), "PDARTS_C10", 0, 3.0, 600);
    training(&root("b"), "PDARTS_C10", 1, 9.0, 20);
    training(&root("c"), "DARTS_V2", 0, 4.0, 600);
    let rows = own_rows(&["a", "b", "c"].map(root));
    assert_eq!(rows.iter().map(|row| row.error_percent).collect::<Vec<_>>(), [Some(3.0), Some(9.0), Some(4.0)]);
    assert!(rows.iter().all(|row| row.error_deviation.is_none() && row.search_hours.is_none()));
}

#[test]
fn directory_of_several_seeds_stands_for_its_trainings() {
    let folder = TempDir::new().unwrap();
    for seed in [3, 7] {
        training(&folder.path().join(format!("seed{seed}")), "PDARTS_C10", seed, seed as f64, 600);
    }
    write(folder.path(), "summary.json", &json!({"status": "complete", "seeds": [{"seed": 3}, {"seed": 7}]}));
    let rows = own_rows(&[folder.path().to_owned()]);
    assert_eq!((rows.len(), rows[0].seeds, rows[0].error_percent), (1, Some(2), Some(5.0)));
}

#[test]
fn search_without_a_training_is_priced_in_the_papers_network() {
    let folder = TempDir::new().unwrap();
    let (done, stopped) = (folder.path().join("done"), folder.path().join("stopped"));
    search(&done, "PDARTS_C10", "complete");
    search(&stopped, "DARTS_V1", "stopped");
    let rows = own_rows(&[done, stopped]);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].parameters, rows[0].evaluated_on.as_ref()), (Some(3_433_798), None));
}

#[test]
fn published_rows_are_those_of_the_library() {
    let rows = collect(&[]).unwrap();
    let error = |title: &str, dataset: &str| {
        let mut rows = rows.iter().filter(|row| row.cell == title && row.evaluated_on.as_deref() == Some(dataset));
        rows.next().and_then(|row| row.error_percent)
    };
    let title = "P-DARTS, searched on CIFAR-10";
    assert_eq!(["cifar10", "cifar100", "imagenet"].map(|set| error(title, set)), [Some(2.5), Some(16.55), Some(24.4)]);
    assert_eq!(error("GDAS", "imagenet"), None);
    assert_eq!(error("P-DARTS, searched on CIFAR-100 (cell not published)", "cifar100"), Some(15.92));
}

#[test]
fn imagenet_has_a_row_with_both_errors_beside_the_published() {
    let folder = TempDir::new().unwrap();
    for (name, samples) in [("imagenet", 50_000), ("flowers", 6149)] {
        let root = folder.path().join(name);
        training(&root, "PDARTS_C10", samples, 24.5, 250);
        let path = root.join("summary.json");
        let mut summary: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        summary["dataset"] = "images".into();
        summary["test"] = json!({"loss": 1.0, "top1": 75.5, "top5": 92.25, "samples": samples});
        write(&root, "summary.json", &summary);
    }
    let rows = collect(&["imagenet", "flowers"].map(|name| folder.path().join(name))).unwrap();
    let found = |row: &ResultRow| (row.evaluated_on.clone().unwrap(), row.error_percent, row.error_top5_percent);
    assert_eq!(found(&rows[0]), ("imagenet".to_owned(), Some(24.5), Some(7.75)));
    assert_eq!(found(&rows[1]), ("images".to_owned(), Some(24.5), Some(7.75)));
    let published = rows.iter().filter(|row| row.published && row.cell.starts_with("P-DARTS"));
    let on_imagenet: Vec<_> = published.map(found).filter(|row| row.0 == "imagenet").collect();
    let imagenet = |top1, top5| ("imagenet".to_owned(), Some(top1), Some(top5));
    assert_eq!(on_imagenet, [imagenet(24.4, 7.4), imagenet(24.7, 7.5)]);
}

#[test]
fn repeated_seeds_count_once_and_trainings_that_chose_by_the_test_set_stand_apart() {
    let folder = TempDir::new().unwrap();
    let root = |name: &str| folder.path().join(name);
    for (name, seed) in [("first", 0), ("again", 0), ("second", 1), ("chosen", 2)] {
        training(&root(name), "PDARTS_C10", seed, 3.0, 600);
    }
    let path = root("chosen").join("summary.json");
    let mut summary: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    summary["test_scored_every_epoch"] = true.into();
    write(&root("chosen"), "summary.json", &summary);
    let rows = own_rows(&["first", "again", "second", "chosen"].map(root));
    let found: Vec<_> = rows.iter().map(|row| (row.seeds, row.test_scored_every_epoch)).collect();
    assert_eq!(found, [(Some(2), false), (Some(1), true)]);
}

#[test]
fn run_that_has_not_ended_is_left_out() {
    let folder = TempDir::new().unwrap();
    training(&folder.path().join("seed0"), "PDARTS_C10", 0, 3.0, 600);
    let begun = folder.path().join("begun");
    write(&begun, "config.toml", &Value::Null);
    assert_eq!(own_rows(&[begun, folder.path().join("seed0")]).len(), 1);
}

#[test]
fn what_else_lies_among_runs_is_left_out() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    training(&path("run"), "PDARTS_C10", 0, 3.0, 600);
    training(&path("pipeline/train"), "PDARTS_C10", 1, 3.0, 600);
    write(&path("experiment"), "experiment.json", &Value::Null);
    fs::write(path("results.md"), "").unwrap();
    let all = ["experiment", "pipeline", "results.md", "run"].map(path);
    let rows = own_rows(&all);
    assert_eq!((rows.len(), &rows[0].runs), (1, &vec![path("run")]));
    let message = collect(&[path("run"), path("rum")]).unwrap_err().to_string();
    assert!(message.contains("rum is not the directory of a run that has ended"), "{message}");
    let message = collect(&all[..1]).unwrap_err().to_string();
    assert!(message.contains("experiment is the folder of an experiment: pdarts compare --resume"), "{message}");
}

#[test]
fn what_is_no_run_is_named_with_what_it_lacks() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().to_owned();
    let message = collect(std::slice::from_ref(&root)).unwrap_err().to_string();
    let expected =
        format!("{} is not the directory of a run that has ended: summary.json cannot be read", root.display());
    assert!(message.starts_with(&expected), "{message}");
    fs::write(root.join("summary.json"), "{").unwrap();
    let message = collect(&[root]).unwrap_err().to_string();
    assert!(
        message.ends_with("summary.json is cut off: restore it, or leave this run out") && message.lines().count() == 1,
        "{message}"
    );
}
