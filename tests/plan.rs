//! `pdarts plan`: what it prints, what its JSON holds, that its counts are those of the real networks, and what it refuses.

mod program;

use std::fs;

use pdarts::genotype::{NetworkKind, Operation, Switches};

use pdarts::plan::{Counter, Kernels, SupernetSize, walk_supernet};
use pdarts::search::{Supernet, SupernetShape};
use program::Folder;
use serde_json::Value;
use tch::{Device, Kind};

const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/configs");

/// Figures of a machine, so that none are measured.
const CPU: [&str; 6] = ["--gpu", "cpu", "--gemm", "200", "--stream", "40"];

fn folder() -> Folder {
    Folder::with("plan", "")
}

fn config(name: &str) -> String {
    format!("{CONFIGS}/{name}.toml")
}

fn json(name: &str, arguments: &[&str]) -> Value {
    let config = config(name);
    let output = folder().run(&[&["--config", &config, "--json"], arguments].concat());
    serde_json::from_str(&output).unwrap()
}

#[test]
fn supernet_counts_as_many_parameters_as_the_network_has() {
    let operations =
        [Operation::None, Operation::MaxPool3x3, Operation::SkipConnect, Operation::SepConv5x5, Operation::DilConv3x3];
    let (cifar, imagenet) = ((NetworkKind::Cifar, 32), (NetworkKind::ImageNet, 64));
    for ((stem, image_size), partial_channels) in [(cifar, 1), (cifar, 2), (imagenet, 1)] {
        let switches = Switches::full(&operations).unwrap();
        let shape = SupernetShape { stem, num_cells: 6, channels: 4, num_classes: 7, partial_channels, switches };
        let network = Supernet::new(&shape, Device::Cpu, Kind::Float).unwrap();
        let trainable = network.parameters().trainable();
        let parameters: usize = trainable.iter().map(|named| named.tensor.numel()).sum();
        let size = SupernetSize {
            stem,
            cells: 6,
            channels: 4,
            partial_channels: partial_channels as u64,
            num_classes: 7,
            image_size,
            operations: operations.to_vec(),
            skip_dropout: false,
        };
        let mut counter = Counter::new(Kernels::Cpu, false, false);
        walk_supernet(&size, &mut counter);
        assert_eq!((counter.parameters, counter.tensors), (parameters as u64, trainable.len() as u64), "{stem:?}");
    }
}

#[test]
fn text_says_what_is_needed_and_what_was_not_calibrated() {
    let config = config("train-imagenet");
    let text = folder().run(&["--config", &config, "--gpus", "8", "--gpu", "a100"]);
    for part in [
        "training of PDARTS_C10 by ",
        "8 x A100, 1281167 images in 1000 classes, steps of 1024 images (128 at a time on each)",
        "224 pixels (14 cells, 48 channels)",
        "which fits",
        "GPU-hours on 8 in 1 machine",
        "cores a GPU",
        "not calibrated on this card",
        "19.50 TFLOP/s",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(text.lines().all(|line| !line.contains("NaN") && !line.contains("inf")), "{text}");
}

#[test]
fn what_does_not_fit_is_said() {
    let config = config("train-imagenet-8k-lars");
    let text = folder().run(&["--config", &config, "--gpus", "1", "--gpu", "v100"]);
    assert!(text.contains("MORE THAN THE GPU HAS"), "{text}");
}

#[test]
fn json_has_every_figure_of_every_kind_of_run() {
    for (name, phases, kind) in [("search-cifar10", 3, "search"), ("train-cifar10", 1, "training")] {
        let plan = json(name, &["--gpus", "2", "--gpu", "h100"]);
        assert_eq!((&plan["kind"], &plan["gpu"], &plan["gpus"]), (&kind.into(), &"h100".into(), &2.into()));
        assert_eq!(plan["phases"].as_array().unwrap().len(), phases);
        let phase = &plan["phases"][0];
        for path in [
            "/parameters",
            "/multiply_adds",
            "/activation_bytes",
            "/launches",
            "/step_flop",
            "/step_bytes",
            "/memory/program",
            "/memory/weights",
            "/memory/gradients",
            "/memory/optimizer",
            "/memory/images",
            "/memory/activations",
            "/memory/workspace",
            "/memory_bytes",
            "/weight_step/device_seconds",
            "/weight_step/launch_seconds",
            "/weight_step/communication_seconds",
            "/weight_step/exposed_seconds",
            "/weight_step/seconds",
            "/images_per_second",
            "/steps_per_epoch",
            "/epochs",
            "/hours",
        ] {
            let found = phase.pointer(path).and_then(Value::as_f64);
            assert!(found.is_some_and(|number| number > 0.0 || path.ends_with("exposed_seconds")), "{path}: {found:?}");
        }
        assert_eq!(phase["alpha_step"].is_object(), kind == "search");
        for path in ["/loader/cores", "/totals/hours", "/totals/gpu_hours", "/totals/memory_bytes", "/train_images"] {
            assert!(plan.pointer(path).and_then(Value::as_f64).is_some_and(|number| number > 0.0), "{path}");
        }
        assert_eq!(plan.pointer("/assumed/calibration").unwrap(), "not_on_this_card");
        assert_eq!(plan["assumed"]["efficiency"].as_array().unwrap().len(), 4);
        assert_eq!(plan["totals"]["fits"], true);
    }
}

#[test]
fn hours_in_the_headers_of_configurations_are_those_of_the_plan() {
    let mut num_stated = 0;
    for entry in fs::read_dir(CONFIGS).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| line.starts_with('#')) {
            let Some((_, call)) = line.split_once("pdarts plan ") else { continue };
            let (arguments, stated) = call.split_once(" says ").unwrap();
            let stated = stated.trim_end_matches('.').split(',').next().unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let plan = json(name, &arguments.split(' ').collect::<Vec<_>>());
            let hours = format!("{:.1}", plan["totals"]["hours"].as_f64().unwrap());
            assert_eq!(stated, hours, "{}: {line}", path.display());
            num_stated += 1;
        }
    }
    assert!(num_stated > 1, "only {num_stated} configurations state hours of a plan");
}

#[test]
fn steps_that_are_not_replayed_say_why() {
    for (name, arguments, told) in [
        ("search-cifar10", &["--gpus", "1", "--set", "run.cuda_graphs=false"][..], "run.cuda_graphs is false"),
        ("search-gdas", &["--gpus", "1"][..], "search.strategy"),
        ("search-cifar10", &["--gpus", "1"][..], "recorded and replayed"),
        ("search-cifar10", &["--gpus", "1", "--set", "search.perturbation=0.3"][..], "search.perturbation"),
        ("search-cifar10", &["--gpus", "1", "--gpu", "v100"][..], "libtorch's operations"),
    ] {
        let plan = json(name, arguments);
        let notes = plan["assumed"]["notes"].as_array().unwrap();
        assert!(notes.iter().any(|note| note.as_str().unwrap().contains(told)), "{name}: {notes:?}");
    }
}

#[test]
fn images_are_those_that_a_limit_leaves() {
    for (name, limit, expected) in
        [("search-quickstart", "0", 2200), ("search-quickstart", "400", 400), ("train-quickstart", "1500", 1500)]
    {
        let plan = json(name, &[&CPU[..], &["--gpus", "1", "--set", &format!("data.limit={limit}")]].concat());
        assert_eq!(plan["train_images"], expected, "{name}, data.limit={limit}");
    }
}

#[test]
fn cpu_takes_the_figures_of_the_machine_and_ranks_share_them() {
    let of = |gpus: &str| json("train-cifar10", &[&CPU[..], &["--gpus", gpus]].concat());
    let (one, two) = (of("1"), of("2"));
    let seconds = |plan: &Value| plan["phases"][0]["weight_step"]["seconds"].as_f64().unwrap();
    assert_eq!(one["assumed"]["peak_tflop_s"].as_f64(), Some(0.2));
    assert_eq!(two["assumed"]["peak_tflop_s"].as_f64(), Some(0.1));
    // Half of the images at half of the rate, and sums.
    assert!(seconds(&two) > 0.9 * seconds(&one) && seconds(&two) < 1.5 * seconds(&one));
    assert_eq!(one["totals"]["fits"], Value::Null);
}

#[test]
fn data_and_cells_are_those_that_are_named() {
    let plan = json("train-quickstart", &[&CPU[..], &["--gpus", "1", "--genotype", "DARTS_V2"]].concat());
    assert_eq!((&plan["cell"], &plan["train_images"]), (&"DARTS_V2".into(), &2200.into()));
    let folder = folder();
    program::image_tree::ImageTree { train_images: 12, validation_images: 2, sides: [64, 80] }
        .write(&folder.path("tree"))
        .unwrap();
    let config = config("train-imagenet-smoke");
    let text = folder.run(&["--config", &config, "--gpus", "2", "--data", "tree"]);
    assert!(text.contains("120 images in 10 classes"), "{text}");
    // A search takes 3 of the 12 images of each class, and not 36 of all.
    let config = self::config("search-imagenet");
    let sets =
        ["data.train_fraction=0.3", "data.alpha_fraction=0.3", "search.global_batch=2", "search.accumulate_steps=1"];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let arguments = ["--config", &config, "--gpus", "1", "--data", "tree", "--json"];
    let plan: Value =
        serde_json::from_str(&folder.run(&arguments.into_iter().chain(sets).collect::<Vec<_>>())).unwrap();
    assert_eq!(plan["phases"][0]["steps_per_epoch"], 15);
}

#[test]
fn what_cannot_be_planned_is_refused_in_one_line() {
    let folder = folder();
    let (search, train) = (config("search-cifar10"), config("train-imagenet"));
    let refusal = |arguments: &[&str]| folder.refusal(arguments, 2);
    assert_eq!(refusal(&["--config", &search, "--gpus", "0"]), "--gpus 0: state 1 or more");
    assert_eq!(refusal(&["--config", &search, "--gpus", "1", "--nodes", "0"]), "--nodes 0: state 1 or more");
    assert_eq!(
        refusal(&["--config", &search, "--gpus", "8", "--nodes", "3"]),
        "--gpus 8 cannot be spread equally over --nodes 3; state a multiple of 3"
    );
    let shared = refusal(&["--config", &train, "--gpus", "6"]);
    assert!(
        shared.contains("train.global_batch: 6 ranks cannot share 1024 images equally; state 1020 or 1026"),
        "{shared}"
    );
    let missing = refusal(&["--config", "nowhere.toml", "--gpus", "1"]);
    assert!(missing.starts_with("cannot read the config nowhere.toml"), "{missing}");
    let gpu = refusal(&["--config", &search, "--gpus", "1", "--gpu", "p100"]);
    assert!(gpu.contains("p100") && gpu.contains("h200"), "{gpu}");
    let cell = refusal(&["--config", &train, "--gpus", "1", "--genotype", "PDARTS_C11"]);
    assert!(cell.contains("PDARTS_C11"), "{cell}");
    let data = refusal(&["--config", &train, "--gpus", "1", "--data", "nowhere"]);
    assert!(data.contains("nowhere"), "{data}");
    let figures = refusal(&["--config", &search, "--gpus", "1", "--gemm", "200", "--stream", "40"]);
    assert_eq!(figures, "--gemm and --stream are of --gpu cpu");
    let negative = refusal(&["--config", &search, "--gpus", "1", "--gpu", "cpu", "--gemm", "0", "--stream", "40"]);
    assert!(negative.contains("state a number above 0"), "{negative}");
    let large = refusal(&["--config", &search, "--gpus", "1", "--set", "data.limit=100"]);
    assert!(large.contains("search.global_batch"), "{large}");
}
