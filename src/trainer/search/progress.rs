//! What a search records of its course.

use serde::{Deserialize, Serialize};

use super::curvature::MeasuredAlphas;
use crate::genotype::Switches;
use crate::search::Stage;
use crate::trainer::progress::{Progress, Records};

/// How far a search has come.
pub type SearchProgress = Progress<SearchRecords>;

/// The stage under way, and what lies behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchRecords {
    /// Stage under way, from 0.
    pub stage: usize,
    /// Live operations in this stage.
    pub switches: Switches,
    /// Every complete epoch, in order.
    pub epochs: Vec<SearchEpochRecord>,
    /// Every complete stage, in order.
    pub stages: Vec<StageRecord>,
    /// What was measured in this stage, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub measured: Vec<MeasuredAlphas>,
}

impl Records for SearchRecords {
    const FORMAT: &'static str = "pdarts-search-2";
    type Steps = SearchStepRecord;
    type Epoch = SearchEpochRecord;

    fn stage(&self) -> usize {
        self.stage + 1
    }

    fn add(&mut self, mut epoch: SearchEpochRecord) {
        self.measured.extend(epoch.measured.take());
        self.epochs.push(epoch);
    }

    fn ended_early(&self) -> bool {
        self.goes_back_to().is_some()
    }

    fn valid_top1(&self) -> Vec<Option<f64>> {
        self.epochs.iter().filter(|epoch| epoch.stage == self.stage()).map(|epoch| epoch.valid_top1).collect()
    }
}

impl SearchRecords {
    /// The alphas that the stage under way ends with, where it ends early.
    pub(super) fn earlier_alphas(&self) -> Option<&MeasuredAlphas> {
        let epoch = self.goes_back_to()?;
        self.measured.iter().find(|measured| measured.epoch == epoch)
    }

    fn goes_back_to(&self) -> Option<usize> {
        self.epochs.last().filter(|epoch| epoch.stage == self.stage())?.goes_back_to
    }
}

impl SearchProgress {
    /// The start of a search with all operations of `switches` live.
    pub fn start(switches: Switches) -> Self {
        Self::new(SearchRecords { stage: 0, switches, epochs: Vec::new(), stages: Vec::new(), measured: Vec::new() })
    }

    /// Enters a complete stage into the records and begins the next with `switches` live.
    pub(super) fn finish_stage(&mut self, record: StageRecord, switches: Switches) {
        self.records.stages.push(record);
        self.records.stage += 1;
        self.records.switches = switches;
        self.records.measured.clear();
        self.epoch = 0;
    }
}

/// What one interval of steps came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchStepRecord {
    /// From 1.
    pub stage: usize,
    /// From 1.
    pub epoch: usize,
    /// Steps of the whole search up to the end of the interval.
    pub step: u64,
    /// Of the weights.
    pub learning_rate: f64,
    /// Rate on skip connections.
    pub skip_dropout: f64,
    /// Mean loss of the weight steps.
    pub train_loss: f64,
    /// Percent, of the weight steps.
    pub train_top1: f64,
    /// Mean loss of the alpha steps; none while alphas rest.
    pub alpha_loss: Option<f64>,
    /// Percent, of the alpha steps.
    pub alpha_top1: Option<f64>,
    /// Images of both kinds of step.
    pub images_per_second: f64,
    /// Seconds in which rank 0 waited for images to be loaded.
    #[serde(default)]
    pub data_seconds: f64,
    /// Of the images of the weight steps, where `run.digest_batches` asks for it: the same for any number of ranks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch_digest: Option<String>,
    /// The same of the alpha steps; none while alphas rest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alpha_batch_digest: Option<String>,
}

/// What one epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchEpochRecord {
    /// The same figures, over the epoch.
    #[serde(flatten)]
    pub steps: SearchStepRecord,
    /// Mean loss on the validation part, in evaluation mode, without augmentation.
    pub valid_loss: Option<f64>,
    /// Percent, on the validation part.
    pub valid_top1: Option<f64>,
    /// Mean entropy of the normal cell's edges, nats.
    pub normal_entropy: f64,
    /// Mean entropy of the reduction cell's edges, nats.
    pub reduction_entropy: f64,
    /// What the penalty on parameters and multiply-adds adds to the alphas' loss after the epoch, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub penalty: Option<f64>,
    /// The largest eigenvalue of the loss's Hessian in the alphas, in epochs that measure it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub eigenvalue: Option<f64>,
    /// The epoch, from 1, whose alphas the stage ends with, in the epoch with which it ends early.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub goes_back_to: Option<usize>,
    /// What goes into the records beside this.
    #[serde(skip)]
    pub measured: Option<MeasuredAlphas>,
    /// Seconds of the steps.
    pub train_seconds: f64,
    /// Seconds of the steps and of validation.
    pub seconds: f64,
}

impl std::ops::Deref for SearchEpochRecord {
    type Target = SearchStepRecord;

    fn deref(&self) -> &SearchStepRecord {
        &self.steps
    }
}

/// What one stage came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Cells of the supernet.
    pub cells: usize,
    /// Live operations of an edge at its start.
    pub operations: usize,
    /// Percent, over its last epoch.
    pub train_top1: f64,
    /// Percent, after its last epoch.
    pub valid_top1: Option<f64>,
    /// Over all its epochs.
    pub seconds: f64,
    /// The epoch, from 1, whose alphas are its result, where it ended early.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub goes_back_to: Option<usize>,
}

impl StageRecord {
    /// Its `number`, and what came of it that is not usual, for tables.
    pub fn label(&self, number: usize) -> String {
        match self.goes_back_to {
            Some(epoch) => format!("{number} (ended early, result of epoch {epoch})"),
            None => number.to_string(),
        }
    }

    /// Of `stage` as far as `epochs`, records of the whole search in order, hold some of it.
    pub fn new(stage: &Stage, epochs: &[SearchEpochRecord]) -> Self {
        let epochs: Vec<_> = epochs.iter().filter(|epoch| epoch.stage == stage.index + 1).collect();
        Self {
            cells: stage.num_cells,
            operations: stage.num_operations,
            train_top1: epochs.last().map_or(f64::NAN, |epoch| epoch.train_top1),
            valid_top1: epochs.last().and_then(|epoch| epoch.valid_top1),
            seconds: epochs.iter().map(|epoch| epoch.seconds).sum(),
            goes_back_to: epochs.last().and_then(|epoch| epoch.goes_back_to),
        }
    }
}
