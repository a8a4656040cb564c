//! `pdarts report` and the pages that runs leave, as their readers see them.

mod browser;
#[path = "../program/mod.rs"]
mod program;

use std::fs;

use crate::browser::look_at;
use crate::program::{EPOCHS, Folder, STAGES, json_lines};

const START: [&str; 4] = ["--config", "search.toml", "--out", "run"];

const TRAINING: &str = r#"
[run]
threads = 1
device = "cpu"
log_every_steps = 1

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
validate_every_epochs = 1
"#;

/// `pdarts report` in `folder`; returns its warnings and errors.
fn report(folder: &Folder, arguments: &[&str]) -> String {
    let output = folder.command(&[&["report"], arguments].concat()).output().unwrap();
    let (_, stderr) = program::texts(&output);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    stderr
}

#[test]
fn search_leaves_a_page_of_its_cell_curves_stages_settings_and_files() {
    let folder = Folder::new();
    folder.search(&START);
    let view = look_at(&folder.path("run/report.html"));
    for expected in [
        "Search on photodigits, 2 stages, seed 0",
        "Complete.",
        "supernet top-1",
        "The result is the least restricted cell",
        "Stage 2: operations of the edges and their probabilities",
        "training top-1",
        "search.stages.1.cells",
        "Cells of the supernet, at least 3",
        "cpu, one thread",
        "metrics.jsonl",
    ] {
        assert!(view.text.contains(expected), "{expected}: {}", view.text);
    }
    // Two cells, curves, and of each stage both cells with their probabilities.
    assert_eq!(view.figures, 2 + 1 + 4 * STAGES);
    for name in view.links.iter().filter(|link| link.starts_with("./")) {
        assert!(folder.path("run").join(name).exists(), "{name}");
    }
}

#[test]
fn seeds_are_compared_with_mean_and_deviation() {
    let folder = Folder::with("train", TRAINING);
    let call = ["--config", "train.toml", "--genotype", "PDARTS_C10", "--out", "run", "--seeds", "0,1"];
    folder.run(&call);
    let view = look_at(&folder.path("run/report.html"));
    for expected in ["2 runs", "mean of 2 seeds", "±", "Settings in which they differ", "run.seed", "test top-1"] {
        assert!(view.text.contains(expected), "{expected}: {}", view.text);
    }
    let single = look_at(&folder.path("run/seed1/report.html"));
    assert!(single.text.contains("Training on photodigits, seed 1"), "{}", single.text);
    assert_eq!((single.figures, view.figures), (3, 7));
    // As `runs/*` names them.
    fs::create_dir_all(folder.path("thesis")).unwrap();
    fs::write(folder.path("thesis/experiment.json"), "{}").unwrap();
    let warnings = report(&folder, &["run/seed0", "run/seed1", "thesis", "train.toml", "--out", "page.html"]);
    let expected = ["thesis is the folder of an experiment: left out; ", "train.toml is no run: left out; "];
    assert!(expected.iter().all(|part| warnings.contains(part)), "{warnings}");
    assert!(fs::read_to_string(folder.path("page.html")).unwrap().contains("2 runs"));
}

#[test]
fn what_is_damaged_missing_or_hostile_is_said_and_harmless() {
    let folder = Folder::new();
    folder.search(&START);
    // As after a kill and a bad disk.
    let hostile = "<script>alert(1)<script>&\"'#%";
    let run = folder.path(hostile);
    fs::rename(folder.path("run"), &run).unwrap();
    for name in ["summary.json", "genotype.json", "alphas/stage1-epoch001.json"] {
        fs::remove_file(run.join(name)).unwrap();
    }
    fs::write(run.join("alphas/stage1-epoch002.json"), "{}").unwrap();
    let path = run.join("metrics.jsonl");
    let metrics = fs::read_to_string(&path).unwrap();
    let is_kept = |line: &&str| !line.contains("\"kind\":\"epoch\"") || !line.contains("\"stage\":2,\"epoch\":1");
    let kept: Vec<&str> = metrics.lines().filter(is_kept).collect();
    assert_eq!(json_lines(&path).len(), kept.len() + 1);
    fs::write(&path, format!("{}\nnot json\n{{\"kind\":\"epoch\",\"stage\":99}}\n\u{0}", kept.join("\n"))).unwrap();

    report(&folder, &[hostile, "--out", "page.html"]);
    let view = look_at(&folder.path("page.html"));
    for expected in [
        hostile,
        "It has not ended, or has failed",
        "there is no summary.json",
        "pdarts search --resume",
        "3 of ",
        "lines of metrics.jsonl are damaged and left out",
        "validation top-1",
        &format!("lacks the record of 1 of {} epochs", STAGES * EPOCHS),
        "1 of 3 files in alphas/ are damaged",
    ] {
        assert!(view.text.contains(expected), "{expected}: {}", view.text);
    }
    assert!(view.links.iter().any(|link| link.starts_with("./%3Cscript%3E")), "{:?}", view.links);
}

#[test]
fn run_under_way_and_one_that_was_stopped_say_so() {
    let folder = Folder::new();
    let mut search = folder.start_held(folder.alone_command(&START), "run", 1);
    report(&folder, &["run", "--out", "page.html"]);
    let page = |name: &str| fs::read_to_string(folder.path(name)).unwrap();
    let under_way = page("page.html");
    assert!(under_way.contains("Under way ") && under_way.contains(" (process "), "{under_way}");
    search.signal("TERM");
    search.end();
    let stopped = page("run/report.html");
    assert!(stopped.contains("Stopped by a signal") && stopped.contains("pdarts search --resume run"), "{stopped}");
}

#[test]
fn page_that_cannot_be_written_is_a_warning_and_no_lost_run() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("run/report.html")).unwrap();
    let warning = folder.warnings(&START);
    assert!(warning.contains("report.html was not written") && warning.lines().count() == 1, "{warning}");
    assert_eq!(program::json(&folder.path("run/summary.json"))["status"], "complete");
}

#[test]
fn what_cannot_be_reported_is_refused_in_a_line() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("empty")).unwrap();
    let refusal = |arguments: &[&str]| {
        let output = folder.command(&[&["report"], arguments].concat()).output().unwrap();
        let (stdout, stderr) = program::texts(&output);
        assert_eq!((output.status.code(), stdout.as_str()), (Some(2), ""), "{stderr}");
        folder.error_line(&stderr)
    };
    assert!(refusal(&["empty"]).starts_with("empty is not the directory of a run: config.toml cannot be read"));
    assert!(refusal(&["none", "--out", "x.html"]).starts_with("none is not the directory of a run"));
    assert!(refusal(&["empty", "--out", "no/x.html"]).contains("make it first"));
    fs::write(folder.path("empty/config.toml"), "[search]\nepohcs = 3\n").unwrap();
    assert!(refusal(&["empty"]).contains("epochs"), "{}", refusal(&["empty"]));
    assert!(refusal(&["empty", "--out", "empty/config.toml"]).contains("it is a file of the run"));
    assert_eq!(fs::read_dir(folder.path("empty")).unwrap().count(), 1);
}
