//! Whole experiments by the program itself: what they leave behind, that killed ones go on, and what they refuse.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;

#[path = "../program/mod.rs"]
mod program;

use program::{Folder, Kept, Process, json, texts};

/// An experiment of seconds.
const CONFIG: &str = r#"
[compare]
seeds = [3, 4]

[search]
set = ["run.threads=1", "run.device=cpu", "data.dataset=photodigits", "data.limit=64"]

[train]
config = "train.toml"
set = ["train.epochs=1"]

[[strategies]]
name = "darts"
config = "darts.toml"
set = []

[[strategies]]
name = "random"
config = ""
set = ["search.strategy=random", "evaluation.candidates=1"]
"#;

const DARTS: &str = r#"
[model]
channels = 4

[search]
strategy = "darts"
global_batch = 8
epochs = 1
alpha_start_epoch = 0
operations = ["none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"]
max_skip_connects = 8

[[search.stages]]
cells = 3
keep = 1
skip_dropout = 0.0
"#;

const TRAIN: &str = r#"
[run]
threads = 1
device = "cpu"

[data]
dataset = "photodigits"
limit = 64
train_fraction = 0.5

[model]
channels = 4
cells = 3
auxiliary_head = false

[train]
global_batch = 8
epochs = 7
"#;

const START: [&str; 4] = ["--config", "compare.toml", "--out", "all"];

fn folder() -> Folder {
    let folder = Folder::with("compare", CONFIG);
    fs::write(folder.path("darts.toml"), DARTS).unwrap();
    fs::write(folder.path("train.toml"), TRAIN).unwrap();
    folder
}

/// A folder with a complete experiment in `all`, which is made once for all tests, and what that has printed.
fn complete() -> (Folder, &'static str) {
    static COMPLETE: LazyLock<(String, Kept)> = LazyLock::new(|| {
        let folder = folder();
        let printed = folder.run(&START);
        (printed, Kept::of(&folder.path("all")))
    });
    let folder = folder();
    COMPLETE.1.write(&folder.path("all"));
    (folder, &COMPLETE.0)
}

/// What all runs come to, without times and places.
fn scores(root: &Path) -> Vec<Value> {
    let results = json(&root.join("results.json"));
    let runs =
        results["strategies"].as_array().unwrap().iter().flat_map(|strategy| strategy["runs"].as_array().unwrap());
    let kept = ["seed", "test_top1", "valid_top1", "parameters", "skip_connects"];
    runs.map(|run| kept.iter().map(|key| run[key].clone()).collect()).collect()
}

fn weights_hashes(root: &Path) -> Vec<Value> {
    let folders = ["darts/seed3", "darts/seed4", "random/seed3", "random/seed4"];
    let summary =
        |folder: &str, part: &str| json(&root.join(folder).join(part).join("summary.json"))["weights_hash"].clone();
    folders.iter().flat_map(|folder| [summary(folder, "search"), summary(folder, "train")]).collect()
}

#[test]
fn experiment_ends_in_a_table_with_a_test_and_is_not_repeated() {
    let (folder, printed) = complete();
    let root = folder.path("all");
    assert!(printed.contains("p (permutation)") && printed.lines().any(|line| line.starts_with("darts ")), "{printed}");
    let results = json(&root.join("results.json"));
    assert_eq!((&results["status"], &results["reference"]), (&Value::from("complete"), &Value::from("random")));
    let darts = &results["strategies"][0];
    assert_eq!((&darts["complete"], &darts["test"]["runs"]), (&Value::from(2), &Value::from(2)));
    let p = darts["test"]["permutation_p"].as_f64().unwrap();
    assert!((0.33..=1.0).contains(&p), "{p}");
    assert!(results["strategies"][1]["test"].is_null());
    // Figures are those of the runs.
    let train = json(&root.join("darts/seed4/train/summary.json"));
    assert_eq!(scores(&root)[1][1], train["test"]["top1"]);
    assert_eq!(scores(&root)[1][2], train["valid"]["top1"]);
    assert_eq!(train["cell"]["provenance"]["seed"], 4);
    let page = fs::read_to_string(root.join("report.html")).unwrap();
    assert!(page.contains("./darts/seed3/search/report.html") && page.contains("p, permutation"));
    assert!(fs::read_to_string(root.join("results.txt")).unwrap().contains("random"));

    let before = fs::metadata(root.join("darts/seed3/train/summary.json")).unwrap().modified().unwrap();
    folder.run(&START);
    let after = fs::metadata(root.join("darts/seed3/train/summary.json")).unwrap().modified().unwrap();
    assert_eq!(before, after);
    let again = folder.run(&["--resume", "all", "--results", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), json(&root.join("results.json")));
    // The table of results knows the runs as any others.
    let table = folder.command(&["results", "all/darts/seed3/search", "all/darts/seed3/train"]).output().unwrap();
    assert!(table.status.success());
}

#[test]
fn killed_experiment_goes_on_as_if_nothing_had_been() {
    let ((whole, _), killed) = (complete(), folder());
    let steps = killed.path("all/darts/seed3/search/metrics.jsonl");
    let of_second = killed.path("all/darts/seed4/train/config.toml");
    // Within the first search, then within a training.
    let mut experiment = killed.start(&START);
    experiment.wait_until(|| steps.exists());
    experiment.signal("KILL");
    experiment.end();
    let mut experiment = killed.start(&START);
    experiment.wait_until(|| of_second.exists());
    experiment.signal("KILL");
    experiment.end();
    killed.warnings(&["--resume", "all", "--data", "moved"]);
    let noted = json(&killed.path("all/experiment.json"));
    let dir = noted["train"]["data"]["dir"].as_str().unwrap();
    assert!(dir.starts_with('/') && dir.ends_with("/moved"), "{dir}");
    assert_eq!(noted["strategies"][0]["search"]["data"]["dir"], dir);
    // Also in what was complete by then.
    for run in ["search", "train"] {
        let config = fs::read_to_string(killed.path("all/darts/seed3").join(run).join("config.toml")).unwrap();
        assert!(config.contains(&format!("dir = {dir:?}")), "{config}");
    }
    let [ours, theirs] = [&killed, &whole].map(|folder| folder.path("all"));
    assert_eq!(scores(&ours), scores(&theirs));
    assert_eq!(weights_hashes(&ours), weights_hashes(&theirs));
}

#[test]
fn stopped_experiment_says_how_it_goes_on_and_is_nobody_elses_before() {
    let folder = folder();
    // A training that could not end before the signal comes.
    let mut experiment = folder.start(&[&START[..], &["--set", "train.set=[\"train.epochs=5000\"]"]].concat());
    let first = folder.path("all/darts/seed3/search/config.toml");
    experiment.wait_until(|| first.exists());
    // What no run has begun with could change, if the experiment were not under way.
    let noted = fs::read_to_string(folder.path("all/experiment.json")).unwrap();
    let line = folder.refusal(&START, 1);
    assert!(line.starts_with("all is in use by process "), "{line}");
    assert_eq!(fs::read_to_string(folder.path("all/experiment.json")).unwrap(), noted);
    experiment.signal("TERM");
    let output = experiment.end();
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(143), "{stderr}");
    assert!(stderr.contains("stopped by signal 15; go on with: pdarts compare --resume all"), "{stderr}");
    assert_eq!(json(&folder.path("all/results.json"))["status"], "stopped");
}

#[test]
fn experiment_runs_on_ranks() {
    let folder = folder();
    folder.search_on_ranks(2, &[&START[..], &["--set", "compare.seeds=[3]"]].concat());
    assert_eq!(scores(&folder.path("all")).len(), 2);
    assert_eq!(json(&folder.path("all/darts/seed3/train/summary.json"))["ranks"], 2);
    // What differs between ranks or is refused is told once.
    let output = folder.ranks_command(2, &START).output().unwrap();
    let (_, stderr) = texts(&output);
    let errors = stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert!(
        errors == 1 && stderr.contains("is the folder of another experiment (seeds: begun with [3], now [3, 4])"),
        "{stderr}"
    );
    let first = [&START[..], &["--set", "compare.seeds=[3]"]].concat();
    let output = folder.different_ranks_command(&[&first, &START]).output().unwrap();
    let (_, stderr) = texts(&output);
    let expected = "error: rank 1 has another experiment than rank 0 (seeds: [3, 4], those of rank 0 are [3]): give all \
                    ranks the same --config and --set";
    assert_eq!(
        (output.status.code(), stderr.lines().filter(|line| *line == expected).count()),
        (Some(2), 1),
        "{stderr}"
    );
}

/// A search over whose ranks BatchNorm is synchronised leaves nothing of that to the training behind it.
#[test]
fn training_behind_a_search_is_the_one_that_is_begun_by_itself() {
    let folder = folder();
    let set = ["--set", "strategies.0.set=[\"model.batch_norm=sync\"]", "--set", "compare.seeds=[3]"];
    let on_ranks = |arguments: &[&str]| {
        let output = folder.start_on_ranks(2, arguments).end();
        assert!(output.status.success(), "{}", texts(&output).1);
    };
    let train = folder.path("all/darts/seed3/train");
    let hash = || json(&train.join("summary.json"))["weights_hash"].clone();
    on_ranks(&[&START[..], &set].concat());
    let behind_the_search = hash();
    fs::remove_dir_all(&train).unwrap();
    on_ranks(&["--resume", "all"]);
    assert_eq!(hash(), behind_the_search);
}

#[test]
fn what_is_no_experiment_is_refused_in_one_line() {
    let folder = folder();
    fs::create_dir(folder.path("thesis")).unwrap();
    fs::write(folder.path("thesis/chapter.tex"), "").unwrap();
    for (arguments, part) in [
        (&["--config", "none.toml"][..], "cannot read the config none.toml"),
        (&["--config", "compare.toml", "--out", "thesis"], "thesis is not empty (it holds `chapter.tex`)"),
        (&["--resume", "thesis"], "thesis is not the folder of an experiment: experiment.json cannot be read"),
        (&["--config", "compare.toml", "--set", "compare.seeds=[1,1]"], "compare.seeds: 1 is listed twice"),
        (&["--config", "compare.toml", "--set", "compare.seeds=[]"], "compare.seeds: there is none"),
        (
            &["--config", "compare.toml", "--set", "compare.reference=chance"],
            "compare.reference: there is no strategy chance; name one of darts, random",
        ),
        (
            &["--config", "compare.toml", "--set", "strategies.0.name=random"],
            "strategies.1.name: random is listed twice",
        ),
        (
            &["--config", "compare.toml", "--set", "strategies.0.name=a/b"],
            "strategies.0.name: \"a/b\" cannot be a folder",
        ),
        (
            &["--config", "compare.toml", "--set", "train.set=[\"train.epoch=1\"]"],
            "compare.toml: [train]: --set train.epoch=1",
        ),
        (&["--config", "compare.toml", "--set", "search.set=[\"search.order=2\"]"], "compare.toml: strategy random: "),
        (&["--config", "compare.toml", "--set", "search.sett=[]"], "did you mean"),
    ] {
        let line = folder.refusal(arguments, 2);
        assert!(line.contains(part), "{line}");
        assert!(!folder.path("runs/compare/darts").exists());
    }
}

#[test]
fn what_cannot_begin_is_found_before_anything_runs_and_can_be_repaired() {
    let folder = folder();
    for (change, part) in [
        (r#"train.set=["train.global_batch=64"]"#, "[train]: train.global_batch: a batch of 64 is larger than the 32"),
        (
            r#"strategies.1.set=["search.strategy=random", "evaluation.global_batch=64"]"#,
            "strategy random: evaluation.global_batch: a batch of 64 is larger than the 32 training images",
        ),
        (r#"strategies.0.set=["data.limit=9999"]"#, "strategy darts: data.limit: the training set has 2200 images"),
        (r#"train.set=["run.seed=9"]"#, "train.set: run.seed is that of each run in turn; state compare.seeds"),
        (r#"strategies.0.name="results.json""#, "strategies.0.name: results.json is a file of the experiment"),
    ] {
        let line = folder.refusal(&[&START[..], &["--set", change]].concat(), 2);
        assert!(line.contains(part), "{line}");
        assert!(!folder.path("all").exists());
    }
    // What is found once its folder is there.
    folder.refusal(&[&START[..], &["--set", r#"strategies.0.set=["run.device=cuda"]"#]].concat(), 2);
    assert!(!folder.path("all").exists());
    // What no run has begun with may change; what one has, may not.
    let only = |cells: &str| {
        let set = format!(
            r#"strategies.1.set=["search.strategy=random", "evaluation.candidates={cells}", "evaluation.global_batch=8"]"#
        );
        ["--set".to_owned(), set]
    };
    let [set, five] = only("5");
    // A search has no fifth step.
    let mut call = folder.alone_command(&[&START[..], &[set.as_str(), five.as_str()]].concat());
    folder.hold(&mut call, 4);
    let mut stopped = Process::start(&mut call);
    stopped.wait_until(|| folder.path("all/darts/seed3/train/metrics.jsonl").exists());
    stopped.signal("KILL");
    stopped.end();
    folder.warnings(&START);
    let [set, five] = only("5");
    let line = folder.refusal(&[&START[..], &[set.as_str(), five.as_str()]].concat(), 2);
    assert!(line.contains("(random: evaluation.candidates: the run was begun with 1, now 5 was given)"), "{line}");
}

#[test]
fn run_that_diverges_keeps_no_other_from_its_place_in_the_table() {
    let folder = folder();
    let rates = "\"optimizer.weights.learning_rate=1e30\", \"optimizer.weights.gradient_clip=1e30\"";
    let set = format!("strategies.0.set=[{rates}]");
    let output = folder.command(&["compare"]).args([&START[..], &["--set", &set]].concat()).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let table: Vec<&str> = stdout.lines().filter(|line| line.contains("/2 ")).collect();
    assert!(table.len() == 2 && table[0].contains("0/2") && table[1].contains("2/2"), "{stdout}");
    let last = stderr.lines().last().unwrap();
    assert!(
        last.contains("darts, seed 3; darts, seed 4 diverged") && last.contains("run.on_divergence=rewind"),
        "{last}"
    );
}
