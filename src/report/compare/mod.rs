//! What the runs of an experiment come to: means, deviations, and whether strategies differ from a reference.

mod significance;

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use significance::Significance;

use super::{SearchSummary, Spread, Status, TrainSummary};
use crate::run::{RunError, json_problem};

/// The folders of one strategy's runs, each with `search` and `train`.
#[derive(Clone, Debug)]
pub struct ComparedRuns {
    /// Of the strategy.
    pub name: String,
    /// One for each seed.
    pub folders: Vec<PathBuf>,
}

/// `results.json` of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Complete when all runs are.
    pub status: Status,
    /// The strategy that the others are tested against.
    pub reference: String,
    /// In the order of the experiment.
    pub strategies: Vec<ComparedStrategy>,
}

/// What one strategy comes to, over its complete runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedStrategy {
    /// Its name.
    pub name: String,
    /// Runs whose search and training are complete.
    pub complete: usize,
    /// Runs in all.
    pub planned: usize,
    /// Percent, with the weights of the last epoch.
    pub test_top1: Option<Spread>,
    /// Percent, on the images that the training leaves for validation.
    pub valid_top1: Option<Spread>,
    /// Of the network that was trained, without the auxiliary head.
    pub parameters: Option<Spread>,
    /// Of that network, for one image.
    pub multiply_adds: Option<Spread>,
    /// Of the normal cell.
    pub skip_connects: Option<Spread>,
    /// Of one search.
    pub search_seconds: Option<Spread>,
    /// Of one training.
    pub train_seconds: Option<Spread>,
    /// Whether it differs from the reference; none of the reference itself, and of single runs.
    pub test: Option<Significance>,
    /// The runs behind the figures.
    pub runs: Vec<ComparedRun>,
}

/// A search and the training of its cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedRun {
    /// Of both.
    pub seed: u64,
    /// Percent.
    pub test_top1: f64,
    /// Percent.
    pub valid_top1: Option<f64>,
    /// Of the network that was trained.
    pub parameters: Option<u64>,
    /// Of that network.
    pub multiply_adds: Option<u64>,
    /// Of the normal cell.
    pub skip_connects: usize,
    /// Of the search.
    pub search_seconds: f64,
    /// Of the training.
    pub train_seconds: f64,
    /// The folder with both.
    pub folder: PathBuf,
}

impl Comparison {
    /// Reads the summaries of `runs`; what is not complete is left out and counted.
    ///
    /// # Errors
    /// A summary that is damaged.
    pub fn read(runs: &[ComparedRuns], reference: &str) -> Result<Self, RunError> {
        let mut strategies = runs.iter().map(ComparedStrategy::read).collect::<Result<Vec<_>, _>>()?;
        let is_reference = |strategy: &&ComparedStrategy| strategy.name == reference;
        let scores = |strategy: &ComparedStrategy| strategy.runs.iter().map(|run| run.test_top1).collect::<Vec<_>>();
        let of_reference = strategies.iter().find(is_reference).map(scores).unwrap_or_default();
        for strategy in strategies.iter_mut().filter(|strategy| strategy.name != reference) {
            strategy.test = Significance::of(&scores(strategy), &of_reference);
        }
        let is_complete = strategies.iter().all(|strategy| strategy.complete == strategy.planned);
        let status = if is_complete { Status::Complete } else { Status::Stopped };
        Ok(Self { status, reference: reference.to_owned(), strategies })
    }
}

impl ComparedStrategy {
    fn read(compared: &ComparedRuns) -> Result<Self, RunError> {
        let runs = compared.folders.iter().map(|folder| ComparedRun::read(folder)).collect::<Result<Vec<_>, _>>()?;
        let runs: Vec<ComparedRun> = runs.into_iter().flatten().collect();
        let spread =
            |value: fn(&ComparedRun) -> Option<f64>| Spread::of(&runs.iter().filter_map(value).collect::<Vec<_>>());
        Ok(Self {
            name: compared.name.clone(),
            complete: runs.len(),
            planned: compared.folders.len(),
            test_top1: spread(|run| Some(run.test_top1)),
            valid_top1: spread(|run| run.valid_top1),
            parameters: spread(|run| run.parameters.map(|count| count as f64)),
            multiply_adds: spread(|run| run.multiply_adds.map(|count| count as f64)),
            skip_connects: spread(|run| Some(run.skip_connects as f64)),
            search_seconds: spread(|run| Some(run.search_seconds)),
            train_seconds: spread(|run| Some(run.train_seconds)),
            test: None,
            runs,
        })
    }
}

impl ComparedRun {
    /// `None` of runs that are not complete.
    fn read(folder: &Path) -> Result<Option<Self>, RunError> {
        let search: Option<SearchSummary> = read_json(&folder.join("search/summary.json"))?;
        let train: Option<TrainSummary> = read_json(&folder.join("train/summary.json"))?;
        let (Some(search), Some(train)) = (search, train) else { return Ok(None) };
        let Some(test) = train.test.filter(|_| train.status == Status::Complete) else { return Ok(None) };
        Ok(Some(Self {
            seed: train.seed,
            test_top1: test.top1,
            valid_top1: train.valid.map(|scores| scores.top1),
            parameters: train.network.map(|network| network.cost.parameters),
            multiply_adds: train.network.map(|network| network.cost.multiply_adds),
            skip_connects: train.cell.genotype.skip_connects(),
            search_seconds: search.effort.seconds,
            train_seconds: train.effort.seconds,
            folder: folder.to_owned(),
        }))
    }
}

/// `None` where there is no file.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RunError> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(None) };
    let damaged = |error| RunError::Config { path: path.to_owned(), problem: json_problem(&text, &error) };
    serde_json::from_str(&text).map(Some).map_err(damaged)
}
