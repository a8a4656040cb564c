//! What the files of a run say about its result.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::{ConfigError, DatasetName, Settings, TrainConfig};
use crate::genotype::{Genotype, GenotypeError};
use crate::report::stray::without_strays;
use crate::report::{NetworkSize, Status, Stray};
use crate::run::{FolderKind, GenotypeFile, TrainedCell, json_problem};
use crate::trainer::Scores;

const SECONDS_PER_HOUR: f64 = 3600.0;
const IMAGENET_VALIDATION_IMAGES: u64 = 50_000;

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// Not a run.
    #[error("{} is not the directory of a run that has ended: {problem}", root.display())]
    NotARun {
        /// As it was named.
        root: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// A folder of something else.
    #[error(transparent)]
    Stray(#[from] Stray),
    /// A file that does not hold what it should.
    #[error("{} {problem}: restore it, or leave this run out", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The configuration of a run cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The embedded library is damaged.
    #[error(transparent)]
    Library(#[from] GenotypeError),
}

/// A complete run.
pub(super) enum FinishedRun {
    Search(Box<FinishedSearch>),
    Training(Box<FinishedTraining>),
}

pub(super) struct FinishedSearch {
    pub root: PathBuf,
    pub dataset: String,
    pub hours: f64,
    pub devices: String,
    pub parameters: Option<u64>,
    pub multiply_adds: Option<u64>,
    /// Every variant.
    genotypes: Vec<Genotype>,
}

pub(super) struct FinishedTraining {
    pub root: PathBuf,
    pub cell: String,
    pub genotype: Genotype,
    pub searched_on: Option<String>,
    pub dataset: String,
    pub error_percent: f64,
    /// Of images; of few small classes it says little.
    pub error_top5_percent: Option<f64>,
    pub error_ema_percent: Option<f64>,
    pub epochs: usize,
    pub parameters: Option<u64>,
    pub multiply_adds: Option<u64>,
    pub hours: f64,
    pub devices: String,
    pub seed: u64,
    /// Whether epochs could be chosen by their test error.
    pub test_scored_every_epoch: bool,
    /// Of the configuration without its seed.
    config_digest: String,
}

impl FinishedSearch {
    /// Whether `genotype` is one of its cells.
    pub fn found(&self, genotype: &Genotype) -> bool {
        self.genotypes.contains(genotype)
    }
}

impl FinishedTraining {
    /// Whether `other` is the same training but for its seed.
    pub fn repeats(&self, other: &Self) -> bool {
        self.genotype == other.genotype
            && self.dataset == other.dataset
            && self.config_digest == other.config_digest
            && self.test_scored_every_epoch == other.test_scored_every_epoch
    }
}

/// What is read of a search's summary.
#[derive(Deserialize)]
struct SearchOutline {
    seconds: f64,
}

/// What is read of a training's summary.
#[derive(Deserialize)]
struct TrainingOutline {
    cell: TrainedCell,
    dataset: DatasetName,
    epochs: usize,
    test: Option<Scores>,
    test_ema: Option<Scores>,
    #[serde(default)]
    test_scored_every_epoch: bool,
    network: Option<NetworkSize>,
    seconds: f64,
}

/// What all summaries have.
#[derive(Deserialize)]
struct Outline {
    status: Status,
    /// Of a search.
    stages: Option<serde::de::IgnoredAny>,
    /// Of several trainings.
    seeds: Option<Vec<SeedOutline>>,
}

#[derive(Deserialize)]
struct SeedOutline {
    seed: u64,
}

/// One start of a run.
#[derive(Deserialize)]
struct Start {
    device: String,
    threads: usize,
    ranks: usize,
}

/// The complete runs in `roots`, each once.
pub(super) fn read_all(roots: &[PathBuf]) -> Result<Vec<FinishedRun>, ResultsError> {
    let (mut runs, mut seen) = (Vec::new(), Vec::new());
    let has_summary = |root: &Path| root.join("summary.json").is_file();
    for root in without_strays(roots, has_summary)? {
        for root in members(root)? {
            let place = fs::canonicalize(&root).unwrap_or_else(|_| root.clone());
            if seen.contains(&place) {
                continue;
            }
            seen.push(place);
            runs.extend(read(&root)?);
        }
    }
    Ok(runs)
}

/// Warns of a run without a result, of which `fact` holds.
fn warn_left_out(root: &Path, fact: &str) {
    let advice = FolderKind::of(root).resume_command(root).map_or(String::new(), |call| format!("; go on with {call}"));
    tracing::warn!("{} {fact}: left out{advice}", root.display());
}

/// Whether it is a run that has not ended, or failed: these have no summary.
fn has_not_ended(root: &Path) -> bool {
    let is_such = !root.join("summary.json").exists() && FolderKind::of(root).is_run();
    if is_such {
        warn_left_out(root, "has not ended");
    }
    is_such
}

/// The run directories that `root` stands for.
fn members(root: &Path) -> Result<Vec<PathBuf>, ResultsError> {
    if has_not_ended(root) {
        return Ok(Vec::new());
    }
    let outline: Outline = read_json(root, "summary.json")?;
    let seeds = outline.seeds.unwrap_or_default();
    let folders: Vec<PathBuf> = seeds.iter().map(|SeedOutline { seed }| root.join(format!("seed{seed}"))).collect();
    Ok(if folders.is_empty() { vec![root.to_owned()] } else { folders })
}

fn read(root: &Path) -> Result<Option<FinishedRun>, ResultsError> {
    if has_not_ended(root) {
        return Ok(None);
    }
    let outline: Outline = read_json(root, "summary.json")?;
    if outline.status != Status::Complete {
        warn_left_out(root, "is not complete");
        return Ok(None);
    }
    Ok(Some(match outline.stages {
        Some(_) => FinishedRun::Search(Box::new(read_search(root)?)),
        None => FinishedRun::Training(Box::new(read_training(root)?)),
    }))
}

fn read_search(root: &Path) -> Result<FinishedSearch, ResultsError> {
    let SearchOutline { seconds } = read_json(root, "summary.json")?;
    let file: GenotypeFile = read_json(root, "genotype.json")?;
    let costs = file.result().map(|priced| priced.costs.cifar10);
    Ok(FinishedSearch {
        root: root.to_owned(),
        dataset: file.provenance.as_ref().map_or_else(|| "unknown".to_owned(), |origin| origin.dataset.clone()),
        hours: seconds / SECONDS_PER_HOUR,
        devices: devices(root)?,
        parameters: costs.map(|cost| cost.parameters),
        multiply_adds: costs.map(|cost| cost.multiply_adds),
        genotypes: file.variants.into_iter().map(|priced| priced.variant.genotype).collect(),
    })
}

fn read_training(root: &Path) -> Result<FinishedTraining, ResultsError> {
    let summary: TrainingOutline = read_json(root, "summary.json")?;
    let problem = || ResultsError::NotARun { root: root.to_owned(), problem: "its summary has no test".to_owned() };
    let test = summary.test.ok_or_else(problem)?;
    let mut config = TrainConfig::load(&root.join("config.toml"), &[])?;
    let seed = std::mem::take(&mut config.run.seed);
    let cost = summary.network.map(|network| network.cost);
    Ok(FinishedTraining {
        root: root.to_owned(),
        cell: summary.cell.name,
        genotype: summary.cell.genotype,
        searched_on: summary.cell.provenance.map(|origin| origin.dataset),
        dataset: evaluated_on(summary.dataset, &test),
        error_percent: 100.0 - test.top1,
        error_top5_percent: (summary.dataset == DatasetName::Images).then_some(100.0 - test.top5),
        error_ema_percent: summary.test_ema.map(|scores| 100.0 - scores.top1),
        epochs: summary.epochs,
        parameters: cost.map(|cost| cost.parameters),
        multiply_adds: cost.map(|cost| cost.multiply_adds),
        hours: summary.seconds / SECONDS_PER_HOUR,
        devices: devices(root)?,
        seed,
        test_scored_every_epoch: summary.test_scored_every_epoch,
        config_digest: config.digest()?,
    })
}

/// ImageNet among images in folders and shards is told by its validation part.
fn evaluated_on(dataset: DatasetName, test: &Scores) -> String {
    match dataset {
        DatasetName::Images if test.samples == IMAGENET_VALIDATION_IMAGES => "imagenet".to_owned(),
        _ => dataset.to_string(),
    }
}

/// What the last start of the run ran on: `cpu (2 threads)`, `8 x cuda`.
fn devices(root: &Path) -> Result<String, ResultsError> {
    let path = root.join("environment.jsonl");
    let text = fs::read_to_string(&path).map_err(|error| missing(root, "environment.jsonl", &error))?;
    let last = text.lines().last().unwrap_or_default();
    let Start { device, threads, ranks } = serde_json::from_str(last)
        .map_err(|error| ResultsError::File { path, problem: format!("has a damaged last line ({error})") })?;
    // Ranks have devices of different numbers.
    let device = device.split(':').next().unwrap_or_default();
    let name = if device == "cpu" { format!("cpu ({threads} threads)") } else { device.to_owned() };
    Ok(if ranks > 1 { format!("{ranks} x {name}") } else { name })
}

fn read_json<T: DeserializeOwned>(root: &Path, name: &str) -> Result<T, ResultsError> {
    let path = root.join(name);
    let text = fs::read_to_string(&path).map_err(|error| missing(root, name, &error))?;
    serde_json::from_str(&text).map_err(|error| ResultsError::File { path, problem: json_problem(&text, &error) })
}

fn missing(root: &Path, name: &str, error: &io::Error) -> ResultsError {
    ResultsError::NotARun { root: root.to_owned(), problem: format!("{name} cannot be read ({error})") }
}
