//! What a search without disturbance leaves behind.

use std::fs;
use std::path::Path;

use pdarts::config::{SearchConfig, Settings};
use pdarts::run::{AlphasFile, GenotypeFile};
use serde_json::Value;

use crate::program::{
    EPOCHS, Folder, NUM_OPERATIONS, Outcome, STAGES, STEPS_PER_EPOCH, UNINTERRUPTED, json, json_lines, names,
};

const START: [&str; 4] = ["--config", "search.toml", "--out", "run"];

fn assert_keys(object: &Value, keys: &[&str]) {
    let found: Vec<&String> = object.as_object().unwrap().keys().collect();
    assert_eq!(found, keys);
}

#[test]
fn search_leaves_everything_it_promises() {
    let folder = Folder::new();
    let printed = folder.search(&START);
    let run = folder.path("run");

    let config = SearchConfig::load(&run.join("config.toml"), &[]).unwrap();
    assert_eq!(config, SearchConfig::load(&folder.path("search.toml"), &[]).unwrap());
    check_environment(&run);
    check_metrics(&run);
    check_log(&run);
    check_alphas_and_genotype(&folder, &run, &config);
    check_figures(&run);
    let checkpoints = ["stage2-epoch001-step00000000.safetensors", "stage2-epoch002-step00000000.safetensors"];
    assert_eq!(names(&run.join("checkpoints")), checkpoints);
    assert_eq!(names(&run.join("events")).len(), 1);

    let genotype: GenotypeFile = serde_json::from_value(json(&run.join("genotype.json"))).unwrap();
    let found = json(&run.join("summary.json"))["result"]["genotype"].take();
    assert_eq!(serde_json::to_value(&genotype.result().unwrap().variant.genotype).unwrap(), found);
    for (operation, _) in serde_json::from_value::<Vec<(String, usize)>>(found["normal"].clone()).unwrap() {
        assert!(printed.contains(&operation), "{printed}");
    }
    assert!(printed.contains("tensorboard --logdir run/events"), "{printed}");
    assert!(printed.contains("In run: report.html"), "{printed}");
    Outcome::of(&run).assert_same(&UNINTERRUPTED);
}

#[test]
fn cells_computed_again_in_backward_give_the_same_search() {
    let folder = Folder::new();
    folder.search(&[&START[..], &["--set", "model.checkpoint_cells=true"]].concat());
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED);
}

#[test]
fn reference_kernels_are_chosen_by_the_caller_and_recorded() {
    let folder = Folder::new();
    folder.search(&[&START[..], &["--kernels", "reference"]].concat());
    assert_eq!(json_lines(&folder.path("run/environment.jsonl"))[0]["kernels"], "reference");
}

fn check_environment(run: &Path) {
    let starts = json_lines(&run.join("environment.jsonl"));
    assert_eq!(starts.len(), 1);
    let start = &starts[0];
    assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    assert!(start["libtorch"].as_str().unwrap().starts_with("2."), "{start}");
    assert_eq!(start["kernels"], "fused");
    assert_eq!((&start["device"], &start["threads"], &start["ranks"]), (&"cpu".into(), &1.into(), &1.into()));
    for key in ["started_at", "commit", "hostname", "os", "kernel", "cpu_model"] {
        assert!(start[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {start}");
    }
    assert_eq!(start["command_line"][1], "search");
}

fn check_metrics(run: &Path) {
    let lines = json_lines(&run.join("metrics.jsonl"));
    assert_eq!(lines.len(), STAGES * EPOCHS * (STEPS_PER_EPOCH + 1));
    let per_step = [
        "kind",
        "stage",
        "epoch",
        "step",
        "learning_rate",
        "skip_dropout",
        "train_loss",
        "train_top1",
        "alpha_loss",
        "alpha_top1",
        "images_per_second",
        "data_seconds",
    ];
    let of_epoch = ["valid_loss", "valid_top1", "normal_entropy", "reduction_entropy", "train_seconds", "seconds"];
    let per_epoch = [&per_step[..], &of_epoch].concat();
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/files.md")).unwrap();
    for key in &per_epoch {
        assert!(page.contains(&format!("`{key}`")), "docs/files.md does not explain {key}");
    }
    let mut steps = 0;
    for (index, line) in lines.iter().enumerate() {
        let epoch = index / (STEPS_PER_EPOCH + 1);
        assert_eq!((&line["stage"], &line["epoch"]), (&(epoch / EPOCHS + 1).into(), &(epoch % EPOCHS + 1).into()));
        if index % (STEPS_PER_EPOCH + 1) == STEPS_PER_EPOCH {
            assert_eq!(line["kind"], "epoch");
            assert_keys(line, &per_epoch);
            assert!(line["valid_top1"].is_number() && line["normal_entropy"].as_f64().unwrap() > 0.9, "{line}");
        } else {
            assert_eq!(line["kind"], "steps");
            assert_keys(line, &per_step);
            steps += 1;
        }
        assert_eq!(line["step"], steps);
        // Alphas rest in the first epoch of each stage.
        assert_eq!(line["alpha_loss"].is_number(), line["epoch"] == 2, "{line}");
        assert!(line["train_loss"].as_f64().unwrap() > 0.0 && line["images_per_second"].as_f64().unwrap() > 0.0);
    }
}

fn check_log(run: &Path) {
    for line in json_lines(&run.join("log.jsonl")) {
        assert!(line["timestamp"].is_string() && line["level"].is_string() && line["fields"].is_object(), "{line}");
    }
}

fn check_alphas_and_genotype(folder: &Folder, run: &Path, config: &SearchConfig) {
    let epochs: Vec<String> = (1..=STAGES)
        .flat_map(|stage| (1..=EPOCHS).map(move |epoch| format!("stage{stage}-epoch{epoch:03}.json")))
        .collect();
    assert_eq!(names(&run.join("alphas")), epochs);
    for (name, num_operations) in
        epochs.iter().zip(NUM_OPERATIONS.iter().flat_map(|num_operations| [num_operations; EPOCHS]))
    {
        let file = AlphasFile::read(&run.join("alphas").join(name)).unwrap();
        let live = [&file.live.normal, &file.live.reduction];
        assert!(live.iter().all(|cell| (0..14).all(|edge| cell.live(edge).len() == *num_operations)), "{name}");
    }
    let genotype = json(&run.join("genotype.json"));
    let provenance = &genotype["provenance"];
    assert_eq!(provenance["config_digest"], config.digest().unwrap());
    assert_eq!((&provenance["dataset"], &provenance["seed"]), (&"photodigits".into(), &0.into()));
    assert!(genotype["result"]["why"].as_str().unwrap().contains("skip connections"));
    for variant in genotype["variants"].as_array().unwrap() {
        for network in ["cifar10", "cifar100", "imagenet"] {
            assert!(variant[network]["parameters"].as_u64().unwrap() > 1_000_000, "{variant}");
            assert!(variant[network]["multiply_adds"].as_u64().unwrap() > 100_000_000, "{variant}");
        }
    }
    let output = folder.command(&["genotype", "derive", "--json", "run/alphas/stage2-epoch002.json"]).output().unwrap();
    let derived: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&derived["variants"], &derived["result"]), (&genotype["variants"], &genotype["result"]));
}

fn check_figures(run: &Path) {
    let figures = run.join("figures");
    let mut expected = vec!["curves.svg".to_owned()];
    for cell in ["normal", "reduction"] {
        expected.push(format!("result-{cell}.svg"));
        for stage in 1..=STAGES {
            expected.extend([format!("stage{stage}-{cell}.svg"), format!("stage{stage}-{cell}-probabilities.svg")]);
        }
    }
    expected.sort();
    assert_eq!(names(&figures), expected);
    for name in expected {
        assert_well_formed(&name, &fs::read_to_string(figures.join(&name)).unwrap());
    }
}

/// Every tag that opens is closed in its order, attributes are quoted, and there is one root, `svg`.
fn assert_well_formed(name: &str, text: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut roots = 0;
    for tag in text.split('<').skip(1) {
        let (tag, content) = tag.split_once('>').unwrap_or_else(|| panic!("{name}: <{tag}"));
        assert!(!content.contains('&') || content.contains(';'), "{name}: {content}");
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed.trim()), "{name}");
        } else if !tag.starts_with(['?', '!']) {
            assert_eq!(tag.matches('"').count() % 2, 0, "{name}: <{tag}>");
            if open.is_empty() {
                roots += 1;
                assert!(tag.starts_with("svg "), "{name}: <{tag}>");
            }
            if !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().unwrap());
            }
        }
    }
    assert!(open.is_empty() && roots == 1, "{name}: {open:?}");
}

#[test]
fn json_summary_is_the_summary_file_with_everything_promised() {
    let folder = Folder::new();
    let printed: Value = serde_json::from_str(&folder.search(&[&START[..], &["--json"]].concat())).unwrap();
    assert_eq!(printed, json(&folder.path("run/summary.json")));
    assert_keys(
        &printed,
        &[
            "status",
            "seconds",
            "images_per_second",
            "ranks",
            "communicator",
            "dropped_steps",
            "rewinds",
            "stages",
            "result",
            "weights_hash",
            "alphas_hash",
            "bad_images",
            "numerics_checked",
        ],
    );
    assert_eq!(printed["status"], "complete");
    assert!(printed["seconds"].as_f64().unwrap() > 0.0 && printed["images_per_second"].as_f64().unwrap() > 0.0);
    let stages = printed["stages"].as_array().unwrap();
    assert_eq!(stages.len(), STAGES);
    for (stage, num_operations) in stages.iter().zip(NUM_OPERATIONS) {
        assert_keys(stage, &["cells", "operations", "train_top1", "valid_top1", "seconds"]);
        assert_eq!((&stage["cells"], &stage["operations"]), (&3.into(), &num_operations.into()));
    }
    assert_keys(&printed["result"], &["genotype", "skip_connects", "parameters", "multiply_adds"]);
    for key in ["weights_hash", "alphas_hash"] {
        assert_eq!(printed[key].as_str().unwrap().len(), 64);
    }
    Outcome::of(&folder.path("run")).assert_same(&UNINTERRUPTED);
}

#[test]
fn another_seed_gives_other_weights_and_alphas() {
    let folder = Folder::new();
    folder.search(&[&START[..], &["--set", "run.seed=1"]].concat());
    let reseeded = Outcome::of(&folder.path("run")).summary;
    for key in ["weights_hash", "alphas_hash"] {
        assert_ne!(reseeded[key], UNINTERRUPTED.summary[key]);
    }
}
