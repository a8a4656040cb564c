//! Trainings that differ in their seeds.

use std::fs;

use serde_json::Value;

use crate::program::{Outcome, json, json_lines, texts};
use crate::training::{RESUME, START, UNINTERRUPTED, folder};

#[test]
fn each_seed_is_a_run_and_the_summary_has_mean_and_deviation() {
    let folder = folder();
    let summary = folder.run(&[&START[..], &["--seeds", "0,3", "--json"]].concat());
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary, json(&folder.path("run/summary.json")));
    assert_eq!(summary["status"], "complete");
    Outcome::of(&folder.path("run/seed0")).assert_same(&UNINTERRUPTED);
    let top1 = [0, 1].map(|index| summary["seeds"][index]["test"]["top1"].as_f64().unwrap());
    assert_eq!(summary["seeds"][1]["seed"], 3);
    assert_eq!(summary["test_top1"]["mean"], (top1[0] + top1[1]) / 2.0);
    assert_eq!(summary["test_top1"]["count"], 2);
    assert_ne!(summary["seeds"][0]["weights_hash"], summary["seeds"][1]["weights_hash"]);

    // What is complete is not repeated, what is missing is made.
    fs::remove_dir_all(folder.path("run/seed3")).unwrap();
    let output = folder.alone_command(&[&RESUME[..], &["--data", "moved", "--json"]].concat()).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(stderr.lines().count() == 1 && stderr.contains("is not read, because photodigits is built in"), "{stderr}");
    let again: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(again["seeds"][1]["weights_hash"], summary["seeds"][1]["weights_hash"]);
    assert_eq!(json_lines(&folder.path("run/seed0/environment.jsonl")).len(), 1);
    // Where the data lies now is kept, by a path that holds in any folder; also of what is complete.
    let noted = json(&folder.path("run/seeds.json"));
    let dir = noted["config"]["data"]["dir"].as_str().unwrap();
    assert!(dir.starts_with('/') && dir.ends_with("/moved"), "{dir}");
    for seed in ["seed0", "seed3"] {
        let config = fs::read_to_string(folder.path("run").join(seed).join("config.toml")).unwrap();
        assert!(config.contains(&format!("dir = {dir:?}")), "{seed}: {config}");
    }
    folder.warnings(&[&RESUME[..], &["--data", "again"]].concat());
    for file in ["seeds.json", "seed0/config.toml", "seed3/config.toml"] {
        let text = fs::read_to_string(folder.path("run").join(file)).unwrap();
        assert!(text.contains("/again\""), "{file}: {text}");
    }
    for (command, root) in [("search", "run"), ("compare", "run"), ("search", "run/seed0")] {
        let output = folder.command(&[command, "--resume", root]).output().unwrap();
        let line = folder.error_line(&String::from_utf8(output.stderr).unwrap());
        assert!(line.ends_with(&format!(": go on with pdarts train --resume {root}")), "{line}");
    }
    let line = folder.refusal(&[&RESUME[..], &["--set", "train.epochs=3"]].concat(), 2);
    assert!(line.starts_with("--config and --set cannot change trainings of several seeds"), "{line}");
}

#[test]
fn a_seed_listed_twice_and_a_folder_in_use_are_refused() {
    let folder = folder();
    for more in [&[][..], &["--dry-run"]] {
        assert_eq!(
            folder.refusal(&[&START[..], &["--seeds", "1,2,1"], more].concat(), 2),
            "--seeds: 1 is listed twice; list each seed once"
        );
    }
    assert_eq!(
        folder.refusal(&[&START[..], &["--seeds", "9223372036854775808"]].concat(), 2),
        "--seeds: 9223372036854775808 is too large; state at most 9223372036854775807"
    );
    // What is found once their folder is there.
    folder.refusal(&[&START[..], &["--seeds", "1,2", "--set", "run.device=cuda"]].concat(), 2);
    assert!(!folder.path("run").exists());
    fs::create_dir(folder.path("run")).unwrap();
    fs::write(folder.path("run/notes.txt"), "").unwrap();
    let line = folder.refusal(&[&START[..], &["--seeds", "1,2"]].concat(), 2);
    assert!(line.starts_with("run is not empty (it holds `notes.txt`)"), "{line}");
}
