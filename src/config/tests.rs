//! Loading as its user sees it: which values result, and the text of each error.

use std::path::{Path, PathBuf};

use super::*;
use crate::genotype::{NetworkKind, Operation};

/// Loads `text` as the file `run.toml`, whose folder is cut from error messages.
fn load(text: &str, overrides: &[&str]) -> Result<SearchConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    std::fs::write(&path, text).unwrap();
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    SearchConfig::load(&path, &overrides)
        .map_err(|error| error.to_string().replace(&path.display().to_string(), "run.toml"))
}

fn error(text: &str, overrides: &[&str]) -> String {
    let message = load(text, overrides).unwrap_err();
    assert!(!message.contains('\n'), "more than a line: {message}");
    message
}

#[test]
fn empty_file_is_the_defaults() {
    assert_eq!(load("", &[]), Ok(SearchConfig::default()));
    assert_eq!(load("# nothing\n[search]\n", &[]), Ok(SearchConfig::default()));
}

#[test]
fn file_states_what_differs() {
    let text = "[search]\nepochs = 30\noperations = [\"skip_connect\", \"sep_conv_3x3\"]\n\
                [optimizer.weights]\nmomentum = 0\n\
                [[search.stages]]\ncells = 8\nkeep = 1\nskip_dropout = 0.2\n";
    let config = load(text, &[]).unwrap();
    let mut expected = SearchConfig::default();
    expected.search.epochs = 30;
    expected.search.operations = vec![Operation::SkipConnect, Operation::SepConv3x3];
    expected.optimizer.weights.momentum = 0.0;
    expected.search.stages = vec![StageSection { cells: 8, keep: 1, skip_dropout: 0.2 }];
    assert_eq!(config, expected);
}

#[test]
fn overrides_win_over_the_file_and_over_earlier_ones() {
    let config = load("[search]\nepochs = 30\n", &["search.epochs=40", "search.epochs = 50", "run.seed=0xFF"]).unwrap();
    assert_eq!(config.search.epochs, 50);
    assert_eq!(config.run.seed, 255);
}

#[test]
fn overrides_take_strings_with_and_without_quotes() {
    let config = load("", &["data.dataset=cifar100", "run.device=\"cpu\"", "data.dir=2024"]);
    let config = config.unwrap();
    assert_eq!(config.data.dataset, DatasetName::Cifar100);
    assert_eq!(config.run.device, DeviceChoice::Cpu);
    assert_eq!(config.data.dir, PathBuf::from("2024"));
}

#[test]
fn override_of_a_path_keeps_equals_signs() {
    let config = load("", &["data.dir=/a=b/c"]).unwrap();
    assert_eq!(config.data.dir, PathBuf::from("/a=b/c"));
}

#[test]
fn overrides_change_one_element_of_a_list() {
    let config = load("", &["search.stages.0.cells=3", "search.stages.2={cells=8}"]).unwrap();
    let cells: Vec<usize> = config.search.stages.iter().map(|stage| stage.cells).collect();
    assert_eq!(cells, [3, 11, 8]);
    assert_eq!(config.search.stages[2].skip_dropout, 0.7);
}

#[test]
fn overrides_replace_lists_and_tables() {
    let config = load(
        "",
        &[
            "search.stages=[{cells=4,keep=1,skip_dropout=0}]",
            "search.operations=['skip_connect', 'max_pool_3x3']",
            "optimizer.alphas={beta1=0.9}",
        ],
    )
    .unwrap();
    assert_eq!(config.search.stages.len(), 1);
    assert_eq!(config.search.operations, [Operation::SkipConnect, Operation::MaxPool3x3]);
    assert_eq!(config.optimizer.alphas.beta1, 0.9);
    assert_eq!(config.optimizer.alphas.beta2, 0.999);
}

#[test]
fn resolved_config_loads_as_itself() {
    let config = load("", &["run.seed=9", "search.stages.1.skip_dropout=0.1"]).unwrap();
    assert_eq!(load(&config.to_toml().unwrap(), &[]), Ok(config));
}

#[test]
fn missing_file_is_named() {
    let message = SearchConfig::load(Path::new("no/such.toml"), &[]).unwrap_err().to_string();
    assert!(message.starts_with("cannot read the config no/such.toml: No such file"), "{message}");
}

#[test]
fn invalid_toml_is_named_with_its_line() {
    assert_eq!(
        error("[run]\nseed = \n", &[]),
        "run.toml:2: invalid TOML: string values must be quoted, expected literal string"
    );
    assert_eq!(error("[run]\nseed = 1\nseed = 2\n", &[]), "run.toml:3: invalid TOML: duplicate key");
    assert_eq!(error("[run\n", &[]), "run.toml:1: invalid TOML: unclosed table, expected `]`");
}

#[test]
fn unknown_keys_are_named_with_the_nearest() {
    assert_eq!(
        error("[run]\nseed = 1\n\n[search]\nepoch = 3\n", &[]),
        "run.toml:5: unknown key `search.epoch`; did you mean `search.epochs`?"
    );
    assert_eq!(error("[serch]\nepochs = 3\n", &[]), "run.toml:1: unknown key `serch`; did you mean `search`?");
    assert_eq!(error("seed = 3\n", &[]), "run.toml:1: unknown key `seed`; did you mean `run.seed`?");
}

#[test]
fn unknown_keys_find_their_name_in_another_section() {
    assert_eq!(
        error("[model]\nepochs = 3\n", &[]),
        "run.toml:2: unknown key `model.epochs`; did you mean `search.epochs`?"
    );
    assert_eq!(
        error("[optimizer]\nmomentum = 0.5\n", &[]),
        "run.toml:2: unknown key `optimizer.momentum`; did you mean `optimizer.weights.momentum`? (`optimizer.momentum` is \
         of a training: pdarts train reads it, pdarts config show --kind train shows it)"
    );
}

#[test]
fn unknown_keys_of_a_stage_are_named_with_its_index() {
    assert_eq!(
        error("[[search.stages]]\ncells = 5\n\n[[search.stages]]\ncell = 5\n", &[]),
        "run.toml:1: search.stages.0: missing key `keep`"
    );
    assert_eq!(
        error("[[search.stages]]\ncells = 5\nkeep = 5\nskip_dropout = 0\n[[search.stages]]\ncell = 5\n", &[]),
        "run.toml:6: unknown key `search.stages.1.cell`; did you mean `search.stages.1.cells`?"
    );
}

#[test]
fn unlike_keys_are_pointed_to_the_list_of_keys() {
    assert_eq!(error("[zzz]\n", &[]), "run.toml:1: unknown key `zzz`; `pdarts config show` lists all keys");
}

#[test]
fn wrong_types_are_named_with_both_types() {
    let cases = [
        (2, "[search]\nepochs = \"3\"", "search.epochs: expected an unsigned integer, found a string"),
        (2, "[search]\nepochs = -3", "search.epochs: expected an unsigned integer, found the integer -3"),
        (2, "[search]\nepochs = 2.5", "search.epochs: expected an unsigned integer, found the number 2.5"),
        (2, "[data]\nhorizontal_flip = 1", "data.horizontal_flip: expected true or false, found the integer 1"),
        (2, "[data]\ncutout = false", "data.cutout: expected an unsigned integer, found false"),
        (2, "[data]\ndir = 2024-01-01", "data.dir: expected a string, found a date"),
        (2, "[optimizer.alphas]\nbeta1 = []", "optimizer.alphas.beta1: expected a number, found an array"),
        (1, "search = 3", "search: expected a table, found the integer 3"),
        (1, "[search.stages]\ncells = 3", "search.stages: expected an array, found a table"),
        (2, "[search]\nstages = [3]", "search.stages.0: expected a table, found the integer 3"),
        (4, "[search]\noperations = [\n'none',\n3]", "search.operations.1: expected a string, found the integer 3"),
    ];
    for (line, text, expected) in cases {
        assert_eq!(error(text, &[]), format!("run.toml:{line}: {expected}"));
    }
}

#[test]
fn values_that_a_type_refuses_are_named() {
    assert_eq!(
        error("[run]\n\ndevice = \"gpu\"\n", &[]),
        "run.toml:3: run.device: unknown variant `gpu`, expected one of `auto`, `cpu`, `cuda`"
    );
    assert_eq!(
        error("[run]\nseed = 18446744073709551615\n", &[]),
        "run.toml:2: run.seed: 18446744073709551615 is beyond 9223372036854775807, where the integers of TOML end"
    );
    let message = error("[search]\noperations = [\"sepconv\"]\n", &[]);
    assert!(message.starts_with("run.toml:2: search.operations: "), "{message}");
}

#[test]
fn wrong_overrides_are_named_as_typed() {
    let cases = [
        ("search.epoch=3", "unknown key `search.epoch`; did you mean `search.epochs`?"),
        ("search={epoch=3}", "unknown key `search.epoch`; did you mean `search.epochs`?"),
        ("search.stages.0.cell=3", "unknown key `search.stages.0.cell`; did you mean `search.stages.0.cells`?"),
        ("search.epochs", "expected KEY=VALUE, for example --set search.epochs=10"),
        ("=3", "expected KEY=VALUE, for example --set search.epochs=10"),
        ("search.epochs=ten", "search.epochs: expected an unsigned integer, found a string"),
        ("search.epochs=", "search.epochs: expected an unsigned integer, found a string"),
        ("run.device=gpu", "run.device: unknown variant `gpu`, expected one of `auto`, `cpu`, `cuda`"),
        (
            "search.stages.3.cells=3",
            "search.stages.3.cells: no such element; an override changes an element that the list has",
        ),
        ("search.stages=[{cells=3}]", "search.stages.0: missing key `keep`"),
        ("model.channels=15", "model.channels: a reduction cannot halve 15 channels; state an even number above 0"),
    ];
    for (assignment, expected) in cases {
        assert_eq!(error("", &[assignment]), format!("--set {assignment}: {expected}"));
    }
}

#[test]
fn impossible_values_are_named_where_they_stand() {
    assert_eq!(
        error("[model]\nchannels = 7\n", &[]),
        "run.toml:2: model.channels: a reduction cannot halve 7 channels; state an even number above 0"
    );
    let stages = "[[search.stages]]\ncells = 5\nkeep = 4\nskip_dropout = 0\n\
                  [[search.stages]]\ncells = 5\nskip_dropout = 0\nkeep = 6\n";
    assert_eq!(
        error(stages, &[]),
        "run.toml:8: search.stages.1.keep: the stage starts with 4 operations; state 1 to 4, not 6"
    );
    // The key at fault was left to its default.
    assert_eq!(
        error("[search]\nepochs = 5\n", &[]),
        "run.toml: search.alpha_start_epoch: 10 is beyond search.epochs = 5; state 0 to 5"
    );
}

#[test]
fn shipped_configs_load() {
    let shipped = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        SearchConfig::load(&folder.join(name), &[]).unwrap()
    };
    let cifar10 = shipped("search-cifar10.toml");
    assert_eq!(cifar10, SearchConfig::default());
    let cifar100 = shipped("search-cifar100.toml");
    let rates: Vec<f64> = cifar100.search.stages.iter().map(|stage| stage.skip_dropout).collect();
    assert_eq!(cifar100.data.dataset, DatasetName::Cifar100);
    assert_eq!(rates, [0.1, 0.2, 0.3]);
    let imagenet = shipped("search-imagenet.toml");
    assert_eq!((imagenet.data.dataset, imagenet.data.alpha_fraction), (DatasetName::Images, 0.025));
    assert_eq!(imagenet.network_kind(), NetworkKind::ImageNet);
    assert!(imagenet.validate_with_dataset(1_281_167).is_ok() && imagenet.validate_with_ranks(8).is_ok());
    let (darts, pc_darts) = (shipped("search-darts.toml"), shipped("search-pc-darts.toml"));
    assert_eq!((darts.search.strategy, darts.search.order), (StrategyName::Darts, 2));
    assert_eq!((pc_darts.search.strategy, pc_darts.search.partial_channels), (StrategyName::PcDarts, 4));
    let gdas = shipped("search-gdas.toml");
    assert_eq!((gdas.search.strategy, gdas.search.temperature), (StrategyName::Gdas, 10.0));
    let snas = shipped("search-snas.toml");
    assert_eq!((snas.search.strategy, snas.search.temperature_end), (StrategyName::Snas, 0.03));
    for (name, strategy, candidates) in
        [("search-random.toml", StrategyName::Random, 24), ("search-evolution.toml", StrategyName::Evolution, 400)]
    {
        let config = shipped(name);
        assert_eq!((config.search.strategy, config.evaluation.candidates), (strategy, candidates));
        assert_eq!(config.evaluation_config().validate(), Ok(()));
    }
    let quickstart = shipped("search-quickstart.toml");
    assert!(quickstart.validate_with_dataset(2200).is_ok());
}

#[test]
fn home_folder_is_known_in_paths_of_files_and_overrides_and_nowhere_else() {
    let home = std::env::home_dir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("home.toml");
    std::fs::write(&file, "[data]\ndir = \"~/cifar\"\n").unwrap();
    assert_eq!(SearchConfig::load(&file, &[]).unwrap().data.dir, home.join("cifar"));
    assert_eq!(TrainConfig::load(&file, &[]).unwrap().data.dir, home.join("cifar"));
    for assignment in ["data.dir=~/x", "data.dir=\"~/x\"", "data.dir = ~/x"] {
        let config = SearchConfig::from_overrides(&[assignment.to_owned()]).unwrap();
        assert_eq!(config.data.dir, home.join("x"), "{assignment}");
    }
    let message = SearchConfig::from_overrides(&["data.dir=~no-such-user-here/x".to_owned()]).unwrap_err().to_string();
    assert!(message.contains("data.dir: ~no-such-user-here/x: there is no user"), "{message}");
    let message = SearchConfig::from_overrides(&["data.dataset=~".to_owned()]).unwrap_err().to_string();
    assert!(message.contains("`~`"), "{message}");
}

#[test]
fn what_is_too_long_for_a_configuration_is_not_read_to_its_end() {
    let expected = "cannot read the config run.toml: longer than 1 MiB, no configuration";
    assert_eq!(error(&"# and so on\n".repeat(100_000), &[]), expected);
    let device = SearchConfig::load(Path::new("/dev/zero"), &[]).unwrap_err().to_string();
    assert_eq!(device, expected.replace("run.toml", "/dev/zero"));
    // Nor compared with all known keys.
    let key = "é".repeat(200_000);
    assert!(error(&format!("\"{key}\" = 1"), &[]).contains("unknown key"));
}

#[test]
fn configuration_of_another_kind_is_told_with_what_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    let refused = |text: &str, load: fn(&Path) -> ConfigError| {
        std::fs::write(&path, text).unwrap();
        load(&path).to_string().replace(&path.display().to_string(), "x.toml")
    };
    let search = |path: &Path| SearchConfig::load(path, &[]).unwrap_err();
    let training = |path: &Path| TrainConfig::load(path, &[]).unwrap_err();
    let experiment = |path: &Path| CompareConfig::load(path, &[]).unwrap_err();
    let of_training = "of a training: pdarts train reads it, pdarts config show --kind train shows it";
    assert_eq!(
        refused("[model]\ncells = 8\n[train]\nepochs = 3\n", search),
        format!("x.toml:2: unknown key `model.cells`; it is {of_training}")
    );
    assert_eq!(refused("[schedule]\n", search), format!("x.toml:1: unknown key `schedule`; it is {of_training}"));
    assert_eq!(
        refused("[search]\nepochs = 3\n", training),
        "x.toml:1: unknown key `search`; it is of a search: pdarts search reads it, pdarts config show shows it"
    );
    assert_eq!(
        refused("[model]\nchannels = 8\n", experiment),
        "x.toml:1: unknown key `model`; it is of a search or a training: pdarts search or pdarts train reads it"
    );
    assert!(refused("[[strategies]]\n", search).ends_with("pdarts config show --kind compare shows it"));
    // Of a key that both might have meant, both are told.
    let message = error("", &["model.cells=3"]);
    assert!(message.contains("did you mean `evaluation.cells`? (`model.cells` is of a training: "), "{message}");
}

#[test]
fn text_that_is_not_utf8_is_told_by_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    for (bytes, expected) in [
        (&b"[run]\nseed = 1 # caf\xe9\n"[..], "line 2 is not UTF-8; save it as UTF-8"),
        (b"\xff\xfe[\0r\0u\0n\0]\0", "it is UTF-16; save it as UTF-8"),
        (b"\xfe\xff\0[\0r\0u\0n\0]", "it is UTF-16; save it as UTF-8"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let message = SearchConfig::load(&path, &[]).unwrap_err().to_string();
        assert_eq!(message, format!("cannot read the config {}: {expected}", path.display()));
    }
}

#[test]
fn integers_that_toml_does_not_have_are_refused_in_plain_words() {
    for number in ["99999999999999999999", "9223372036854775808", "0xFFFFFFFFFFFFFFFF"] {
        let messages = [error(&format!("[run]\nseed = {number}\n"), &[]), error("", &[&format!("run.seed={number}")])];
        for message in messages {
            assert!(message.ends_with("is beyond 9223372036854775807, where the integers of TOML end"), "{message}");
            assert!(message.contains(": run.seed: "), "{message}");
        }
    }
    assert_eq!(load("", &["run.seed=9223372036854775807"]).unwrap().run.seed, i64::MAX as u64);
}

#[test]
fn override_that_violates_a_relation_is_blamed_and_not_the_file() {
    let text = "[search]\nglobal_batch = 64\nepochs = 10\nalpha_start_epoch = 5\n";
    let message = error(text, &["run.seed=1", "search.epochs=4", "run.threads=2"]);
    assert!(message.starts_with("--set search.epochs=4: search.alpha_start_epoch: "), "{message}");
    // What the file itself violates stays its own, and what a later override mends is none.
    let message = error("[search]\nepochs = 4\nalpha_start_epoch = 5\n", &["run.seed=1"]);
    assert!(message.starts_with("run.toml:3: search.alpha_start_epoch: "), "{message}");
    load(text, &["search.epochs=4", "search.alpha_start_epoch=2"]).unwrap();
}
