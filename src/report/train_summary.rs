//! `summary.json` of a retraining, written last, and that of several seeds.

use serde::{Deserialize, Serialize};

use super::search_summary::{Effort, Status, numerics_checked};
use crate::config::{DatasetName, TrainConfig};
use crate::data::Colours;
use crate::genotype::{Cost, count};
use crate::run::TrainedCell;
use crate::trainer::{Scores, TrainProgress, TrainResult, dataset_kind};
use crate::world::World;

/// The content of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrainSummary {
    /// How the run ended.
    pub status: Status,
    /// What was trained, with where it was found.
    pub cell: TrainedCell,
    /// What it was trained and tested on.
    pub dataset: DatasetName,
    /// What its images were normalised with; earlier versions did not note it.
    #[serde(default)]
    pub normalisation: Option<Colours>,
    /// Of every random stream.
    pub seed: u64,
    /// Complete ones.
    pub epochs: usize,
    /// On the test set, with the weights of the last epoch; none unless complete.
    pub test: Option<Scores>,
    /// The same with the averaged weights.
    pub test_ema: Option<Scores>,
    /// Whether the test set was also scored during training, so that whoever watched could have chosen by it.
    pub test_scored_every_epoch: bool,
    /// On the images that were left for validation, after the last epoch that validated.
    pub valid: Option<Scores>,
    /// Size of the network; none unless complete.
    pub network: Option<NetworkSize>,
    /// Percent, on the augmented images of the last complete epoch.
    pub train_top1: Option<f64>,
    /// What it took.
    #[serde(flatten)]
    pub effort: Effort,
    /// SHA-256 of weights and BatchNorm statistics; none unless complete.
    pub weights_hash: Option<String>,
    /// Different images that could not be read and were replaced by others since the last start.
    #[serde(default)]
    pub bad_images: usize,
    /// Whether the GPU's numbers were compared with the CPU's before the last start; none of a run on CPUs.
    #[serde(default)]
    pub numerics_checked: Option<bool>,
}

/// What the network costs.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSize {
    /// Channels of the first cell.
    pub channels: u64,
    /// Cells.
    pub cells: usize,
    /// See [`Cost`].
    #[serde(flatten)]
    pub cost: Cost,
}

impl TrainSummary {
    /// Of a training with a result.
    pub fn complete(config: &TrainConfig, cell: &TrainedCell, world: &World, result: &TrainResult) -> Self {
        let network = result.state.description();
        Self {
            status: Status::Complete,
            test: Some(result.test),
            test_ema: result.test_ema,
            network: Some(NetworkSize {
                channels: network.shape.channels,
                cells: network.shape.cells,
                cost: count(&network.genotype, &network.shape),
            }),
            weights_hash: Some(result.weights_hash.clone()),
            ..Self::stopped(config, cell, world, &result.progress, result.bad_images)
        }
    }

    /// Of a training that a signal stopped.
    pub fn stopped(
        config: &TrainConfig,
        cell: &TrainedCell,
        world: &World,
        progress: &TrainProgress,
        bad_images: usize,
    ) -> Self {
        Self {
            status: Status::Stopped,
            cell: cell.clone(),
            dataset: config.data.dataset,
            normalisation: Some(dataset_kind(config.data.dataset).colours()),
            seed: config.run.seed,
            epochs: progress.records.epochs.len(),
            test: None,
            test_ema: None,
            test_scored_every_epoch: progress.records.epochs.iter().any(|epoch| epoch.test.is_some()),
            valid: progress.records.epochs.iter().rev().find_map(|epoch| epoch.valid),
            network: None,
            train_top1: progress.records.epochs.last().map(|epoch| epoch.train_top1),
            effort: Effort::of(progress, world),
            weights_hash: None,
            bad_images,
            numerics_checked: numerics_checked(&config.run, world),
        }
    }
}

/// `summary.json` of trainings that differ in their seeds.
#[derive(Clone, Debug, Serialize)]
pub struct SeedsSummary {
    /// Complete when all of them are.
    pub status: Status,
    /// Test top-1 over the complete ones, percent.
    pub test_top1: Option<Spread>,
    /// The same of the averaged weights.
    pub test_ema_top1: Option<Spread>,
    /// One for each seed that was begun, in the order that was asked for.
    pub seeds: Vec<TrainSummary>,
}

/// Mean and deviation of several figures.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, with one degree of freedom taken; none of a single figure.
    pub deviation: Option<f64>,
    /// How many.
    pub count: usize,
}

impl SeedsSummary {
    /// Of `num_seeds` trainings, of which `seeds` were begun.
    pub fn new(seeds: Vec<TrainSummary>, num_seeds: usize) -> Self {
        let complete = seeds.iter().filter(|summary| summary.status == Status::Complete).count() == num_seeds;
        let top1 = |scores: fn(&TrainSummary) -> Option<Scores>| {
            Spread::of(&seeds.iter().filter_map(|summary| Some(scores(summary)?.top1)).collect::<Vec<_>>())
        };
        Self {
            status: if complete { Status::Complete } else { Status::Stopped },
            test_top1: top1(|summary| summary.test),
            test_ema_top1: top1(|summary| summary.test_ema),
            seeds,
        }
    }
}

impl Spread {
    /// `None` of no figures.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (count > 1).then(|| (squares / (count as f64 - 1.0)).sqrt());
        (count > 0).then_some(Self { mean, deviation, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_mean_and_the_sample_deviation() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[97.0]), Some(Spread { mean: 97.0, deviation: None, count: 1 }));
        assert_eq!(Spread::of(&[96.0, 98.0, 100.0]), Some(Spread { mean: 98.0, deviation: Some(2.0), count: 3 }));
    }
}
