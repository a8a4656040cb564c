//! Configurations: TOML files and `--set`.

use std::fs;

use pdarts::config::{SearchConfig, Settings, TrainConfig};

use crate::amount;
use crate::corpus::{deep, files_in, folder};
use crate::target::Target;

const TOKENS: &[&str] = &[
    "[run]",
    "[[search.stages]]",
    "[train]",
    "seed",
    "epochs",
    " = ",
    "=",
    "\n",
    ".",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"",
    "'''",
    "\"\"\"",
    "\\u0000",
    "0x",
    "inf",
    "-nan",
    "1979-05-27T07:32:00Z",
    "true",
    "~",
    "search.stages.0.cells",
    "#",
    "data.dir",
    "\u{feff}",
    "é",
];

fn written(kind: &str) -> Vec<Vec<u8>> {
    let files = files_in("configs").into_iter();
    files.filter(|path| path.to_string_lossy().contains(kind)).map(|path| fs::read(path).unwrap()).collect()
}

fn nested() -> Vec<Vec<u8>> {
    let elements = format!("[data]\ndir = [{}]", "1,".repeat(50_000));
    let bytes = ["[", "a.", "{a=", "[a.", "[[", "a=["].map(deep);
    bytes.into_iter().chain([elements.into_bytes(), [b"run.".to_vec(), deep("é")].concat()]).collect()
}

/// All that is made of a configuration that was read.
pub fn use_config<C: Settings>(config: &C) -> Result<(), String> {
    let text = config.to_toml().map_err(|error| error.to_string())?;
    assert!(!text.is_empty());
    config.digest().and(config.changes()).map_err(|error| error.to_string())?;
    Ok(())
}

fn files<C: Settings>(name: &'static str, kind: &str) {
    let (folder, mut valid) = (folder(), written(kind));
    valid.push(C::commented_defaults().unwrap().into_bytes());
    let path = folder.path().join("config.toml");
    Target { name, valid, hostile: nested(), tokens: TOKENS, expansion: 1000 }.run(amount(150, 100_000), |input| {
        fs::write(&path, input).unwrap();
        use_config(&C::load(&path, &[]).map_err(|error| error.to_string())?)
    });
}

#[test]
fn configurations_of_searches() {
    files::<SearchConfig>("config-search", "search-");
}

#[test]
fn configurations_of_trainings() {
    files::<TrainConfig>("config-train", "train-");
}

fn overrides<C: Settings>(name: &'static str, valid: &[&str]) {
    let valid = valid.iter().map(|text| text.as_bytes().to_vec()).collect();
    Target { name, valid, hostile: nested(), tokens: TOKENS, expansion: 1000 }.run(amount(500, 400_000), |input| {
        let assignments: Vec<String> = String::from_utf8_lossy(input).lines().map(str::to_owned).collect();
        use_config(&C::from_overrides(&assignments).map_err(|error| error.to_string())?)
    });
}

#[test]
fn overrides_of_searches() {
    overrides::<SearchConfig>(
        "set-search",
        &[
            "run.seed=3\nsearch.epochs=30",
            "search.stages.1.cells = 8",
            "data.dir=/a b",
            "search.stages=[{cells=5,keep=1,skip_dropout=0.0}]",
        ],
    );
}

#[test]
fn overrides_of_trainings() {
    overrides::<TrainConfig>(
        "set-train",
        &["train.epochs=3", "data.dir=2024\nrun.seed=7", "optimizer.learning_rate = 0.1"],
    );
}
