//! `experiment.json`: which strategies search with which seeds, and how their cells are trained.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{EXPERIMENT_FILE, FolderKind, RunError, stated, write_json_atomic};
use crate::config::{SearchConfig, Settings, TrainConfig, validate_seeds, validate_strategies};

/// Everything that an experiment runs: the content of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentFile {
    /// Each once.
    pub seeds: Vec<u64>,
    /// Name of the strategy that the others are tested against.
    pub reference: String,
    /// In the order of the table.
    pub strategies: Vec<ComparedSearch>,
    /// Of every cell; the seed is that of the search.
    pub train: TrainConfig,
}

/// One strategy of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedSearch {
    /// That of its folder, too.
    pub name: String,
    /// With any seed.
    pub search: SearchConfig,
}

impl ExperimentFile {
    /// Whether `root` is the folder of an experiment.
    pub fn is_in(root: &Path) -> bool {
        FolderKind::of(root) == FolderKind::Experiment
    }

    /// Reads that of the folder `root`, which anybody may have changed.
    ///
    /// # Errors
    /// [`RunError::NotAnExperiment`], or [`RunError::Config`] of a file that no call could have written.
    pub fn read(root: &Path) -> Result<Self, RunError> {
        let path = root.join(EXPERIMENT_FILE);
        let text =
            fs::read_to_string(&path).map_err(|cause| RunError::NotAnExperiment { root: root.to_owned(), cause })?;
        let file: Self = stated::parse(&path, &text)?;
        file.validate().map_err(|problem| RunError::config(&path, format!("cannot be used ({problem})")))?;
        Ok(file)
    }

    /// Writes it in the folder `root`.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn write(&self, root: &Path) -> Result<(), RunError> {
        write_json_atomic(&root.join(EXPERIMENT_FILE), self)
    }

    /// Where the experiment in `root` keeps the runs of a strategy with a seed: `search` and `train`.
    pub fn pair_folder(root: &Path, strategy: &str, seed: u64) -> PathBuf {
        root.join(strategy).join(format!("seed{seed}"))
    }

    /// What a file that was read violates first.
    fn validate(&self) -> Result<(), String> {
        let names: Vec<&str> = self.strategies.iter().map(|strategy| strategy.name.as_str()).collect();
        validate_seeds("seeds", &self.seeds).map_err(|violation| violation.to_string())?;
        validate_strategies(&names, "reference", &self.reference).map_err(|violation| violation.to_string())?;
        for ComparedSearch { name, search } in &self.strategies {
            search.validate().map_err(|violation| format!("strategy {name}: {violation}"))?;
        }
        self.train.validate().map_err(|violation| format!("train: {violation}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_by_hand_is_checked_as_what_was_stated() {
        let folder = tempfile::tempdir().unwrap();
        let strategy = ComparedSearch { name: "darts".to_owned(), search: SearchConfig::default() };
        let file = ExperimentFile {
            seeds: vec![0, 1],
            reference: "darts".to_owned(),
            strategies: vec![strategy],
            train: TrainConfig::default(),
        };
        let read = |change: &dyn Fn(&mut ExperimentFile)| {
            let mut changed = file.clone();
            change(&mut changed);
            changed.write(folder.path()).unwrap();
            ExperimentFile::read(folder.path())
        };
        assert_eq!(read(&|_| {}).unwrap(), file);
        for (change, expected) in [
            (
                &(|file: &mut ExperimentFile| file.strategies[0].search.search.accumulate_steps = 0)
                    as &dyn Fn(&mut ExperimentFile),
                "strategy darts: search.accumulate_steps: 0 is too small",
            ),
            (&|file| file.train.train.accumulate_steps = 0, "train: train.accumulate_steps: 0 is too small"),
            (&|file| file.strategies[0].name = "../elsewhere".to_owned(), "cannot be a folder"),
            (&|file| file.reference = "chance".to_owned(), "reference: there is no strategy chance"),
            (&|file| file.seeds = vec![4, 4], "seeds: 4 is listed twice"),
        ] {
            let error = read(change).unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(expected), "{error}");
        }
    }
}
