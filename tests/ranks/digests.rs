//! The images of every step are the same on any number of ranks: digests of batches in searches and trainings.

use pdarts::trainer::TallySums;
use serde_json::Value;

use crate::program::image_tree::ImageTree;
use crate::program::{Folder, json_lines};

const DIGESTS: [&str; 2] = ["batch_digest", "alpha_batch_digest"];

const TRAIN_ON_IMAGES: &str = r#"
[run]
threads = 1
device = "cpu"
log_every_steps = 1
digest_batches = true

[data]
dataset = "images"
dir = "tree"
image_size = 32
cutout = 8

[model]
network = "cifar"
channels = 4
cells = 3
auxiliary_head = false

[train]
global_batch = 12
accumulate_steps = 2
epochs = 2
"#;

/// The digests of all metrics of a run: of every step, then of its epoch.
fn digests(folder: &Folder, run: &str) -> Vec<[Option<String>; 2]> {
    let lines = json_lines(&folder.path(run).join("metrics.jsonl"));
    let of_line = |line: &Value| DIGESTS.map(|key| line[key].as_str().map(str::to_owned));
    lines.iter().map(of_line).collect()
}

/// Runs it on one to three ranks; returns what they have in common.
fn on_ranks(folder: &Folder, arguments: &[&str]) -> Vec<[Option<String>; 2]> {
    let run = |num_ranks: usize| {
        let out = format!("ranks{num_ranks}");
        folder.search_on_ranks(num_ranks, &[arguments, &["--out", &out]].concat());
        digests(folder, &out)
    };
    let one = run(1);
    for num_ranks in [2, 3] {
        assert_eq!(run(num_ranks), one, "{num_ranks} ranks");
    }
    one
}

/// The digest of an epoch is the wrapping sum of those of its steps.
fn assert_sum(steps: &[[Option<String>; 2]], epoch: &[Option<String>; 2]) {
    let number = |text: &Option<String>| u64::from_str_radix(text.as_ref().unwrap(), 16).unwrap();
    let digests = steps.iter().map(|[digest, _]| TallySums { digest: number(digest), ..TallySums::default() });
    let digests: Vec<_> = digests.collect();
    assert_eq!(TallySums::total(&digests).digest, number(&epoch[0]));
}

#[test]
fn search_on_photodigits_draws_the_same_images_on_one_two_and_three_ranks() {
    let folder = Folder::new();
    let settings = ["--set", "run.digest_batches=true", "--set", "search.global_batch=6"];
    let found = on_ranks(&folder, &[&["--config", "search.toml"], &settings[..]].concat());
    // Two steps and an epoch, of which alphas train in every other, in two stages.
    assert_eq!(found.len(), 12);
    assert!(found.iter().all(|[weights, _]| weights.is_some()));
    assert_eq!(
        found.iter().map(|[_, alphas]| alphas.is_some()).collect::<Vec<_>>(),
        [[false; 3], [true; 3]].concat().repeat(2)
    );
    assert_sum(&found[..2], &found[2]);
    let mut different = found.concat();
    different.retain(Option::is_some);
    let all = different.len();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), all);
}

#[test]
fn training_on_images_draws_the_same_images_on_one_two_and_three_ranks_and_when_it_goes_on() {
    let folder = Folder::with("train", TRAIN_ON_IMAGES);
    ImageTree { train_images: 4, validation_images: 1, sides: [32, 64] }.write(&folder.path("tree")).unwrap();
    let start = ["--config", "train.toml", "--genotype", "PDARTS_C10"];
    let found = on_ranks(&folder, &start);
    // Three steps and an epoch, twice.
    assert_eq!(found.len(), 8);
    assert_sum(&found[4..7], &found[7]);

    let call = folder.alone_command(&[&start[..], &["--out", "stopped"]].concat());
    let mut training = folder.start_held(call, "stopped", 1);
    training.signal("TERM");
    training.end();
    folder.run(&["--resume", "stopped"]);
    assert_eq!(digests(&folder, "stopped"), found);
    // Other threads and parts change nothing, another seed all.
    let others = ["--set", "data.loader_threads=3", "--set", "train.accumulate_steps=1", "--out", "others"];
    folder.run(&[&start[..], &others].concat());
    assert_eq!(digests(&folder, "others"), found);
    folder.run(&[&start[..], &["--set", "run.seed=1", "--out", "seed"]].concat());
    assert_ne!(digests(&folder, "seed")[0], found[0]);
}
