//! Search, retraining and training on images as jobs that follow each other: launch/slurm/pipeline.sh.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use crate::cluster::{Cluster, Job};
use crate::program::image_tree::ImageTree;
use crate::program::{Folder, json, json_lines, step_lines, texts};

const TASKS: &str = "--ntasks-per-node=2 --gpus-per-node=2 --cpus-per-task=1 --time=5";

/// A training of seconds on the embedded images.
const TRAIN: &str = r#"
[run]
threads = 1
device = "cpu"
log_every_steps = 1

[data]
dataset = "photodigits"
limit = 64

[model]
channels = 4
cells = 3
auxiliary_head = false

[train]
global_batch = 16
epochs = 8
"#;

/// A folder with the configurations of all parts and images of ten classes in `shards`.
fn folder() -> Folder {
    let folder = Folder::new();
    fs::write(folder.path("train.toml"), TRAIN).unwrap();
    ImageTree { train_images: 6, validation_images: 2, sides: [64, 80] }.write(&folder.path("tree")).unwrap();
    let output = folder.command(&["data", "pack", "--from", "tree", "--to", "shards"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    folder
}

/// The call for the configurations of `folder`; later options win.
fn pipeline(cluster: &Cluster, folder: &Folder, options: &[&str]) -> Output {
    let path = |name: &str| folder.path(name).display().to_string();
    let mut command = cluster.command("launch/slurm/pipeline.sh");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("PDARTS", env!("CARGO_BIN_EXE_pdarts")).env("RUST_LOG", "warn");
    command.args(["--out", &path("pipeline"), "--imagenet", &path("shards"), "--sbatch", TASKS]);
    command.args(["--search-config", &path("search.toml"), "--train-config", &path("train.toml")]);
    command.args(["--imagenet-config", "configs/train-imagenet-smoke.toml"]);
    command.args(options).output().unwrap()
}

/// The jobs that a call has submitted, by part.
fn jobs<'a>(cluster: &'a Cluster, folder: &Folder, output: &Output) -> BTreeMap<String, Job<'a>> {
    let (stdout, stderr) = texts(output);
    assert!(output.status.success(), "{stdout}{stderr}");
    let job = |line: &str| {
        let (part, rest) = line.split_once(": job ")?;
        let (id, rest) = rest.split_once(',')?;
        let out = folder.path("pipeline").join(format!("slurm-{part}-{id}.out"));
        assert!(rest.contains(&folder.path("pipeline").join(part).display().to_string()), "{line}");
        assert!(rest.ends_with(&out.display().to_string()), "{line}");
        Some((part.to_owned(), cluster.job(id, out)))
    };
    stdout.lines().filter_map(job).collect()
}

pub fn missing_inputs_are_named_and_nothing_is_submitted(cluster: &Cluster) {
    let folder = folder();
    fs::create_dir(folder.path("empty")).unwrap();
    fs::write(folder.path("wrong.toml"), "[search]\nepoch = 3\n").unwrap();
    let before = cluster.queue();
    let refusal = |options: &[&str]| {
        let output = pipeline(cluster, &folder, options);
        let (stdout, stderr) = texts(&output);
        assert_eq!((output.status.code(), stdout.as_str(), stderr.lines().count()), (Some(2), "", 1), "{stderr}");
        stderr
    };
    let path = |name: &str| folder.path(name).display().to_string();
    for (options, told) in [
        (["--imagenet", &path("nowhere")], "nowhere"),
        (["--imagenet", &path("empty")], "empty"),
        (["--train-config", &path("nowhere.toml")], "--train-config: there is no file"),
        (["--search-config", &path("wrong.toml")], "wrong.toml:2: unknown key `search.epoch`"),
        (["--search-config", "configs/search-cifar10.toml"], "--cifar: CIFAR-10 is not in"),
        (["--search-sbatch", "--partition=nowhere"], "sbatch refuses the job pdarts-search"),
        (["--name", "a b"], "--name a b"),
        (["--epochs", "3"], "unknown option --epochs"),
    ] {
        let line = refusal(&options);
        assert!(line.contains(told), "{options:?}: {line}");
    }
    let line = refusal(&["--imagenet", &path("tree"), "--stage", &path("stage")]);
    assert!(line.contains("pdarts data pack"), "{line}");
    assert_eq!(cluster.queue(), before);
}

pub fn search_and_both_trainings_follow_each_other_through_the_queue(cluster: &Cluster) {
    let folder = folder();
    let stage = folder.path("stage").display().to_string();
    let output = pipeline(cluster, &folder, &["--stage", &stage]);
    let jobs = jobs(cluster, &folder, &output);
    assert_eq!(jobs.keys().collect::<Vec<_>>(), ["imagenet", "search", "train"]);
    let run = |part: &str| folder.path("pipeline").join(part);
    // In the middle of the second part the scheduler wants its nodes back.
    jobs["train"].wait_until("has taken steps", || step_lines(&run("train")).len() >= 2);
    jobs["train"].signal_script("USR1");
    jobs["imagenet"].wait_for_state("COMPLETED");
    for part in jobs.keys() {
        assert_eq!(json(&run(part).join("summary.json"))["status"], "complete", "{}", jobs[part].output());
    }
    assert_eq!(json_lines(&run("train").join("environment.jsonl")).len(), 2, "{}", jobs["train"].output());
    let found = json(&run("search").join("genotype.json"));
    let found = found["variants"].as_array().unwrap().iter().map(|variant| &variant["genotype"]).collect::<Vec<_>>();
    for part in ["train", "imagenet"] {
        assert!(found.contains(&&json(&run(part).join("genotype.json"))["genotype"]), "{part}");
    }
    let config = fs::read_to_string(run("imagenet").join("config.toml")).unwrap();
    assert!(config.contains(&format!("dir = \"{stage}\"")), "{config}");
    // All is there: nothing is left to do.
    let (stdout, _) = texts(&pipeline(cluster, &folder, &[]));
    assert_eq!(stdout.matches(": complete in ").count(), 3, "{stdout}");
    let results = stdout.lines().last().unwrap().split_once("complete: ").unwrap().1;
    let table = texts(&Command::new("sh").args(["-c", results]).output().unwrap()).0;
    assert!(table.lines().any(|line| line.contains("images") && line.contains(" / ")), "{table}");
}

pub fn failed_search_leaves_no_job_behind(cluster: &Cluster) {
    let folder = folder();
    let output = pipeline(cluster, &folder, &["--name", "fails"]);
    let jobs = jobs(cluster, &folder, &output);
    // The file is gone when the job begins.
    fs::remove_file(folder.path("search.toml")).unwrap();
    jobs["search"].wait_until_told("has ended", || cluster.queue().is_empty());
    assert!(jobs["search"].description().contains("JobState=FAILED"), "{}", jobs["search"].description());
    for part in ["train", "imagenet"] {
        assert!(jobs[part].description().contains("JobState=CANCELLED"), "{}", jobs[part].description());
        assert!(!folder.path("pipeline").join(part).exists());
    }
}
