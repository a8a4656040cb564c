//! Searches on images in folders and shards, with ImageNet's stem: the same from either, resumed, on several ranks.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use crate::program::image_tree::{CLASSES, ImageTree};
use crate::program::{Folder, Outcome, json, json_lines, step_lines, texts};

/// Steps of one epoch: of 8 images of each of ten classes, 4 train weights.
const STEPS_PER_EPOCH: usize = 5;

const CONFIG: &str = r#"
[run]
threads = 1
device = "cpu"
log_every_steps = 1

[data]
dataset = "images"
dir = "tree"
train_fraction = 0.5
alpha_fraction = 0.25
image_size = 64
crop_area = [0.3, 1.0]
colour_jitter = [0.4, 0.4, 0.4, 0.2]
cutout = 8
loader_threads = 2

[model]
network = "imagenet"
channels = 4

[search]
global_batch = 8
epochs = 2
operations = ["none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"]
alpha_start_epoch = 1
validate_every_epochs = 1

[[search.stages]]
cells = 3
keep = 3
skip_dropout = 0.2

[[search.stages]]
cells = 4
keep = 1
skip_dropout = 0.4
"#;

const START: [&str; 4] = ["--config", "search.toml", "--out", "run"];

/// A folder with the configuration and, in `tree`, 80 training images in ten classes.
fn folder() -> Folder {
    let folder = Folder::with("search", CONFIG);
    ImageTree { train_images: 8, validation_images: 1, sides: [64, 120] }.write(&folder.path("tree")).unwrap();
    folder
}

static UNINTERRUPTED: LazyLock<Outcome> = LazyLock::new(|| {
    let folder = folder();
    folder.search(&START);
    Outcome::of(&folder.path("run"))
});

fn pack(folder: &Folder) {
    let output = folder.command(&["data", "pack", "--from", "tree", "--to", "shards"]).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
}

#[test]
fn folder_and_shards_give_the_same_cell_and_the_supernet_learns() {
    let summary = &UNINTERRUPTED.summary;
    assert_eq!((&summary["status"], &summary["bad_images"]), (&"complete".into(), &0.into()));
    assert_eq!(summary["stages"].as_array().unwrap().len(), 2);
    assert_eq!(UNINTERRUPTED.metrics.len(), 2 * 2 * (STEPS_PER_EPOCH + 1));
    let last = UNINTERRUPTED.metrics.last().unwrap();
    assert!(last["train_loss"].as_f64() < UNINTERRUPTED.metrics[0]["train_loss"].as_f64(), "{last}");
    assert!(last["valid_loss"].is_number() && last["alpha_loss"].is_number(), "{last}");
    let folder = folder();
    pack(&folder);
    folder.search(&[&START[..], &["--set", "data.dir=shards", "--set", "data.loader_threads=3"]].concat());
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED);
}

#[test]
fn stopped_and_killed_searches_go_on_as_if_nothing_had_been() {
    // In the middle of an epoch in which alphas train, and in the second stage.
    for (signal, steps) in [("TERM", STEPS_PER_EPOCH + 2), ("KILL", 3 * STEPS_PER_EPOCH + 1)] {
        let folder = folder();
        let run = folder.path("run");
        let mut search = folder.start_held(folder.alone_command(&START), "run", steps);
        search.signal(signal);
        assert!(!search.end().status.success());
        folder.search(&["--resume", "run"]);
        Outcome::of(&run).assert_same(&UNINTERRUPTED);
    }
}

#[test]
fn ranks_have_the_losses_of_one_rank() {
    let folder = folder();
    // Without dropout; a small rate, so that rounding does not grow from step to step.
    let comparable = [
        "model.batch_norm=sync",
        "search.stages.0.skip_dropout=0",
        "search.stages.1.skip_dropout=0",
        "optimizer.weights.learning_rate=1e-5",
    ];
    let settings: Vec<&str> = comparable.iter().flat_map(|setting| ["--set", setting]).collect();
    let losses = |run: &str| -> Vec<f64> {
        let lines = step_lines(&folder.path(run));
        let of_line = |line: &serde_json::Value| ["train_loss", "alpha_loss"].map(|key| line[key].as_f64());
        lines.iter().flat_map(of_line).flatten().collect()
    };
    folder.search(&[&["--config", "search.toml", "--out", "one"], &settings[..]].concat());
    folder.search_on_ranks(2, &[&["--config", "search.toml", "--out", "two"], &settings[..]].concat());
    let (one, two) = (losses("one"), losses("two"));
    // Alphas train in every other epoch.
    assert_eq!((one.len(), two.len()), (6 * STEPS_PER_EPOCH, 6 * STEPS_PER_EPOCH));
    for (one, two) in one.iter().zip(&two) {
        assert!((one - two).abs() < 1e-4 * one, "{one} {two}");
    }
    assert_eq!(json(&folder.path("two/summary.json"))["ranks"], 2);
}

#[test]
fn stem_follows_from_the_size_of_the_images_unless_it_is_chosen() {
    let folder = folder();
    let sizes = |run: &str| json_lines(&folder.path(run).join("metrics.jsonl")).len();
    let small = ["--set", "data.image_size=32", "--set", "search.epochs=1", "--set", "search.alpha_start_epoch=0"];
    for (out, network) in [("chosen", "imagenet"), ("by-size", "auto")] {
        let network = format!("model.network={network}");
        folder.search(&[&["--config", "search.toml", "--out", out, "--set", &network], &small[..]].concat());
        assert_eq!(sizes(out), 2 * (STEPS_PER_EPOCH + 1));
    }
    let losses = ["chosen", "by-size"].map(|run| step_lines(&folder.path(run))[0]["train_loss"].as_f64().unwrap());
    assert_ne!(losses[0], losses[1]);
}

#[test]
fn bad_images_end_the_search_or_are_replaced_and_counted() {
    let folder = folder();
    let class = folder.path("tree/train").join(CLASSES[0]);
    let mut files: Vec<_> = fs::read_dir(&class).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files[..2].iter().for_each(|file| fs::write(file, b"\xff\xd8 no image").unwrap());
    // All images are in one of the shares.
    let all = ["--set", "data.alpha_fraction=0"];
    let line = folder.refusal(&[&START[..], &all].concat(), 1);
    assert!(line.contains(CLASSES[0]) && line.contains("cannot be read as an image"), "{line}");
    let skip = ["--set", "data.on_bad_image=skip", "--out", "skipped"];
    let warnings = folder.warnings(&[&START[..2], &all, &skip].concat());
    assert_eq!(warnings.matches("another image of its class is used").count(), 2, "{warnings}");
    assert_eq!(json(&folder.path("skipped/summary.json"))["bad_images"], 2);
}

#[test]
fn settings_that_do_not_fit_the_images_are_refused_by_their_key() {
    let folder = folder();
    let refusal = |settings: &[&str]| {
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        folder.refusal(&[&START[..], &settings].concat(), 2)
    };
    for (setting, part) in [
        ("data.image_size=100", "the ImageNet network reads images whose side is a multiple of 32; CIFAR's"),
        ("data.image_size=0", "data.image_size: 0 is too small"),
        ("data.resize=63", "state 64 or more"),
        ("data.alpha_fraction=0.6", "data.train_fraction = 0.5 are more than all images; state at most 0.5"),
        ("data.train_fraction=1", "leaves nothing to split"),
        ("data.colour_jitter=[0.4]", "data.colour_jitter"),
        ("data.dataset=cifar10", "it is for data.dataset = \"images\""),
        ("data.policy=autoaugment", "unknown key"),
    ] {
        let line = refusal(&[setting]);
        assert!(line.starts_with(&format!("--set {setting}: ")) || line.starts_with("search.toml"), "{line}");
        assert!(line.contains(part), "{line}");
    }
    let line = refusal(&["data.alpha_fraction=0.1", "search.global_batch=1"]);
    assert_eq!(
        line,
        format!(
            "data.alpha_fraction: 0.1 of the 8 images of class {} is none to train alphas; state 0.125 or more",
            CLASSES[0]
        )
    );
    let line = refusal(&["data.image_size=32", "search.global_batch=1"]);
    assert!(line.starts_with("search.global_batch: 1 is 1 image, of which a BatchNorm sees 1 value"), "{line}");
    assert!(refusal(&["search.global_batch=21"]).contains("40 images for weights, 20 for alphas"));
    assert!(refusal(&["data.limit=81"]).contains("the training set has 80 images, not 81"));
    let line = folder.refusal(&[&START[..], &["--data", "none"]].concat(), 2);
    assert!(line.contains("none"), "{line}");
    assert!(!folder.path("run").exists());
}

#[test]
fn notes_on_the_images_are_told_by_one_rank() {
    let folder = folder();
    let class = folder.path("tree/train").join(CLASSES[0]);
    fs::write(class.join("readme.gif"), b"GIF89a").unwrap();
    let short = ["--set", "search.epochs=1", "--set", "search.alpha_start_epoch=0"];
    let output = folder.ranks_command(2, &[&START[..], &short].concat()).output().unwrap();
    let (_, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    let mut notes = BTreeMap::new();
    for line in stderr.lines().filter(|line| line.contains("WARN")) {
        let note = line.split_once("WARN").unwrap().1;
        *notes.entry(note.to_owned()).or_insert(0) += 1;
    }
    assert!(!notes.is_empty() && notes.values().all(|&times| times == 1), "{stderr}");
}
