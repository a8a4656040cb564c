//! Results of several runs beside the published ones: what a paper's table would say.
//!
//! Trainings that differ in their seeds alone are one row, with mean and deviation. A search among the runs lends its
//! data set and its hours to the trainings of the cells that it found.

mod published;
mod read;

use std::path::PathBuf;

use serde::Serialize;

use self::published::published_rows;
use self::read::{FinishedRun, FinishedSearch, FinishedTraining};
use super::Spread;

pub use read::ResultsError;

/// One line of the table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ResultRow {
    /// A published name, or what the runs call the cell.
    pub cell: String,
    /// Whether the figures are their authors', not of the runs.
    pub published: bool,
    /// The data set.
    pub searched_on: Option<String>,
    /// The data set; none for a search without a training.
    pub evaluated_on: Option<String>,
    /// Mean test error with the weights of the last epoch, percent.
    pub error_percent: Option<f64>,
    /// Standard deviation over the seeds, where there are several.
    pub error_deviation: Option<f64>,
    /// Mean share of the test images whose class is not among the first five, percent; of ImageNet and other images.
    pub error_top5_percent: Option<f64>,
    /// Mean test error with averaged weights.
    pub error_ema_percent: Option<f64>,
    /// Whether the test set was scored after every epoch, so that epochs could be chosen by it.
    pub test_scored_every_epoch: bool,
    /// Trainings.
    pub seeds: Option<usize>,
    /// Of each training.
    pub epochs: Option<usize>,
    /// Without the auxiliary head.
    pub parameters: Option<u64>,
    /// Of one image; of convolutions and linear layers.
    pub multiply_adds: Option<u64>,
    /// Of the whole search.
    pub search_hours: Option<f64>,
    /// What it ran on.
    pub search_devices: Option<String>,
    /// Of one training, on average.
    pub train_hours: Option<f64>,
    /// What the trainings ran on.
    pub train_devices: Option<String>,
    /// The directories.
    pub runs: Vec<PathBuf>,
}

/// The rows of `roots` in their order, then the published ones.
///
/// A run directory of several seeds counts as all of its trainings. Runs that are not complete are left out, with a
/// warning, and among several directories those that are no runs.
///
/// # Errors
/// A directory that is no run and stands alone or is not there, and one whose files cannot be read.
pub fn collect(roots: &[PathBuf]) -> Result<Vec<ResultRow>, ResultsError> {
    let (mut searches, mut trainings) = (Vec::new(), Vec::new());
    for run in read::read_all(roots)? {
        match run {
            FinishedRun::Search(search) => searches.push(*search),
            FinishedRun::Training(training) => trainings.push(*training),
        }
    }
    let mut rows = training_rows(&trainings, &searches);
    let is_trained = |search: &FinishedSearch| trainings.iter().any(|training| search.found(&training.genotype));
    rows.extend(searches.iter().filter(|search| !is_trained(search)).map(search_row));
    rows.extend(published_rows()?);
    Ok(rows)
}

/// A row for each cell and configuration.
fn training_rows(trainings: &[FinishedTraining], searches: &[FinishedSearch]) -> Vec<ResultRow> {
    let mut groups: Vec<Vec<&FinishedTraining>> = Vec::new();
    for training in trainings {
        match groups.iter_mut().find(|group| group.iter().any(|other| other.repeats(training))) {
            Some(group) => match group.iter().find(|other| other.seed == training.seed) {
                Some(other) => tracing::warn!(
                    "{} repeats seed {} of {}: left out",
                    training.root.display(),
                    training.seed,
                    other.root.display()
                ),
                None => group.push(training),
            },
            None => groups.push(vec![training]),
        }
    }
    groups.iter().filter_map(|group| training_row(group, searches)).collect()
}

fn training_row(group: &[&FinishedTraining], searches: &[FinishedSearch]) -> Option<ResultRow> {
    let first = group.first()?;
    let search = searches.iter().find(|search| search.found(&first.genotype));
    let spread = |value: fn(&FinishedTraining) -> Option<f64>| {
        Spread::of(&group.iter().filter_map(|training| value(training)).collect::<Vec<_>>())
    };
    let error = spread(|training| Some(training.error_percent));
    let mut devices: Vec<&str> = group.iter().map(|training| training.devices.as_str()).collect();
    devices.dedup();
    Some(ResultRow {
        cell: first.cell.clone(),
        searched_on: first.searched_on.clone().or_else(|| search.map(|search| search.dataset.clone())),
        evaluated_on: Some(first.dataset.clone()),
        error_percent: error.map(|error| error.mean),
        error_deviation: error.and_then(|error| error.deviation),
        error_top5_percent: spread(|training| training.error_top5_percent).map(|error| error.mean),
        error_ema_percent: spread(|training| training.error_ema_percent).map(|error| error.mean),
        test_scored_every_epoch: first.test_scored_every_epoch,
        seeds: Some(group.len()),
        epochs: Some(first.epochs),
        parameters: first.parameters,
        multiply_adds: first.multiply_adds,
        train_hours: spread(|training| Some(training.hours)).map(|hours| hours.mean),
        train_devices: Some(devices.join(", ")),
        runs: group.iter().map(|training| training.root.clone()).chain(search.map(|run| run.root.clone())).collect(),
        ..search.map(search_row).unwrap_or_default()
    })
}

/// A search by itself: the cost of the cell in the papers' CIFAR-10 network.
fn search_row(search: &FinishedSearch) -> ResultRow {
    ResultRow {
        cell: search.root.display().to_string(),
        searched_on: Some(search.dataset.clone()),
        parameters: search.parameters,
        multiply_adds: search.multiply_adds,
        search_hours: Some(search.hours),
        search_devices: Some(search.devices.clone()),
        runs: vec![search.root.clone()],
        ..ResultRow::default()
    }
}

#[cfg(test)]
mod tests;
