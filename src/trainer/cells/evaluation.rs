//! How good a cell is: a short retraining on one rank, scored on the validation images.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::CellData;
use crate::config::{SearchConfig, TrainConfig};
use crate::genotype::Genotype;
use crate::trainer::retrain::{Scores, Trained, Training};
use crate::trainer::stop::{Signal, StopSignal};
use crate::trainer::{BatchSection, Rehearsal, Silent, TrainError};
use crate::world::activity;

/// What the training of a cell came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// On the images that it was not trained on, after the last epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub valid: Option<Scores>,
    /// Why there are no scores: its training diverged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub diverged: Option<String>,
    /// SHA-256 of weights and statistics.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub weights_hash: Option<String>,
    /// Of its training.
    pub seconds: f64,
}

/// How an evaluation ended.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Outcome {
    Evaluated(Evaluation),
    Stopped(Signal),
}

impl CellData {
    /// Trains `genotype` from fresh weights, on this rank alone.
    pub(super) fn evaluate(
        &mut self,
        config: &TrainConfig,
        genotype: &Genotype,
        stop: &StopSignal,
    ) -> Result<Outcome, TrainError> {
        let start = Instant::now();
        activity::gets_on();
        self.data.set_cell(genotype);
        let (world, data, stop) = (&self.world, &self.data, stop.clone());
        let section = BatchSection::Evaluation;
        let training = Training { config, world, data, initial: None, section, stop, observer: &mut Silent };
        let evaluation = match training.train() {
            Ok(Trained::Stopped(signal)) => return Ok(Outcome::Stopped(signal)),
            Ok(Trained::Complete { valid: Some(valid), .. }) if !valid.loss.is_finite() => {
                let diverged = Some(format!("the loss on validation images is {}", valid.loss));
                Evaluation { diverged, ..Evaluation::default() }
            }
            Ok(Trained::Complete { valid, weights_hash }) => {
                Evaluation { valid, weights_hash: Some(weights_hash), ..Evaluation::default() }
            }
            // A cell that cannot be trained is a bad cell, not the end of the search.
            Err(TrainError::Diverged(divergence)) => {
                Evaluation { diverged: Some(divergence.fact()), ..Evaluation::default() }
            }
            Err(error) => return Err(error),
        };
        Ok(Outcome::Evaluated(Evaluation { seconds: start.elapsed().as_secs_f64(), ..evaluation }))
    }
}

impl CellData {
    /// Tries a step; returns what the training of a cell would take, its images and its steps.
    ///
    /// # Errors
    /// When loading or libtorch fails.
    pub fn rehearse(
        &self,
        config: &SearchConfig,
        stop: StopSignal,
    ) -> Result<(Vec<Rehearsal>, usize, usize), TrainError> {
        let config = config.evaluation_config();
        let (world, data, section) = (&self.world, &self.data, BatchSection::Evaluation);
        let training = Training { config: &config, world, data, initial: None, section, stop, observer: &mut Silent };
        let loader = &data.train_loader;
        Ok((training.rehearse()?, loader.num_images(), config.train.epochs * loader.num_steps()))
    }
}
