//! The training that tests run; each test binary uses its part.
#![allow(dead_code)]

use std::sync::LazyLock;

use crate::program::{Folder, Kept, Outcome};

/// Steps of one epoch.
pub const STEPS_PER_EPOCH: usize = 4;
/// Epochs of the training.
pub const EPOCHS: usize = 2;

/// A training of seconds with everything that has a state: drop path, auxiliary head, an average of the weights,
/// augmentation, validation.
const CONFIG: &str = r#"
[run]
threads = 1
device = "cpu"
log_every_steps = 1

[data]
dataset = "photodigits"
limit = 40
train_fraction = 0.8
policy = "randaugment"

[model]
channels = 4
cells = 4

[train]
global_batch = 8
epochs = 2
drop_path = 0.3
label_smoothing = 0.1
ema_decay = 0.9
validate_every_epochs = 1
"#;

pub const START: [&str; 6] = ["--config", "train.toml", "--genotype", "PDARTS_C10", "--out", "run"];
pub const RESUME: [&str; 2] = ["--resume", "run"];

pub fn folder() -> Folder {
    Folder::with("train", CONFIG)
}

/// An uninterrupted training, which all tests share.
static COMPLETE: LazyLock<(Outcome, Kept)> = LazyLock::new(|| {
    let folder = folder();
    folder.run(&START);
    let run = folder.path("run");
    (Outcome::of(&run), Kept::of(&run))
});

/// What it comes to.
pub static UNINTERRUPTED: LazyLock<&Outcome> = LazyLock::new(|| &COMPLETE.0);

/// A folder with a complete training in `run`.
pub fn complete_training() -> Folder {
    let folder = folder();
    COMPLETE.1.write(&folder.path("run"));
    folder
}
