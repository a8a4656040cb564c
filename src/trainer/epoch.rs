//! The loop over epochs and steps that a stage of a search and a retraining have in common.
//!
//! What differs between them is a [`Task`]: what a step does, what is validated after an epoch, how both are recorded.
//! The loop owns what does not: the order of things, where the run stands ([`Progress`]), running sums, intervals of
//! steps, signals, comparisons of the ranks and checkpoints. All ranks run it together.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::TrainError;
use super::checkpoint::{Checkpoint, Resumable};
use super::divergence::{Divergence, DivergenceSite, NotFinite};
use super::error::MemoryDemand;
use super::fault;
use super::observer::Observer;
use super::parallel::{average_local_buffers, check_common_buffers};
use super::progress::{Interval, IntervalStart, Progress, Records};
use super::recovery::{GoesOn, Recovery};
use super::save_clock::SaveClock;
use super::stop::{Asked, Signal, StopSignal};
use super::tally::{EpochTally, StepKind};
use crate::config::{ParallelSection, RunSection};
use crate::world::{Label, World, activity};

/// Share of an epoch's steps spent waiting for images from which on the user is told.
const NOTABLE_WAIT: f64 = 0.02;

/// Seconds of waiting in an epoch that are not worth a word, whatever their share.
const SHORT_WAIT: f64 = 10.0;

/// What is trained, as the loop sees it.
pub(super) trait Task {
    /// What it records.
    type Records: Records;
    /// What its steps change.
    type State: Resumable;
    /// Where its steps take their images from.
    type Batches;
    /// What it finds on images that are not trained on.
    type Scores;

    /// What its steps change.
    fn state(&self) -> &Self::State;

    /// The same, to be put back to an earlier moment.
    fn state_mut(&mut self) -> &mut Self::State;

    /// Who records it.
    fn observer(&mut self) -> &mut dyn Observer<Self::Records>;

    /// The images of these `steps` of `epoch` (from 0), read ahead, in the order after so many `rewinds`.
    ///
    /// # Errors
    /// When reading cannot begin.
    fn batches(&self, epoch: usize, steps: Range<usize>, rewinds: usize) -> Result<Self::Batches, TrainError>;

    /// How long the steps have waited for `batches` so far.
    fn waited(batches: &Self::Batches) -> Duration;

    /// One step on the next of `batches`; what it came to goes into `tally`.
    ///
    /// # Errors
    /// When loading, libtorch or the exchange of gradients fails; [`TrainError::NotFinite`] where what is left of the step
    /// was not taken.
    fn step(&mut self, at: StepPlace, batches: &mut Self::Batches, tally: &mut EpochTally) -> Result<(), TrainError>;

    /// Scores the state after the steps of `epoch` (from 0), all before it being in `records`; or the signal that ended that
    /// early.
    ///
    /// # Errors
    /// When loading, libtorch or the exchange fails.
    fn validate(&mut self, epoch: usize, records: &Self::Records) -> Result<Result<Self::Scores, Signal>, TrainError>;

    /// The record of an interval of steps.
    fn steps_record(&self, interval: &Interval) -> <Self::Records as Records>::Steps;

    /// The record of the complete epoch `whole`, which took `seconds` with its validation. What else there is to record
    /// of an epoch is told to the observer here.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn finish_epoch(
        &mut self,
        whole: &Interval,
        scores: Self::Scores,
        seconds: f64,
    ) -> Result<<Self::Records as Records>::Epoch, TrainError>;

    /// What needs memory in `epoch` (from 0).
    fn demand(&self, epoch: usize) -> MemoryDemand;

    /// What `steps` in `epoch` (from 0) are called when they are not finite.
    fn site(&self, steps: StepKind, epoch: usize) -> DivergenceSite;
}

/// The place of a step in the course of epochs; both from 0.
#[derive(Copy, Clone, Debug)]
pub(super) struct StepPlace {
    pub epoch: usize,
    pub step: usize,
}

/// What holds for all epochs of a task.
pub(super) struct Plan<'a> {
    pub world: &'a World,
    /// When to stop early.
    pub stop: StopSignal,
    pub run: &'a RunSection,
    pub parallel: &'a ParallelSection,
    pub num_epochs: usize,
    pub steps_per_epoch: usize,
    /// Of the configuration, for checkpoints.
    pub config_digest: &'a str,
}

/// A task on its way through its epochs.
pub(super) struct EpochLoop<'a, T: Task> {
    plan: Plan<'a>,
    task: &'a mut T,
    progress: &'a mut Progress<T::Records>,
    clock: SaveClock,
    recovery: Recovery<T::Records>,
}

/// How the steps of an epoch ended.
enum StepsEnd {
    /// With the last of them.
    Complete,
    /// By a signal.
    Stopped(Signal),
    /// At an earlier moment, from which to go on.
    Rewound,
}

impl<'a, T: Task> EpochLoop<'a, T> {
    pub fn new(plan: Plan<'a>, task: &'a mut T, progress: &'a mut Progress<T::Records>) -> Self {
        let clock = SaveClock::start(plan.run.checkpoint_every_minutes);
        let recovery = Recovery::new(plan.run);
        Self { plan, task, progress, clock, recovery }
    }

    /// Runs all epochs that are left. Returns the signal that ended them early, after a checkpoint of the same moment.
    ///
    /// # Errors
    /// When loading, libtorch or recording fails, and when a loss diverges. What was checkpointed stays.
    pub fn run(mut self) -> Result<Option<Signal>, TrainError> {
        let end = self.run_epochs();
        match &end {
            Ok(None) => {}
            Ok(Some(_)) => self.task.observer().settle()?,
            Err(_) => {
                if let Err(unsaved) = self.task.observer().settle() {
                    tracing::warn!("{unsaved}");
                }
            }
        }
        end
    }

    fn run_epochs(&mut self) -> Result<Option<Signal>, TrainError> {
        if self.recovery.needs_checkpoint() {
            let checkpoint = self.take_checkpoint()?;
            self.recovery.keep(&checkpoint);
        }
        while !self.is_complete() {
            let signal = match self.train_epoch().map_err(|error| self.explained(error))? {
                StepsEnd::Complete => self.finish_epoch().map_err(|error| self.explained(error))?,
                StepsEnd::Stopped(signal) => Some(signal),
                StepsEnd::Rewound => continue,
            };
            if signal.is_some() {
                self.save()?;
                return Ok(signal);
            }
        }
        Ok(None)
    }

    fn is_complete(&self) -> bool {
        self.progress.epoch >= self.plan.num_epochs || self.progress.records.ended_early()
    }

    /// Says of a lack of memory what needed it.
    fn explained(&self, error: TrainError) -> TrainError {
        error.explained(|| self.task.demand(self.progress.epoch))
    }

    /// The steps that are left of the epoch under way.
    fn train_epoch(&mut self) -> Result<StepsEnd, TrainError> {
        let world = self.plan.world;
        let epoch = self.progress.epoch;
        let steps = self.progress.step..self.plan.steps_per_epoch;
        let mut batches = self.task.batches(epoch, steps.clone(), self.progress.rewinds)?;
        let mut tally = EpochTally::from_sums(self.progress.own_sums(world), world.device)?;
        let seconds_before = self.progress.epoch_seconds;
        let mut data_seconds_before = self.progress.epoch_data_seconds;
        let start = Instant::now();
        for step in steps.clone() {
            activity::begin_step(self.progress.place());
            fault::begin_step(self.progress.global_step + 1, world.rank, &self.plan.stop);
            match self.task.step(StepPlace { epoch, step }, &mut batches, &mut tally) {
                Err(TrainError::NotFinite(found)) => match self.recover(self.divergence_at_step(found)?)? {
                    GoesOn::Earlier => return Ok(StepsEnd::Rewound),
                    // What is left of the step's images is not looked at.
                    GoesOn::AfterStep => {
                        data_seconds_before += T::waited(&batches).as_secs_f64();
                        batches = self.task.batches(epoch, step + 1..steps.end, self.progress.rewinds)?;
                    }
                },
                result => {
                    result?;
                    self.progress.dropped_in_a_row = 0;
                }
            }
            self.progress.finish_step();
            self.task.observer().step();

            // The clocks of ranks differ: rank 0's counts.
            let is_due = world.is_root() && self.clock.is_due();
            let Asked { signal, checkpoint } = self.plan.stop.agreed_with(is_due, world)?;
            if self.compares_ranks() {
                self.compare_ranks()?;
            }
            let logs = self.progress.step.is_multiple_of(self.plan.run.log_every_steps);
            if logs || signal.is_some() || checkpoint || self.progress.step == steps.end {
                // Records and checkpoints are of sums that all ranks know.
                self.progress.gather_sums(&tally.sums()?, world)?;
                self.progress.epoch_seconds = seconds_before + start.elapsed().as_secs_f64();
                self.progress.epoch_data_seconds = data_seconds_before + T::waited(&batches).as_secs_f64();
                if let Some(divergence) = self.divergence_by_now()
                    && matches!(self.recover(divergence)?, GoesOn::Earlier)
                {
                    return Ok(StepsEnd::Rewound);
                }
            }
            if logs {
                self.record_interval()?;
            }
            if let Some(signal) = signal {
                return Ok(StepsEnd::Stopped(signal));
            }
            if checkpoint && self.progress.step < steps.end {
                self.save()?;
            }
        }
        Ok(StepsEnd::Complete)
    }

    /// Validates, records and saves after the last step of an epoch. Returns the signal that stopped validation: the
    /// epoch is then still under way.
    fn finish_epoch(&mut self) -> Result<Option<Signal>, TrainError> {
        let start = Instant::now();
        let _span = activity::phase("validation");
        if self.progress.sums.weights.num_images == 0 {
            let place = self.task.site(StepKind::Weights, self.progress.epoch).place;
            return Err(TrainError::NothingTrained { place });
        }
        self.note_waiting();
        self.compare_ranks()?;
        average_local_buffers(self.task.state(), self.plan.world)?;
        let scores = match self.task.validate(self.progress.epoch, &self.progress.records)? {
            Ok(scores) => scores,
            Err(signal) => return Ok(Some(signal)),
        };
        let seconds = self.progress.epoch_seconds + start.elapsed().as_secs_f64();
        let record = self.task.finish_epoch(&self.epoch_so_far(), scores, seconds)?;
        self.task.observer().epoch(&record)?;
        self.progress.finish_epoch(record, seconds);
        let run = self.plan.run;
        let is_due = self.progress.epoch.is_multiple_of(run.checkpoint_every_epochs);
        let is_best = run.keep_best_checkpoint && self.progress.records.last_is_best();
        if is_due || is_best || self.is_complete() {
            self.save()?;
        }
        Ok(None)
    }

    /// Says when the loader could not keep up with the steps of the epoch.
    fn note_waiting(&self) {
        let (waited, seconds) = (self.progress.epoch_data_seconds, self.progress.epoch_seconds);
        if waited > SHORT_WAIT && waited > NOTABLE_WAIT * seconds {
            tracing::warn!(
                "epoch {} waited {waited:.0} of {seconds:.0} s for images: raise data.loader_threads, or keep the images on a \
                 faster disk",
                self.progress.epoch + 1
            );
        }
    }

    /// Whether the ranks are compared after this step; they always are after an epoch.
    fn compares_ranks(&self) -> bool {
        let every = self.plan.parallel.check_every_steps as u64;
        every > 0 && self.progress.global_step.is_multiple_of(every)
    }

    fn compare_ranks(&self) -> Result<(), TrainError> {
        check_common_buffers(self.task.state(), self.plan.world, self.progress.global_step)
    }

    /// What all ranks know of a step of which each has `found` the same. All ranks call this together.
    fn divergence_at_step(&self, found: NotFinite) -> Result<Divergence, TrainError> {
        let NotFinite { steps, loss, tensor } = found;
        let losses = self.plan.world.gather(&loss.to_bits(), Label::new("exchange of losses"))?;
        let losses: Vec<f64> = losses.into_iter().map(f64::from_bits).collect();
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        let told = |rank: &usize| losses.len() > 1 && !losses[*rank].is_finite();
        let ranks = (0..losses.len()).filter(told).collect();
        let site = self.task.site(steps, self.progress.epoch);
        Ok(Divergence { site, loss: mean, ranks, tensor, step: self.progress.global_step + 1 })
    }

    /// What the sums of all ranks tell, where steps are not looked at one by one. All ranks come to the same answer.
    fn divergence_by_now(&self) -> Option<Divergence> {
        let (steps, loss) = self.progress.sums.not_finite()?;
        let site = self.task.site(steps, self.progress.epoch);
        Some(Divergence { site, loss, ranks: Vec::new(), tensor: None, step: self.progress.global_step })
    }

    /// Puts the run where it goes on.
    fn recover(&mut self, divergence: Divergence) -> Result<GoesOn, TrainError> {
        let world = self.plan.world;
        let (goes_on, incident) = self.recovery.recover(divergence, self.task.state_mut(), self.progress, world)?;
        self.task.observer().incident(&incident)?;
        Ok(goes_on)
    }

    /// The steps of the epoch under way.
    fn epoch_so_far(&self) -> Interval {
        self.progress.interval_since(&IntervalStart::default())
    }

    /// Records the steps since the last record, and begins the next interval.
    fn record_interval(&mut self) -> Result<(), TrainError> {
        let interval = self.progress.interval_since(&self.progress.interval);
        // All its steps may have been dropped.
        if interval.sums.weights.num_images > 0 {
            let record = self.task.steps_record(&interval);
            self.task.observer().steps(&record)?;
        }
        self.progress.begin_interval();
        Ok(())
    }

    /// Has rank 0 save the state to continue from.
    fn save(&mut self) -> Result<(), TrainError> {
        let _span = activity::phase("writing a checkpoint");
        let checkpoint = self.take_checkpoint()?;
        self.recovery.keep(&checkpoint);
        self.clock.reset();
        Ok(self.task.observer().checkpoint(checkpoint)?)
    }

    fn take_checkpoint(&self) -> Result<Checkpoint<Progress<T::Records>>, TrainError> {
        let Plan { world, config_digest, .. } = self.plan;
        world.communicator().settle()?;
        Checkpoint::take(self.task.state(), &*self.progress, config_digest, world)
    }
}
