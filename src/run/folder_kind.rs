//! What a folder is, by the files that are written there first.

use std::fmt;
use std::path::Path;

use super::RunDirectory;
use super::directory::CONFIG;
use crate::config::{CompareConfig, ConfigKind, Settings, TrainConfig};

/// In the folder of several trainings: which seeds there are to be, configuration and cell.
pub const SEEDS_FILE: &str = "seeds.json";
/// In the folder of an experiment: strategies, seeds and configurations of all runs.
pub const EXPERIMENT_FILE: &str = "experiment.json";

/// What a folder is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum FolderKind {
    /// The run of a search.
    Search,
    /// The run of a training.
    Training,
    /// Trainings that differ in their seeds.
    Seeds,
    /// The runs of an experiment.
    Experiment,
    /// Neither, or nothing that can be looked into.
    Other,
}

impl FolderKind {
    /// That of `root`.
    pub fn of(root: &Path) -> Self {
        let has = |name: &str| root.join(name).is_file();
        match () {
            () if has(EXPERIMENT_FILE) => Self::Experiment,
            () if has(SEEDS_FILE) => Self::Seeds,
            () if has(CONFIG) => match ConfigKind::of_file(&RunDirectory::config_path_in(root)) {
                Some(ConfigKind::Training) => Self::Training,
                Some(ConfigKind::Search) | None => Self::Search,
            },
            () => Self::Other,
        }
    }

    /// Whether it is one run, or trainings that count as one.
    pub fn is_run(self) -> bool {
        matches!(self, Self::Search | Self::Training | Self::Seeds)
    }

    /// The command that goes on with it.
    pub fn command(self) -> Option<&'static str> {
        match self {
            Self::Search => Some(ConfigKind::Search.command()),
            Self::Training => Some(ConfigKind::Training.command()),
            Self::Seeds => Some(TrainConfig::COMMAND),
            Self::Experiment => Some(CompareConfig::COMMAND),
            Self::Other => None,
        }
    }

    /// The call that goes on with what is in `root`.
    pub fn resume_command(self, root: &Path) -> Option<String> {
        Some(format!("{} --resume {}", self.command()?, root.display()))
    }
}

impl fmt::Display for FolderKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Search => "the run of a search",
            Self::Training => "the run of a training",
            Self::Seeds => "the folder of trainings with several seeds",
            Self::Experiment => "the folder of an experiment",
            Self::Other => "no run",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::SearchConfig;

    #[test]
    fn folders_are_told_by_what_is_written_there_first() {
        let folder = tempfile::tempdir().unwrap();
        let search = SearchConfig::default().to_toml().unwrap();
        let training = TrainConfig::default().to_toml().unwrap();
        for (name, content, expected) in [
            ("summary.json", "{}", FolderKind::Other),
            (CONFIG, &search, FolderKind::Search),
            (CONFIG, &training, FolderKind::Training),
            (SEEDS_FILE, "{}", FolderKind::Seeds),
            (EXPERIMENT_FILE, "{}", FolderKind::Experiment),
        ] {
            fs::write(folder.path().join(name), content).unwrap();
            assert_eq!(FolderKind::of(folder.path()), expected, "{name}");
        }
        assert_eq!(FolderKind::of(&folder.path().join("none")), FolderKind::Other);
        assert_eq!(FolderKind::of(&folder.path().join("summary.json")), FolderKind::Other);
        let command = |kind: FolderKind| kind.resume_command(Path::new("a"));
        assert_eq!(command(FolderKind::Seeds).as_deref(), Some("pdarts train --resume a"));
        assert_eq!(command(FolderKind::Other), None);
    }
}
