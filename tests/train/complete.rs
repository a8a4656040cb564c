//! What a complete training leaves behind.

use std::fs;

use pdarts::genotype::{NetworkShape, count, library};
use pdarts::model::NetworkDescription;
use safetensors::SafeTensors;
use serde_json::Value;
use tch::{Device, Kind};

use crate::program::{Outcome, json, json_lines, names};
use crate::training::{EPOCHS, START, STEPS_PER_EPOCH, UNINTERRUPTED, complete_training, folder};

#[test]
fn summary_has_the_test_result_and_the_size_of_the_network() {
    let summary = &UNINTERRUPTED.summary;
    assert_eq!(summary["status"], "complete");
    assert_eq!(summary["cell"]["name"], "PDARTS_C10");
    assert_eq!((&summary["dataset"], &summary["seed"]), (&"photodigits".into(), &0.into()));
    assert_eq!(summary["epochs"], EPOCHS);
    for scores in ["test", "test_ema"] {
        let scores = &summary[scores];
        assert_eq!(scores["samples"], 500);
        let [top1, top5, loss] = ["top1", "top5", "loss"].map(|key| scores[key].as_f64().unwrap());
        assert!((0.0..=top5).contains(&top1) && top5 <= 100.0 && loss > 0.0, "{scores}");
    }
    assert_eq!(summary["valid"]["samples"], 8);
    assert_eq!(summary["test_scored_every_epoch"], false);
    let shape = NetworkShape { channels: 4, cells: 4, ..NetworkShape::cifar(10) };
    let cost = count(&library::find("PDARTS_C10").unwrap().genotype, &shape);
    assert_eq!(summary["network"]["parameters"], cost.parameters);
    assert_eq!(summary["network"]["multiply_adds"], cost.multiply_adds);
    assert_eq!(summary["weights_hash"].as_str().unwrap().len(), 64);
}

#[test]
fn every_step_and_epoch_is_in_the_metrics_and_the_test_set_is_not() {
    let metrics = &UNINTERRUPTED.metrics;
    let of_kind = |kind: &str| metrics.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of_kind("steps").len(), EPOCHS * STEPS_PER_EPOCH);
    let epochs = of_kind("epoch");
    assert_eq!(epochs.len(), EPOCHS);
    for (index, epoch) in epochs.iter().enumerate() {
        assert_eq!(epoch["drop_path"], 0.3 * index as f64 / EPOCHS as f64);
        assert_eq!(epoch["valid"]["samples"], 8);
        assert_eq!(epoch["valid_ema"]["samples"], 8);
        assert!(epoch.get("test").is_none());
    }
    assert_eq!((&epochs[0]["learning_rate"], &epochs[1]["learning_rate"]), (&0.025.into(), &0.0125.into()));
}

#[test]
fn weights_file_builds_and_fills_the_network_by_the_authors_names() {
    let folder = folder();
    let printed: Value = serde_json::from_str(&folder.run(&[&START[..], &["--json"]].concat())).unwrap();
    let run = folder.path("run");
    assert_eq!(printed, json(&run.join("summary.json")));
    Outcome::of(&run).assert_same(&UNINTERRUPTED);
    assert_eq!(names(&run.join("figures")), ["curves.svg"]);
    assert_eq!(json_lines(&run.join("environment.jsonl")).len(), 1);
    for file in ["weights.safetensors", "weights-ema.safetensors"] {
        let bytes = fs::read(run.join(file)).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = metadata.metadata().as_ref().unwrap();
        let normalisation: Value = serde_json::from_str(&metadata["normalisation"]).unwrap();
        assert_eq!((&normalisation, &normalisation["mean"][0]), (&printed["normalisation"], &0.549_282_5.into()));
        let description: NetworkDescription = serde_json::from_str(&metadata["network"]).unwrap();
        assert_eq!((description.shape.channels, description.shape.cells), (4, 4));
        let network = description.build(Device::Cpu, Kind::Float).unwrap();
        let parameters = network.parameters();
        let expected: Vec<(String, Vec<i64>)> = parameters
            .trainable()
            .iter()
            .chain(parameters.statistics())
            .map(|named| (named.name.clone(), named.tensor.size()))
            .collect();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.len(), expected.len());
        for (name, shape) in expected {
            let found: Vec<i64> = tensors.tensor(&name).unwrap().shape().iter().map(|&size| size as i64).collect();
            assert_eq!(found, shape, "{file}: {name}");
        }
    }
    let cell = json(&run.join("genotype.json"));
    assert_eq!(cell["name"], "PDARTS_C10");
}

#[test]
fn scoring_the_test_set_every_epoch_is_marked_and_changes_nothing_else() {
    let folder = folder();
    folder.run(&[&START[..], &["--test-every-epoch"]].concat());
    let outcome = Outcome::of(&folder.path("run"));
    assert_eq!(outcome.summary["test_scored_every_epoch"], true);
    assert_eq!(outcome.summary["weights_hash"], UNINTERRUPTED.summary["weights_hash"]);
    assert_eq!(outcome.summary["test"], UNINTERRUPTED.summary["test"]);
    let epochs = outcome.metrics.iter().filter(|line| line["kind"] == "epoch");
    assert!(epochs.clone().all(|epoch| epoch["test"]["samples"] == 500 && epoch["test_ema"]["samples"] == 500));
}

#[test]
fn bfloat16_trains_to_about_the_same_loss() {
    let folder = folder();
    let options = ["--set", "train.precision=bf16"];
    folder.run(&[&START[..], &options].concat());
    let (ours, reference) = (Outcome::of(&folder.path("run")), &UNINTERRUPTED.summary);
    assert_ne!(ours.summary["weights_hash"], reference["weights_hash"]);
    let [ours, reference] = [&ours.summary, reference].map(|summary| summary["test"]["loss"].as_f64().unwrap());
    assert!((ours - reference).abs() < 0.1 * reference, "{ours} {reference}");
}

#[test]
fn cell_of_a_training_can_be_trained_again_and_accumulated_steps_give_a_result() {
    let folder = complete_training();
    folder.run(&[
        "--config",
        "train.toml",
        "--genotype",
        "run",
        "--out",
        "again",
        "--set",
        "train.accumulate_steps=2",
        "--set",
        "data.policy=autoaugment",
    ]);
    let summary = json(&folder.path("again/summary.json"));
    assert_eq!(summary["status"], "complete");
    assert_eq!(summary["cell"]["genotype"], UNINTERRUPTED.summary["cell"]["genotype"]);
}
