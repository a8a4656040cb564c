//! What a run began with, and which files are a run's own.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::directory::{CONFIG, STARTING};
use super::{EXPERIMENT_FILE, FolderKind, RunDirectory, RunError, SEEDS_FILE, write_json_atomic};

const ORIGIN: &str = "origin.json";
/// Files at the root of a run that nothing else may replace.
const FILES: [&str; 15] = [
    ".lock",
    CONFIG,
    "environment.jsonl",
    EXPERIMENT_FILE,
    "genotype.json",
    "initial-weights.safetensors",
    "log.jsonl",
    "log.jsonl.1",
    "metrics.jsonl",
    ORIGIN,
    "results.json",
    SEEDS_FILE,
    "summary.json",
    "weights.safetensors",
    "weights-ema.safetensors",
];
/// Folders of such files; figures can be drawn again, and are.
const FOLDERS: [&str; 4] = ["alphas", "checkpoints", "events", "heartbeats"];

/// What a run began with, as far as it decides the result.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunOrigin {
    /// The configuration, every key.
    pub config: serde_json::Value,
    /// Digest of the data set.
    pub data: String,
    /// Digest of the sizes of its files, where they are known; earlier versions did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_sizes: Option<String>,
}

impl RunDirectory {
    /// Whether `folder` is a run and `path`, below it, one of the files that a run keeps.
    pub fn owns(folder: &Path, path: &Path) -> bool {
        let is_run = FolderKind::of(folder) != FolderKind::Other;
        let Ok(below) = path.strip_prefix(folder) else { return false };
        let Some(first) = below.components().next().map(|first| first.as_os_str().to_string_lossy()) else {
            return false;
        };
        is_run && (FOLDERS.contains(&first.as_ref()) || FILES.contains(&first.as_ref()))
    }

    /// The weights that the run in `root` began with, where they were not fresh.
    pub fn initial_weights_in(root: &Path) -> PathBuf {
        root.join("initial-weights.safetensors")
    }

    /// Notes what a new run begins with, to compare with when it goes on: with this it has begun.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn record_origin(&mut self, origin: &RunOrigin) -> Result<(), RunError> {
        write_json_atomic(&self.root().join(ORIGIN), origin)?;
        self.keep();
        let mark = self.root().join(STARTING);
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RunError::write(&mark)(error)),
            _ => Ok(()),
        }
    }

    /// What the run began with; `None` in runs of versions that did not note it.
    pub fn origin(&self) -> Option<RunOrigin> {
        serde_json::from_str(&fs::read_to_string(self.root().join(ORIGIN)).ok()?).ok()
    }
}
