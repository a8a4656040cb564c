//! The files of a run, cut and changed: what `pdarts report`, `pdarts results` and a resumed run make of them.

use std::fs;
use std::path::Path;

use pdarts::config::{SearchConfig, TrainConfig};
use pdarts::genotype::{Variant, library};
use pdarts::report::{collect_results, page};
use pdarts::run::{ComparedSearch, Environment, ExperimentFile, GenotypeFile, JsonLog, SeedsFile, TrainedCell};
use serde_json::json;

use crate::amount;
use crate::config::use_config;
use crate::corpus::{deep, folder};
use crate::target::Target;

const TOKENS: &[&str] = &[
    "\n",
    "{\"kind\":\"epoch\",",
    "{\"kind\":\"steps\",",
    "null",
    "true",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "\"stage\":",
    "\"epoch\":",
    "\"seconds\":",
    "1e999",
    "-1e308",
    "\"complete\"",
    "\"stopped\"",
    "\"seeds\":[{\"seed\":1}]",
    "\\ud800",
    "<script>",
];

/// Resuming cuts a log to whole lines, whatever is in it, and goes on.
#[test]
fn torn_logs() {
    let folder = folder();
    let path = folder.path().join("metrics.jsonl");
    let hostile = vec![b"{\"step\":1}\n{\"step\":2}\n".to_vec(), deep("{")];
    let mut number = 0;
    Target { name: "metrics", valid: Vec::new(), hostile, tokens: TOKENS, expansion: 10 }.run(
        amount(1000, 500_000),
        |input| {
            number += 1;
            fs::write(&path, input).unwrap();
            let position = number * 7 % (input.len() as u64 + 3);
            let at = JsonLog::open_at(&path, position).map(drop).map_err(|error| error.to_string());
            let kept = fs::read(&path).unwrap();
            assert!(input.starts_with(&kept) && (at.is_err() || kept.len() as u64 == position));
            let mut log = JsonLog::open(&path).map_err(|error| error.to_string())?;
            log.append(&json!({"step": 3})).map_err(|error| error.to_string())?;
            assert!(fs::read(&path).unwrap().ends_with(b"{\"step\":3}\n"));
            at
        },
    );
}

/// A file of a run, by the first byte of an input.
const NAMES: [&str; 6] = [
    "metrics.jsonl",
    "summary.json",
    "genotype.json",
    "environment.jsonl",
    "config.toml",
    "alphas/stage1-epoch001.json",
];

/// A complete run: its files by their names in [`NAMES`].
struct Run(Vec<(&'static str, String)>);

impl Run {
    fn write(&self, root: &Path) {
        fs::create_dir_all(root.join("alphas")).unwrap();
        self.0.iter().for_each(|(name, text)| fs::write(root.join(name), text).unwrap());
    }

    /// Each file as an input.
    fn corpus(&self) -> Vec<Vec<u8>> {
        let number = |name: &str| NAMES.iter().position(|known| *known == name).unwrap() as u8;
        self.0.iter().map(|(name, text)| [&[number(name)], text.as_bytes()].concat()).collect()
    }

    /// Puts each input in the place of one file, and reads the run.
    fn fuzz(self, name: &'static str, executions: usize) {
        let folder = folder();
        let root = folder.path().join("run");
        self.write(&root);
        let hostile = NAMES
            .iter()
            .enumerate()
            .flat_map(|(number, _)| ["[", "{\"a\":", "\n"].map(|text| [vec![number as u8], deep(text)].concat()));
        let hostile = hostile.collect();
        Target { name, valid: self.corpus(), hostile, tokens: TOKENS, expansion: 500 }.run(executions, |input| {
            let (number, content) = input.split_first().unwrap_or((&0, &[]));
            let name = NAMES[usize::from(*number) % NAMES.len()];
            fs::write(root.join(name), content).unwrap();
            let roots = [root.clone()];
            let page = page(&roots, folder.path()).map_err(|error| error.to_string());
            let rows = collect_results(&roots).map_err(|error| error.to_string());
            match self.0.iter().find(|(known, _)| *known == name) {
                Some((_, text)) => fs::write(root.join(name), text).unwrap(),
                None => fs::remove_file(root.join(name)).unwrap(),
            }
            if let Ok(page) = &page {
                assert!(!page.contains("<script"), "what a file holds stands in the page as it is");
            }
            page.and(rows.map(|_| String::new())).map(drop)
        });
    }
}

fn environment() -> String {
    serde_json::to_string(&Environment::capture("2.11", "portable", "cpu", 2, 1)).unwrap() + "\n"
}

#[test]
fn searches() {
    let genotype = library::find("PDARTS_C10").unwrap().genotype;
    let variants = [Variant { max_skip_connects: 2, skip_connects: 2, genotype }];
    let row = vec![0.1; 8];
    let operations = [
        "none",
        "max_pool_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
    ];
    let alphas = json!({
        "stage": 1, "epoch": 1,
        "live": {"normal": vec![operations; 14], "reduction": vec![operations; 14]},
        "alphas": {"normal": vec![row.clone(); 14], "reduction": vec![row; 14]},
    });
    let summary = json!({
        "status": "complete", "seconds": 5400.0, "stages": [], "images_per_second": 9.0, "ranks": 1, "communicator": "none",
        "result": null, "weights_hash": null, "alphas_hash": null, "bad_images": 0,
    });
    let epoch = json!({
        "kind": "epoch", "stage": 1, "epoch": 1, "step": 7, "learning_rate": 0.1, "skip_dropout": 0.0, "train_loss": 2.0,
        "train_top1": 10.0, "alpha_loss": null, "alpha_top1": null, "images_per_second": 9.0, "valid_loss": 2.0,
        "valid_top1": 12.0, "normal_entropy": 2.0, "reduction_entropy": 2.0, "train_seconds": 1.0, "seconds": 1.5,
    });
    Run(vec![
        ("metrics.jsonl", format!("{epoch}\n{}\n", epoch.to_string().replace("\"epoch\":1", "\"epoch\":2"))),
        ("summary.json", summary.to_string()),
        ("genotype.json", serde_json::to_string(&GenotypeFile::new(&variants, 2, None)).unwrap()),
        ("environment.jsonl", environment()),
        ("config.toml", "[run]\nseed = 1\n\n[search]\nepochs = 2\nalpha_start_epoch = 0\n".to_owned()),
        ("alphas/stage1-epoch001.json", alphas.to_string()),
    ])
    .fuzz("run-search", amount(100, 25_000));
}

#[test]
fn trainings() {
    let genotype = library::find("PDARTS_C10").unwrap().genotype;
    let scores = json!({"loss": 0.1, "top1": 97.0, "top5": 100.0, "samples": 10_000});
    let cell = json!({"name": "PDARTS_C10", "genotype": genotype, "python": ""});
    let summary = json!({
        "status": "complete", "cell": cell, "dataset": "cifar10", "epochs": 2, "test": scores, "test_ema": null,
        "network": {
            "channels": 36, "cells": 20,
            "parameters": 3, "auxiliary_parameters": 1, "multiply_adds": 5, "multiply_adds_all": 7
        },
        "seconds": 3600.0, "seed": 1, "test_scored_every_epoch": false, "valid": scores, "train_top1": 10.0,
        "images_per_second": 9.0, "ranks": 1, "communicator": "none", "weights_hash": null,
    });
    let epoch = json!({
        "kind": "epoch", "epoch": 1, "step": 7, "learning_rate": 0.1, "drop_path": 0.0, "train_loss": 2.0, "train_top1": 10.0,
        "images_per_second": 9.0, "valid": scores, "train_seconds": 1.0, "seconds": 1.5,
    });
    Run(vec![
        ("metrics.jsonl", format!("{epoch}\n{}\n", epoch.to_string().replace("\"epoch\":1", "\"epoch\":2"))),
        ("summary.json", summary.to_string()),
        ("genotype.json", cell.to_string()),
        ("environment.jsonl", environment()),
        ("config.toml", "[run]\nseed = 1\n[train]\nepochs = 2\n".to_owned()),
    ])
    .fuzz("run-training", amount(100, 25_000));
}

/// What says which runs a folder is to have: `text`, and changes of it that a hand could make.
fn plans(name: &'static str, file: &str, text: &str, read: impl Fn(&Path) -> Result<(), String>) {
    let folder = folder();
    let changed = [("accumulate_steps\":1", "accumulate_steps\":0"), ("epochs\":", "epochs\":9")]
        .map(|(was, is)| text.replace(was, is).into_bytes());
    let hostile = [vec![deep("["), deep("{\"seeds\":")], changed.to_vec()].concat();
    let valid = vec![text.as_bytes().to_vec()];
    Target { name, valid, hostile, tokens: TOKENS, expansion: 500 }.run(amount(150, 50_000), |input| {
        fs::write(folder.path().join(file), input).unwrap();
        // Of a folder without runs there may be none.
        let _ = page(&[folder.path().to_owned()], folder.path());
        read(folder.path())
    });
}

#[test]
fn plans_of_several_seeds() {
    let cell = TrainedCell::new("PDARTS_C10".to_owned(), library::find("PDARTS_C10").unwrap().genotype, None);
    let file = SeedsFile { seeds: vec![0, 1], config: TrainConfig::default(), cell, initial: None };
    plans("seeds", "seeds.json", &serde_json::to_string(&file).unwrap(), |root| {
        let file = SeedsFile::read(root).map_err(|error| error.to_string())?;
        file.config.validate_with_ranks(4).map_err(|error| error.to_string())?;
        use_config(&file.config)
    });
}

#[test]
fn plans_of_experiments() {
    let strategy = ComparedSearch { name: "p-darts".to_owned(), search: SearchConfig::default() };
    let file = ExperimentFile {
        seeds: vec![0, 1],
        reference: strategy.name.clone(),
        strategies: vec![strategy],
        train: TrainConfig::default(),
    };
    plans("experiment", "experiment.json", &serde_json::to_string(&file).unwrap(), |root| {
        let file = ExperimentFile::read(root).map_err(|error| error.to_string())?;
        for ComparedSearch { search, .. } in &file.strategies {
            search.validate_with_ranks(4).map_err(|error| error.to_string())?;
            use_config(search)?;
        }
        file.train.validate_with_ranks(4).map_err(|error| error.to_string())?;
        use_config(&file.train)
    });
}
