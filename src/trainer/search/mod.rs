//! The progressive search, from its first stage to the final cell.
//!
//! Read from here: this file goes from stage to stage, `task` says what a stage's steps and epochs do, and the common
//! loop (`trainer/epoch.rs`) calls it. Source: P-DARTS (arXiv:1904.12760), section 3; the order of things is that of the
//! authors' code.

mod architecture_step;
mod buffers;
mod curvature;
mod data;
mod observer;
mod progress;
mod rehearsal;
mod state;
mod task;

use tch::Kind;

pub use architecture_step::{ArchitectureStep, FirstOrder, Joint, SecondOrder, StepInputs, Stepped, architecture_step};
pub use curvature::{MeasuredAlphas, largest_eigenvalue};
pub use data::{SearchData, SearchDataError, share_sizes};
pub use observer::SearchObserver;
pub use progress::{SearchEpochRecord, SearchProgress, SearchRecords, SearchStepRecord, StageRecord};
pub use state::{ReplicaHashes, SearchState};

use crate::config::{DivergencePolicy, SearchConfig};
use crate::genotype::{Alphas, Switches, Variant, variants_within};
use crate::search::{CostPenalty, Stage, SupernetShape};
use crate::trainer::accumulate::describe_batch;
use crate::trainer::bad_images::count_bad_images;
use crate::trainer::checkpoint::ResumePoint;
use crate::trainer::epoch::{EpochLoop, Plan};
use crate::trainer::error::{BatchSection, MemoryDemand};
use crate::trainer::parallel::{BatchNormOverRanks, check_derived};
use crate::trainer::stop::{Signal, StopSignal};
use crate::trainer::{TrainError, derive_seed};
use crate::world::World;
use task::StageTask;

/// A search over all stages of a configuration.
pub struct Search<'a> {
    /// What to do.
    pub config: &'a SearchConfig,
    /// Where.
    pub world: &'a World,
    /// On what.
    pub data: &'a SearchData,
    /// How alphas are stepped.
    pub architecture_step: Box<dyn ArchitectureStep>,
    /// When to stop early.
    pub stop: StopSignal,
    /// Who records it.
    pub observer: &'a mut dyn SearchObserver,
}

/// How a search ended.
pub enum SearchEnd {
    /// By a signal, after a checkpoint.
    Stopped {
        /// The signal's number.
        signal: Signal,
        /// How far it came.
        progress: Box<SearchProgress>,
        /// See [`SearchResult::bad_images`].
        bad_images: usize,
    },
    /// With a cell.
    Complete(Box<SearchResult>),
}

/// What a search found.
pub struct SearchResult {
    /// All epochs and stages.
    pub progress: SearchProgress,
    /// The cell under each limit on skip connections.
    pub variants: Vec<Variant>,
    /// Of the last supernet, the same on all ranks.
    pub hashes: ReplicaHashes,
    /// Different images that could not be read and were replaced by others, on all ranks since the last start.
    pub bad_images: usize,
}

impl<'a> Search<'a> {
    /// Runs the search from its start or from `resume` to its end or to a stop signal.
    ///
    /// # Errors
    /// When loading, libtorch or recording fails, and when a loss diverges. What was checkpointed stays.
    pub fn run(mut self, resume: Option<&ResumePoint<SearchProgress>>) -> Result<SearchEnd, TrainError> {
        let stages = Stage::sequence(&self.config.search);
        let _statistics = BatchNormOverRanks::begin(self.world, self.config.model.batch_norm);
        let mut progress = match resume {
            Some(point) => point.checkpoint.header.progress.clone(),
            None => SearchProgress::start(Switches::full(&self.config.search.operations)?),
        };
        let mut resume = resume;
        loop {
            let number = progress.records.stage;
            let stage = stages.get(number).ok_or(TrainError::NoStage(number + 1))?;
            let switches = progress.records.switches.clone();
            let state = self.new_state(stage, &switches, Kind::Float);
            let mut state = state.map_err(|error| error.explained(|| self.demand(stage, &switches, 0)))?;
            if let Some(point) = resume.take() {
                point.checkpoint.restore(&mut state, &point.path, self.world)?;
            }
            state.replicate(self.world, (&self.config.parallel).into())?;
            self.begin_stage(stage, &progress);
            let plan = self.plan();
            let mut task = StageTask { search: &mut self, stage, switches, state };
            if let Some(signal) = EpochLoop::new(plan, &mut task, &mut progress).run()? {
                let bad_images = self.count_bad_images()?;
                return Ok(SearchEnd::Stopped { signal, progress: Box::new(progress), bad_images });
            }
            let StageTask { switches, state, .. } = task;
            let alphas = match progress.records.earlier_alphas() {
                Some(earlier) => earlier.alphas.clone(),
                None => state.alphas()?,
            };
            self.finish_stage(stage, &mut progress, &switches, &alphas)?;
            if number + 1 == stages.len() {
                return Ok(SearchEnd::Complete(Box::new(self.result(&state, progress, &switches, &alphas)?)));
            }
        }
    }

    /// What needs memory in `epoch` (from 0) of `stage`, in which `switches` are live.
    fn demand(&self, stage: &Stage, switches: &Switches, epoch: usize) -> MemoryDemand {
        let SearchConfig { model, search, .. } = self.config;
        MemoryDemand {
            place: format!("stage {}, epoch {}", stage.index + 1, epoch + 1),
            network: format!(
                "a supernet of {} cells and {} channels with {} operations on an edge",
                stage.num_cells,
                model.channels,
                switches.normal.live(0).len()
            ),
            batch: describe_batch(search.global_batch, search.accumulate_steps, self.world),
            section: BatchSection::Search,
        }
    }

    /// The stage's supernet and alphas, drawn afresh.
    fn new_state(&self, stage: &Stage, switches: &Switches, kind: Kind) -> Result<SearchState, TrainError> {
        let shape = SupernetShape {
            stem: self.config.network_kind(),
            num_cells: stage.num_cells,
            channels: self.config.model.channels,
            num_classes: self.data.num_classes,
            partial_channels: self.config.search.partial_channels,
            switches: switches.clone(),
        };
        tch::manual_seed(derive_seed(self.config.run.seed, "initial values", &[stage.index as u64]));
        let (search, optimizer) = (&self.config.search, &self.config.optimizer);
        let (strategy, scale, device) = (search.strategy, search.alpha_init_scale, self.world.device);
        let mut state = SearchState::new(&shape, scale, optimizer, strategy, device, kind)?;
        state.checkpoint_cells(self.config.model.checkpoint_cells);
        state.checks_steps = self.config.run.on_divergence == DivergencePolicy::Skip;
        if kind == Kind::Float {
            state.compute_in(search.precision);
            let obstacle = self.config.obstacle_to_graphs(self.world.size);
            state.replay(obstacle, self.config.obstacle_to_weight_graphs());
        }
        state.penalise(CostPenalty::of_config(self.config, switches, (kind, device))?);
        Ok(state)
    }

    /// What holds for the epochs of every stage.
    fn plan(&self) -> Plan<'a> {
        Plan {
            world: self.world,
            stop: self.stop.clone(),
            run: &self.config.run,
            parallel: &self.config.parallel,
            num_epochs: self.config.search.epochs,
            steps_per_epoch: self.data.weight_loader.num_steps(),
            config_digest: &self.data.config_digest,
        }
    }

    fn begin_stage(&mut self, stage: &Stage, progress: &SearchProgress) {
        let steps_per_epoch = self.data.weight_loader.num_steps();
        let done = progress.epoch * steps_per_epoch + progress.step;
        let steps = self.config.search.epochs * steps_per_epoch;
        self.observer.stage_begins(stage, done as u64, steps as u64);
    }

    /// Records the stage, in which `switches` were live, and drops its weakest operations.
    fn finish_stage(
        &mut self,
        stage: &Stage,
        progress: &mut SearchProgress,
        switches: &Switches,
        alphas: &Alphas,
    ) -> Result<(), TrainError> {
        let record = StageRecord::new(stage, &progress.records.epochs);
        let is_last = stage.index + 1 == self.config.search.stages.len();
        let kept = switches.drop_weakest(alphas, stage.keep, is_last)?;
        check_derived("the kept operations", &format!("{kept:?}"), self.world, progress.global_step)?;
        progress.finish_stage(record, kept);
        Ok(self.observer.stage_ends(progress, switches, alphas)?)
    }

    /// The cell under each limit, after the last stage.
    fn result(
        &self,
        state: &SearchState,
        progress: SearchProgress,
        switches: &Switches,
        alphas: &Alphas,
    ) -> Result<SearchResult, TrainError> {
        let variants = state.strategy().derive(switches, alphas)?;
        let variants = variants_within(variants, switches, alphas, self.config.cost_limits())?;
        check_derived("the genotypes", &format!("{variants:?}"), self.world, progress.global_step)?;
        let (hashes, bad_images) = (ReplicaHashes::of(state)?, self.count_bad_images()?);
        Ok(SearchResult { variants, hashes, progress, bad_images })
    }

    fn count_bad_images(&self) -> Result<usize, TrainError> {
        Ok(count_bad_images(&self.data.bad_images, self.world)?)
    }
}
