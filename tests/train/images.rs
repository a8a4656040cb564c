//! Trainings on images in folders and shards: the same from either, resumed, on several ranks, evaluated afterwards.

use std::fs;
use std::io::Write;
use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use pdarts::data::{ColourJitter, DatasetKind, Loader, RankShare, Sampler, Split, Stream, Subset, TrainingView, open};
use serde_json::Value;

use crate::program::image_tree::{CLASSES, ImageTree};
use crate::program::{Folder, Outcome, json, step_lines, texts};

/// Steps of one epoch.
const STEPS_PER_EPOCH: usize = 4;

/// The ImageNet network on 64 pixels, with all that is random in a view.
const CONFIG: &str = r#"
[run]
threads = 1
device = "cpu"
log_every_steps = 1

[data]
dataset = "images"
dir = "tree"
train_fraction = 0.8
image_size = 64
crop_area = [0.3, 1.0]
colour_jitter = [0.4, 0.4, 0.4, 0.2]
cutout = 8
loader_threads = 2

[model]
network = "imagenet"
channels = 4
cells = 3
auxiliary_head = false

[train]
global_batch = 8
epochs = 2
label_smoothing = 0.1
validate_every_epochs = 1
"#;

const START: [&str; 6] = ["--config", "train.toml", "--genotype", "PDARTS_C10", "--out", "run"];

/// A folder with the configuration and, in `tree`, 40 training and 20 validation images in ten classes.
fn folder() -> Folder {
    let folder = Folder::with("train", CONFIG);
    ImageTree { train_images: 4, validation_images: 2, sides: [64, 120] }.write(&folder.path("tree")).unwrap();
    folder
}

static UNINTERRUPTED: LazyLock<Outcome> = LazyLock::new(|| {
    let folder = folder();
    folder.run(&START);
    Outcome::of(&folder.path("run"))
});

fn pack(folder: &Folder) {
    let output = folder.command(&["data", "pack", "--from", "tree", "--to", "shards"]).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
}

#[test]
fn folder_and_shards_train_the_same_network() {
    let summary = &UNINTERRUPTED.summary;
    assert_eq!((&summary["dataset"], &summary["status"]), (&"images".into(), &"complete".into()));
    assert_eq!((&summary["test"]["samples"], &summary["valid"]["samples"]), (&20.into(), &8.into()));
    let folder = folder();
    pack(&folder);
    folder.run(&[&START[..], &["--set", "data.dir=shards", "--set", "data.loader_threads=3"]].concat());
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED);
}

#[test]
fn stopped_and_killed_trainings_go_on_as_if_nothing_had_been() {
    for (signal, steps) in [("TERM", 2), ("KILL", STEPS_PER_EPOCH + 1)] {
        let folder = folder();
        let run = folder.path("run");
        let mut training = folder.start_held(folder.alone_command(&START), "run", steps);
        if signal == "KILL" {
            training.wait_for_checkpoint(&run);
        }
        training.signal(signal);
        assert!(!training.end().status.success());
        folder.run(&["--resume", "run"]);
        Outcome::of(&run).assert_same(&UNINTERRUPTED);
    }
}

#[test]
fn image_that_was_replaced_before_a_run_goes_on_is_told_and_nothing_refused() {
    let folder = folder();
    let mut training = folder.start_held(folder.alone_command(&START), "run", 2);
    training.signal("TERM");
    assert!(!training.end().status.success());
    // Of a version that noted no sizes.
    let copied = Command::new("cp").args(["-r", "run", "old"]).current_dir(folder.path("")).status().unwrap();
    assert!(copied.success());
    let mut origin = json(&folder.path("old/origin.json"));
    let sizes = origin.as_object_mut().unwrap().remove("data_sizes").unwrap();
    assert_eq!(sizes.as_str().map(str::len), Some(128));
    fs::write(folder.path("old/origin.json"), origin.to_string()).unwrap();
    // As a bad image is mended under its name.
    let class = folder.path("tree/train").join(CLASSES[3]);
    let image = fs::read_dir(&class).unwrap().next().unwrap().unwrap().path();
    fs::OpenOptions::new().append(true).open(image).unwrap().write_all(b"more").unwrap();
    for (run, is_told) in [("run", true), ("old", false)] {
        let output = folder.alone_command(&["--resume", run]).output().unwrap();
        let (_, stderr) = texts(&output);
        assert!(output.status.success(), "{stderr}");
        let line = format!("images in data.dir have other sizes than when {run} was begun, under the same names");
        assert_eq!(stderr.contains(&line), is_told, "{stderr}");
    }
}

/// Pixels and labels of every step of an epoch, on one of several ranks, in parts.
fn steps_of_rank(dir: &std::path::Path, rank: usize, size: usize, num_threads: usize) -> Vec<(Vec<u8>, Vec<i64>)> {
    let whole = open(DatasetKind::Images, dir, Split::Train).unwrap();
    let [source, _] = Subset::split(&whole, 0, 0.8, 5);
    let jitter = ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.2 };
    let transform = Arc::new(TrainingView { jitter, ..TrainingView::new(40, 5) });
    let sampler = Sampler::shuffled(0..source.len() as u32, 12, 5, Stream::Weights, RankShare { rank, size }).unwrap();
    let loader = Loader::new(source, sampler.in_parts(2), transform, NonZeroUsize::new(num_threads).unwrap());
    let batches = loader.batches(3, 0..loader.num_steps()).unwrap();
    let bytes =
        batches.map(|batch| batch.map(|batch| (batch.pixels().collect::<Vec<_>>().concat(), batch.labels().to_vec())));
    bytes.collect::<Result<_, _>>().unwrap()
}

#[test]
fn shares_of_one_two_and_three_ranks_make_up_the_same_batches_from_folder_and_shards() {
    let folder = folder();
    pack(&folder);
    let whole = steps_of_rank(&folder.path("tree"), 0, 1, 1);
    assert_eq!(whole.len(), 4);
    for (dir, size) in [("shards", 1), ("tree", 2), ("shards", 3)] {
        let ranks: Vec<_> = (0..size).map(|rank| steps_of_rank(&folder.path(dir), rank, size, 2)).collect();
        for (part, (pixels, labels)) in whole.iter().enumerate() {
            let of_ranks = |rank: &Vec<(Vec<u8>, Vec<i64>)>| rank[part].clone();
            let (ours, our_labels): (Vec<_>, Vec<_>) = ranks.iter().map(of_ranks).unzip();
            assert!(ours.concat() == *pixels, "{size} ranks on {dir}, part {part}");
            assert_eq!(our_labels.concat(), *labels);
        }
    }
}

#[test]
fn training_images_grow_as_they_are_asked_to() {
    let folder = folder();
    let sizes = "train.image_sizes=[{ epoch = 0, size = 32 }, { epoch = 1, size = 64 }]";
    folder.run(&[&START[..], &["--set", sizes]].concat());
    let ours = Outcome::of(&folder.path("run"));
    assert_eq!(ours.summary["status"], "complete");
    assert_ne!(ours.metrics[0]["train_loss"], UNINTERRUPTED.metrics[0]["train_loss"]);
    // The last size throughout is what the data has.
    let folder = self::folder();
    folder.run(&[&START[..], &["--set", "train.image_sizes=[{ epoch = 0, size = 64 }]"]].concat());
    assert_eq!(Outcome::of(&folder.path("run")).summary["weights_hash"], UNINTERRUPTED.summary["weights_hash"]);
    let refused = "train.image_sizes=[{ epoch = 0, size = 48 }]";
    let line = self::folder().refusal(&[&START[..], &["--set", refused]].concat(), 2);
    assert!(line.contains("train.image_sizes.0.size") && line.contains("multiple of 32"), "{line}");
}

#[test]
fn ranks_have_the_losses_of_one_rank() {
    let folder = folder();
    pack(&folder);
    let comparable =
        ["--set", "model.batch_norm=sync", "--set", "train.drop_path=0", "--set", "optimizer.learning_rate=1e-3"];
    let losses = |run: &str| -> Vec<f64> {
        step_lines(&folder.path(run)).iter().map(|line| line["train_loss"].as_f64().unwrap()).collect()
    };
    let arguments = |out| [&START[..4], &["--set", "data.dir=shards", "--out", out], &comparable].concat();
    folder.run(&arguments("one"));
    folder.search_on_ranks(2, &arguments("two"));
    let (one, two) = (losses("one"), losses("two"));
    assert_eq!((one.len(), two.len()), (2 * STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH));
    for (one, two) in one.iter().zip(&two) {
        assert!((one - two).abs() < 1e-3 * one, "{one} {two}");
    }
}

#[test]
fn run_is_evaluated_on_its_own_images_at_its_own_size() {
    let folder = folder();
    // As CIFAR-10 has it: size and classes.
    let own = ["data.image_size=32", "data.resize=48", "data.interpolation=bicubic", "model.network=cifar"];
    folder.run(&[&START[..], &own.map(|set| ["--set", set]).concat()].concat());
    let test = &json(&folder.path("run/summary.json"))["test"];
    let output = folder.command(&["export", "--checkpoint", "run", "--out", "alone.safetensors"]).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    // The file alone says which images, at which size and in which view.
    for (checkpoint, more) in [
        ("run", &[][..]),
        ("alone.safetensors", &["--data", "tree"]),
        ("alone.safetensors", &["--data", "tree", "--on", "images"]),
    ] {
        let eval = ["eval", "--checkpoint", checkpoint, "--threads", "1", "--json"];
        let output = folder.command(&[&eval, more].concat()).output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{stderr}");
        let found: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((&found["samples"], &found["top1"]), (&test["samples"], &test["top1"]));
        let [ours, theirs] = [&found, test].map(|scores| scores["loss"].as_f64().unwrap());
        assert!((ours - theirs).abs() < 1e-5 * theirs, "{ours} {theirs}");
    }
}

#[test]
fn bad_images_end_the_run_or_are_replaced_up_to_the_limit() {
    let folder = folder();
    let class = folder.path("tree/train").join(CLASSES[0]);
    for entry in fs::read_dir(&class).unwrap().take(2) {
        fs::write(entry.unwrap().path(), b"\xff\xd8 no image").unwrap();
    }
    let all = ["--set", "data.train_fraction=1"];
    let line = folder.refusal(&[&START[..], &all].concat(), 1);
    assert!(line.contains(CLASSES[0]), "{line}");
    let skip = ["--set", "data.on_bad_image=skip", "--out", "skipped"];
    let warnings = folder.warnings(&[&START[..4], &all, &skip].concat());
    assert_eq!(warnings.matches("another image of its class is used").count(), 2, "{warnings}");
    assert_eq!(json(&folder.path("skipped/summary.json"))["bad_images"], 2);
    let limit = ["--set", "data.on_bad_image=skip", "--set", "data.bad_image_limit=1", "--out", "limited"];
    let output = folder.command(&["train"]).args([&START[..4], &all, &limit].concat()).output().unwrap();
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.lines().last().unwrap().contains("2 images"), "{stderr}");
}

#[test]
fn settings_that_do_not_fit_the_images_are_refused_by_their_key() {
    let folder = folder();
    let refused = |setting: &str| folder.refusal(&[&START[..], &["--set", setting]].concat(), 2);
    assert!(
        refused("data.image_size=100").starts_with("--set data.image_size=100: "),
        "{}",
        refused("data.image_size=100")
    );
    assert!(refused("data.resize=63").contains("state 64 or more"));
    for more in [&[][..], &["--dry-run"], &["--seeds", "0,1"]] {
        let among = ["--out", "tree/train/run"];
        let line = folder.refusal(&[&START[..4], &among, more].concat(), 2);
        let expected = "tree/train/run lies in tree/train, where the images would no longer be read as they are";
        assert!(line.starts_with(expected), "{line}");
        assert!(!folder.path("tree/train/run").exists());
    }
    let head = ["--set", "model.cells=4", "--set", "model.auxiliary_head=true"];
    assert!(folder.refusal(&[&START[..], &head].concat(), 2).contains("224 to 256 pixels"));
    assert!(refused("data.colour_jitter=[0.4]").contains("data.colour_jitter"));
    assert!(refused("data.dataset=cifar10").contains("it is for data.dataset = \"images\""));
    fs::remove_dir_all(folder.path("tree/val").join(CLASSES[3])).unwrap();
    let line = folder.refusal(&START, 2);
    assert!(line.contains(CLASSES[3]), "{line}");
    assert!(!folder.path("run").exists());
}
