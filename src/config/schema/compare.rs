//! Sections and keys of the configuration of an experiment: searches by several strategies with several seeds, and one
//! training that is the same for all cells that they find.
//!
//! Searches and training are configurations of their own; here they are named, and changed by assignments.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Section;

/// A whole experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompareConfig {
    /// `[compare]`
    pub compare: CompareSection,
    /// `[search]`
    pub search: CommonSearchSection,
    /// `[train]`
    pub train: CommonTrainSection,
    /// `[[strategies]]`
    pub strategies: Vec<ComparedSection>,
}

impl Default for CompareConfig {
    fn default() -> Self {
        let entry = |name: &str, set: &[&str]| ComparedSection {
            name: name.to_owned(),
            config: PathBuf::new(),
            set: set.iter().map(|&assignment| assignment.to_owned()).collect(),
        };
        Self {
            compare: CompareSection::default(),
            search: CommonSearchSection::default(),
            train: CommonTrainSection::default(),
            strategies: vec![
                entry("p-darts", &[]),
                entry("random", &["search.strategy=random", "evaluation.candidates=1"]),
            ],
        }
    }
}

/// Every section, in the order of the file.
pub(in crate::config) const SECTIONS: [Section; 4] =
    [CompareSection::SECTION, CommonSearchSection::SECTION, CommonTrainSection::SECTION, ComparedSection::SECTION];

section! {
    /// An experiment: each strategy searches once with each seed, and each cell is trained with the seed of its search.
    CompareSection at "compare" {
        /// Seeds, each once.
        seeds: Vec<u64> = vec![0, 1, 2, 3],
        /// Name of the strategy that all others are tested against.
        reference: String = "random".to_owned(),
    }
}

section! {
    /// What all searches have in common.
    CommonSearchSection at "search" {
        /// Configuration of a search, seen from this file's folder; empty = the defaults.
        config: PathBuf = PathBuf::new(),
        /// Changes to it, as of --set: "data.dataset=photodigits".
        set: Vec<String> = Vec::new(),
    }
}

section! {
    /// How every cell is trained and tested.
    CommonTrainSection at "train" {
        /// Configuration of a training, seen from this file's folder; empty = the defaults.
        config: PathBuf = PathBuf::new(),
        /// Changes to it, as of --set.
        set: Vec<String> = Vec::new(),
    }
}

section! {
    /// One strategy; its table states every key.
    ComparedSection at "strategies" {
        /// Its name in the table, and that of its folder.
        name: String = String::new(),
        /// Configuration of its search instead of the common one, seen from this file's folder; empty = the common one.
        config: PathBuf = PathBuf::new(),
        /// Changes to it, behind the common ones.
        set: Vec<String> = Vec::new(),
    }
}
