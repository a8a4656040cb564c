//! Whether a file is the configuration of a search or of a training.

use std::path::Path;

use crate::cli::genotype::{NamedGenotype, read_genotype};
use crate::config::{ConfigKind, DatasetName, SearchConfig, Settings, TrainConfig};
use crate::plan::{Course, DataSize, Kernels, PlanError};

/// What is to be planned.
pub(super) enum Planned {
    Search(Box<SearchConfig>),
    Training { config: Box<TrainConfig>, cell: Box<NamedGenotype> },
}

/// Cells of the networks whose steps are measured: at least one at each resolution. Of a supernet fewer will do, since both of its
/// kinds of cell have all operations; in an evaluation network they do not, and most are normal ones.
const CELLS_OF_SEARCH_TRIAL: usize = 5;
const CELLS_OF_TRAINING_TRIAL: usize = 8;
/// Images of their steps.
const IMAGES_OF_TRIAL: usize = 32;

impl Planned {
    /// A file with nothing that one kind alone has is of a search.
    pub fn read(file: &Path, overrides: &[String], genotype: &str) -> anyhow::Result<Self> {
        if ConfigKind::of_file(file) == Some(ConfigKind::Training) {
            let config = Box::new(TrainConfig::load(file, overrides)?);
            return Ok(Self::Training { config, cell: Box::new(read_genotype(genotype)?) });
        }
        Ok(Self::Search(Box::new(SearchConfig::load(file, overrides)?)))
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Search(_) => "search",
            Self::Training { .. } => "training",
        }
    }

    /// What the cell of a training is called.
    pub fn cell(&self) -> Option<String> {
        match self {
            Self::Search(_) => None,
            Self::Training { cell, .. } => Some(cell.name.clone()),
        }
    }

    pub fn dataset(&self) -> DatasetName {
        match self {
            Self::Search(config) => config.data.dataset,
            Self::Training { config, .. } => config.data.dataset,
        }
    }

    /// `data.limit`.
    pub fn limit(&self) -> usize {
        match self {
            Self::Search(config) => config.data.limit,
            Self::Training { config, .. } => config.data.limit,
        }
    }

    pub fn course(&self, data: DataSize, ranks: usize, kernels: Kernels) -> Result<Course, PlanError> {
        match self {
            Self::Search(config) => Course::of_search(config, data, ranks, kernels),
            Self::Training { config, cell } => Course::of_training(config, &cell.genotype, data, ranks, kernels),
        }
    }

    /// The same with fewer cells and images, for one rank, of which steps can be measured in seconds.
    pub fn small(&self) -> Self {
        match self {
            Self::Search(config) => {
                let mut config = config.clone();
                config.search.stages.iter_mut().for_each(|stage| stage.cells = stage.cells.min(CELLS_OF_SEARCH_TRIAL));
                config.search.global_batch = config.search.global_batch.min(IMAGES_OF_TRIAL);
                config.search.accumulate_steps = 1;
                Self::Search(config)
            }
            Self::Training { config, cell } => {
                let mut config = config.clone();
                config.model.cells = config.model.cells.min(CELLS_OF_TRAINING_TRIAL);
                config.train.global_batch = config.train.global_batch.min(IMAGES_OF_TRIAL);
                config.train.accumulate_steps = 1;
                Self::Training { config, cell: cell.clone() }
            }
        }
    }
}
