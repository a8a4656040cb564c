//! How far a search has come: all that a continuation needs besides tensors.

use serde::{Deserialize, Serialize};

use crate::genotype::Switches;
use crate::trainer::checkpoint::RunProgress;
use crate::trainer::tally::TallySums;
use crate::world::{CommunicatorError, Ranks};

/// The place of a search in its course, with the records of what lies behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchProgress {
    /// Stage under way, from 0.
    pub stage: usize,
    /// Epochs of the stage that are complete.
    pub epoch: usize,
    /// Steps of the epoch under way that are complete.
    pub step: usize,
    /// Steps of the whole search that are complete.
    pub global_step: u64,
    /// Live operations in this stage.
    pub switches: Switches,
    /// Weight steps of the epoch under way.
    pub weight_sums: TallySums,
    /// Alpha steps of the epoch under way.
    pub alpha_sums: TallySums,
    /// What each rank counted of these, weight steps and alpha steps.
    pub rank_sums: Vec<[TallySums; 2]>,
    /// Seconds spent on the epoch under way.
    pub epoch_seconds: f64,
    /// Where the interval of steps that is recorded next begins.
    pub interval: IntervalStart,
    /// Every complete epoch, in order.
    pub epochs: Vec<EpochRecord>,
    /// Every complete stage, in order.
    pub stages: Vec<StageRecord>,
}

impl RunProgress for SearchProgress {
    const FORMAT: &'static str = "pdarts-search-2";
}

impl SearchProgress {
    /// The start of a search with all operations of `switches` live.
    pub fn start(switches: Switches) -> Self {
        Self {
            stage: 0,
            epoch: 0,
            step: 0,
            global_step: 0,
            switches,
            weight_sums: TallySums::default(),
            alpha_sums: TallySums::default(),
            rank_sums: Vec::new(),
            epoch_seconds: 0.0,
            interval: IntervalStart::default(),
            epochs: Vec::new(),
            stages: Vec::new(),
        }
    }

    /// What this rank counted of the epoch under way: weight steps and alpha steps. On another number of ranks, rank 0
    /// goes on from the sums of all.
    pub(super) fn own_sums(&self, ranks: &Ranks) -> [TallySums; 2] {
        match self.rank_sums.get(ranks.rank) {
            Some(own) if self.rank_sums.len() == ranks.size => *own,
            _ if ranks.is_root() => [self.weight_sums, self.alpha_sums],
            _ => Default::default(),
        }
    }

    /// Takes what the ranks have counted of the epoch under way. All ranks call this together.
    pub(super) fn gather_sums(
        &mut self,
        weights: &TallySums,
        alphas: &TallySums,
        ranks: &Ranks,
    ) -> Result<(), CommunicatorError> {
        let (weights, alphas) = (weights.gather(ranks)?, alphas.gather(ranks)?);
        self.weight_sums = TallySums::total(&weights);
        self.alpha_sums = TallySums::total(&alphas);
        self.rank_sums = weights.into_iter().zip(alphas).map(|(weights, alphas)| [weights, alphas]).collect();
        Ok(())
    }

    /// Enters a complete epoch into the records and begins the next.
    pub(super) fn finish_epoch(&mut self, record: EpochRecord) {
        self.epochs.push(record);
        self.epoch += 1;
        self.step = 0;
        self.weight_sums = TallySums::default();
        self.alpha_sums = TallySums::default();
        self.rank_sums.clear();
        self.epoch_seconds = 0.0;
        self.interval = IntervalStart::default();
    }

    /// Enters a complete stage into the records and begins the next with `switches` live.
    pub(super) fn finish_stage(&mut self, record: StageRecord, switches: Switches) {
        self.stages.push(record);
        self.stage += 1;
        self.epoch = 0;
        self.switches = switches;
    }

    /// Begins an interval of steps here.
    pub(super) fn begin_interval(&mut self) {
        let Self { weight_sums, alpha_sums, epoch_seconds: seconds, .. } = *self;
        self.interval = IntervalStart { weight_sums, alpha_sums, seconds };
    }

    /// Seconds spent on complete epochs and the one under way, over all starts of the run.
    pub fn seconds(&self) -> f64 {
        self.epochs.iter().map(|epoch| epoch.seconds).sum::<f64>() + self.epoch_seconds
    }

    /// Images of all weight and alpha steps in complete epochs, per second of training.
    pub fn images_per_second(&self) -> f64 {
        let images: f64 = self.epochs.iter().map(|epoch| epoch.images_per_second * epoch.train_seconds).sum();
        images / self.epochs.iter().map(|epoch| epoch.train_seconds).sum::<f64>()
    }
}

/// The sums of the epoch under way where an interval of steps begins; those of the epoch's own start by default.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IntervalStart {
    /// Of the weight steps.
    pub weight_sums: TallySums,
    /// Of the alpha steps.
    pub alpha_sums: TallySums,
    /// Spent on the epoch so far.
    pub seconds: f64,
}

/// What one interval of steps came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
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
}

/// What one epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The same figures, over the epoch.
    #[serde(flatten)]
    pub steps: StepRecord,
    /// Mean loss on the validation part, in evaluation mode, without augmentation.
    pub valid_loss: Option<f64>,
    /// Percent, on the validation part.
    pub valid_top1: Option<f64>,
    /// Mean entropy of the normal cell's edges, nats.
    pub normal_entropy: f64,
    /// Mean entropy of the reduction cell's edges, nats.
    pub reduction_entropy: f64,
    /// Seconds of the steps.
    pub train_seconds: f64,
    /// Seconds of the steps and of validation.
    pub seconds: f64,
}

impl std::ops::Deref for EpochRecord {
    type Target = StepRecord;

    fn deref(&self) -> &StepRecord {
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
}
