//! `seeds.json`: trainings that differ in their seeds, with all that is needed to go on with them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{FolderKind, RunError, SEEDS_FILE, TrainedCell, stated, write_json_atomic};
use crate::config::{Settings, TrainConfig, Violation, validate_seeds};

/// The content of the file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SeedsFile {
    /// Each once.
    pub seeds: Vec<u64>,
    /// With any seed.
    pub config: TrainConfig,
    /// The cell that all train.
    pub cell: TrainedCell,
    /// File of weights that all begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<PathBuf>,
}

impl SeedsFile {
    /// Whether `root` was begun with several seeds.
    pub fn is_in(root: &Path) -> bool {
        FolderKind::of(root) == FolderKind::Seeds
    }

    /// Reads that of the folder `root`, which anybody may have changed.
    ///
    /// # Errors
    /// [`RunError::Read`], or [`RunError::Config`] of a file that no call could have written.
    pub fn read(root: &Path) -> Result<Self, RunError> {
        let path = root.join(SEEDS_FILE);
        let text = fs::read_to_string(&path).map_err(RunError::read(&path))?;
        let file: Self = stated::parse(&path, &text)?;
        let checked = validate_seeds("seeds", &file.seeds).and_then(|()| file.config.validate());
        checked.map_err(|violation: Violation| RunError::config(&path, format!("cannot be used ({violation})")))?;
        Ok(file)
    }

    /// Writes it in the folder `root`.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn write(&self, root: &Path) -> Result<(), RunError> {
        write_json_atomic(&root.join(SEEDS_FILE), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genotype::library;

    #[test]
    fn what_was_changed_by_hand_is_checked_as_what_was_stated() {
        let folder = tempfile::tempdir().unwrap();
        let cell = TrainedCell::new("any".to_owned(), library::find("PDARTS_C10").unwrap().genotype, None);
        let file = SeedsFile { seeds: vec![0, 1], config: TrainConfig::default(), cell, initial: None };
        let read = |change: &dyn Fn(&mut SeedsFile)| {
            let mut changed = file.clone();
            change(&mut changed);
            changed.write(folder.path()).unwrap();
            SeedsFile::read(folder.path())
        };
        assert_eq!(read(&|_| {}).unwrap(), file);
        for (change, expected) in [
            (
                &(|file: &mut SeedsFile| file.config.train.accumulate_steps = 0) as &dyn Fn(&mut SeedsFile),
                "train.accumulate_steps: 0 is too small",
            ),
            (&|file| file.seeds = vec![4, 4], "seeds: 4 is listed twice"),
            (&|file| file.seeds.clear(), "seeds: there is none"),
        ] {
            let error = read(change).unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(expected), "{error}");
        }
    }
}
