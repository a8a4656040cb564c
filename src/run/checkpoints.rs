//! Names and lifetime of a run's checkpoints. What they hold is the trainer's affair.

use std::fs;
use std::path::{Path, PathBuf};

use super::RunError;
use crate::files::sync_directory;

/// A second name of the checkpoint after the epoch with the best validation accuracy.
pub(super) const BEST: &str = "best.safetensors";

/// When a checkpoint was taken; later ones compare greater.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Moment {
    pub stage: usize,
    pub epoch: usize,
    pub step: u64,
}

impl Moment {
    pub fn file_name(self) -> String {
        let Self { stage, epoch, step } = self;
        format!("stage{stage}-epoch{epoch:03}-step{step:08}.safetensors")
    }

    fn from_file_name(name: &str) -> Option<Self> {
        let name = name.strip_suffix(".safetensors")?.strip_prefix("stage")?;
        let (stage, name) = name.split_once("-epoch")?;
        let (epoch, step) = name.split_once("-step")?;
        Some(Self { stage: stage.parse().ok()?, epoch: epoch.parse().ok()?, step: step.parse().ok()? })
    }
}

/// The checkpoints in `directory`, oldest first. Other files are not looked at.
pub(super) fn list(directory: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(RunError::read(directory))? {
        let entry = entry.map_err(RunError::read(directory))?;
        if let Some(moment) = entry.file_name().to_str().and_then(Moment::from_file_name) {
            found.push((moment, entry.path()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Removes all checkpoints in `directory` but the newest `keep`, and never the last one.
pub(super) fn prune(directory: &Path, keep: usize) -> Result<(), RunError> {
    // The newer ones must outlive a power cut before the older ones go.
    sync_directory(directory).map_err(RunError::write(directory))?;
    let checkpoints = list(directory)?;
    let num_old = checkpoints.len().saturating_sub(keep.max(1));
    for path in &checkpoints[..num_old] {
        fs::remove_file(path).map_err(RunError::write(path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory_with(moments: &[(usize, usize, u64)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for &(stage, epoch, step) in moments {
            fs::write(directory.path().join(Moment { stage, epoch, step }.file_name()), "").unwrap();
        }
        directory
    }

    #[test]
    fn checkpoints_are_listed_oldest_first_even_where_names_outgrow_their_padding() {
        let ordered = [(1, 2, 40), (1, 999, 99_999_999), (1, 1000, 100_000_000), (2, 0, 5), (10, 0, 1)];
        let directory = directory_with(&ordered);
        fs::write(directory.path().join("notes.txt"), "").unwrap();
        fs::write(directory.path().join(".partial-abc"), "").unwrap();
        let expected: Vec<_> = ordered
            .iter()
            .map(|&(stage, epoch, step)| directory.path().join(Moment { stage, epoch, step }.file_name()))
            .collect();
        assert_eq!(list(directory.path()).unwrap(), expected);
    }

    #[test]
    fn pruning_keeps_the_newest_and_at_least_one() {
        let directory = directory_with(&[(1, 1, 10), (1, 2, 20), (2, 1, 30)]);
        prune(directory.path(), 2).unwrap();
        let left = list(directory.path()).unwrap();
        assert_eq!(left.len(), 2);
        assert!(left[0].ends_with("stage1-epoch002-step00000020.safetensors"));
        prune(directory.path(), 0).unwrap();
        assert_eq!(list(directory.path()).unwrap(), left[1..]);
        prune(directory.path(), 5).unwrap();
        assert_eq!(list(directory.path()).unwrap(), left[1..]);
    }
}
